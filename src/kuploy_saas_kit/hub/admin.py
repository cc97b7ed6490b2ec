"""The hub's admin face: tenants, licenses, plans, instances and claims, each verb one transaction."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, assert_never

from kuploy_saas_kit.errors import ClaimError, HubRefusedError, InvalidValueError
from kuploy_saas_kit.hub.catalogs import edit_catalog, put_plan, tier_grant
from kuploy_saas_kit.hub.claims import CodeFound, CodesLocked, CodeWrong, approve_claim, deny_claim, find_code
from kuploy_saas_kit.hub.ledger import Contract
from kuploy_saas_kit.hub.records import (
    Claim,
    ClaimStatus,
    HubStatus,
    Instance,
    License,
    Tenant,
    TenantCatalog,
    TenantSubscription,
    WrongCodes,
    secret_hash,
)
from kuploy_saas_kit.hub.service import live_claims, load_contract
from kuploy_saas_kit.hub.store import HubRows, HubStore
from kuploy_saas_kit.hub.usage import LicenseUsage, license_usage
from kuploy_saas_kit.model.limits import checked_limit
from kuploy_saas_kit.model.plan import Plan

if TYPE_CHECKING:
    from kuploy_saas_kit._clock import Clock

_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 16
_MAX_TEXT: Final = 255


class HubAdmin:
    """What the hub's own people and a tenant's page at the hub do.

    A license is named by its key or, since the hub does not keep keys, by its id. Whatever names something that
    does not exist is a `HubRefusedError` with a code such as `license_not_found`.
    """

    def __init__(self, store: HubStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add_tenant(self, name: str) -> str:
        """A new tenant; returns its id."""
        tenant = Tenant(tenant_id=new_id("tenant"), name=_checked_text(name, "a tenant's name"))
        with self._store.transaction() as rows:
            rows.put(tenant)
        return tenant.tenant_id

    def issue_license(self, tenant_id: str, product: str, tier: str) -> str:
        """A new license for the tenant; returns the license key, which the hub does not keep.

        All licenses of one tenant and product are on one tier.

        Raises:
            InvalidValueError: no such product or tier, or the tenant is on another tier of the product.
        """
        tier_grant(product, tier)
        license_key = new_id("lic")
        with self._store.transaction() as rows:
            _subscribe(rows, tenant_id, product, tier)
            rows.put(
                License(
                    license_id=new_id("license"),
                    key_hash=secret_hash(license_key),
                    tenant_id=tenant_id,
                    product_type=product,
                    issued_at=self._clock.now(),
                )
            )
        return license_key

    def change_tier(self, license_key: str, tier: str) -> None:
        """Move what the license's tenant pays for its product to *tier*; plans above it are clamped, not touched."""

        def change(contract: Contract) -> TenantSubscription:
            tier_grant(contract.subscription.product_type, tier)
            return replace(contract.subscription, tier=tier)

        self._put(license_key, change)

    def pay_until(self, license_key: str, instant: datetime | None) -> None:
        """Let the license of an unpaid subscription end at *instant* (aware), or with None no more."""
        if instant is not None and instant.tzinfo is None:
            raise InvalidValueError("pay_until needs an aware datetime: a naive one names no instant")
        until = None if instant is None else instant.astimezone(UTC)
        self._put(license_key, lambda contract: replace(contract.subscription, paid_until=until))

    def set_status(self, license_key: str, status: HubStatus, reason: str = "") -> None:
        """Suspend, revoke or reinstate the license; its instances learn it, signed, with their next sync."""
        told = _checked_text(reason, "a reason")
        self._put(license_key, lambda contract: replace(contract.license, status=status, status_reason=told))

    def set_allowances(self, license_key: str, instance_id: str, allowances: Mapping[str, int]) -> None:
        """The totals that this instance may hold, by limit key."""
        checked = {key: _counted(value, key) for key, value in allowances.items()}
        self._put(license_key, lambda contract: replace(_instance(contract, instance_id), allowances=checked))

    def remove_instance(self, license_key: str, instance_id: str) -> None:
        """Free the instance's seat; it is told, signed, with its next sync."""
        self._put(license_key, lambda contract: replace(_instance(contract, instance_id), is_removed=True))

    def licenses(self, tenant_id: str | None = None) -> tuple[Contract, ...]:
        """Every license with all that belongs to it, or those of one tenant."""
        with self._store.transaction() as rows:
            lookups = {} if tenant_id is None else {"tenant_id": _tenant(rows, tenant_id).tenant_id}
            return tuple(_contract(rows, found.license_id) for found in rows.find(License, **lookups))

    def tenants(self) -> tuple[Tenant, ...]:
        """Every tenant."""
        with self._store.transaction() as rows:
            return rows.find(Tenant)

    def contract(self, license_key: str) -> Contract:
        """All that belongs to the license."""
        with self._store.transaction() as rows:
            return _contract(rows, license_key)

    def usage_of(self, license_key: str) -> LicenseUsage:
        """What the instances of the license use together, as last reported."""
        return license_usage(self.contract(license_key).instances.values())

    def set_catalog(self, tenant_id: str, product: str, plans: Iterable[Plan]) -> int:
        """Make the tenant's plans be *plans*; returns the catalog's revision. It raises as `edit_catalog` does."""
        listed = tuple(plans)
        return self._edit_catalog(tenant_id, product, lambda held, paid: edit_catalog(held, paid, listed))

    def put_plan(self, tenant_id: str, product: str, plan: Plan) -> int:
        """Add one plan, or put it in place of the one with its slug; returns the catalog's revision."""
        return self._edit_catalog(tenant_id, product, lambda held, paid: put_plan(held, paid, plan))

    def pending_claims(self) -> tuple[Claim, ...]:
        """The claims that wait for somebody to approve or deny them, the oldest first."""
        with self._store.transaction() as rows:
            live = live_claims(rows, self._clock.now())
        pending = (claim for claim in live if claim.status is ClaimStatus.PENDING)
        return tuple(sorted(pending, key=lambda claim: claim.registered_at))

    def approve_claim(self, code: str, license_key: str) -> None:
        """Give the license to the instance that shows *code*; wrong codes count for the license's tenant.

        It takes the license key itself, which the instance fetches; an id is `license_not_found`.

        Raises:
            ClaimError: `claim.wrong_code`, or `claim.locked` after too many wrong ones, or `claim.product` where
                instance and license are of different products.
        """
        now = self._clock.now()
        with self._store.transaction() as rows:
            contract = _keyed_contract(rows, license_key)
            tenant = _tenant(rows, contract.license.tenant_id)
            found = _found(rows, code, tenant.tenant_id, now)
            if isinstance(found, CodeFound):
                _check_product(found.claim, contract)
                rows.put(approve_claim(found.claim, license_key, tenant.name, now))
        _check_found(found)

    def deny_claim(self, code: str, *, tenant_id: str = "") -> None:
        """Tell the instance that shows *code* that it gets no license. `ClaimError` as in `approve_claim`."""
        now = self._clock.now()
        with self._store.transaction() as rows:
            found = _found(rows, code, tenant_id, now)
            if isinstance(found, CodeFound):
                rows.put(deny_claim(found.claim, now))
        _check_found(found)

    def _put(self, license_key: str, change: Callable[[Contract], TenantSubscription | License | Instance]) -> None:
        with self._store.transaction() as rows:
            rows.put(change(_contract(rows, license_key)))

    def _edit_catalog(
        self,
        tenant_id: str,
        product: str,
        edit: Callable[[TenantCatalog | None, TenantSubscription], TenantCatalog],
    ) -> int:
        with self._store.transaction() as rows:
            subscription = rows.get(TenantSubscription, _tenant(rows, tenant_id).tenant_id, product)
            if subscription is None:
                raise HubRefusedError(
                    f"the tenant pays for no {product[:64]}: issue a license first, its tier is the ceiling of plans",
                    code="product_not_entitled",
                )
            catalog = edit(rows.get(TenantCatalog, tenant_id, product), subscription)
            rows.put(catalog)
        return catalog.revision


def new_id(prefix: str) -> str:
    """A fresh id such as `lic_…`: the prefix and 16 random letters and digits (95 bits)."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))}"


def _checked_text(text: str, what: str) -> str:
    if len(text) > _MAX_TEXT or not text.isprintable():
        raise InvalidValueError(f"{what} is at most {_MAX_TEXT} printable characters")
    return text


def _subscribe(rows: HubRows, tenant_id: str, product: str, tier: str) -> None:
    held = rows.get(TenantSubscription, _tenant(rows, tenant_id).tenant_id, product)
    if held is None:
        rows.put(TenantSubscription(tenant_id=tenant_id, product_type=product, tier=tier))
    elif held.tier != tier:
        raise InvalidValueError(f"the tenant is on {held.tier} for {product}: issue on that tier, or change the tier")


def _tenant(rows: HubRows, tenant_id: str) -> Tenant:
    tenant = rows.get(Tenant, tenant_id)
    if tenant is None:
        raise HubRefusedError("there is no such tenant", code="tenant_not_found")
    return tenant


def _contract(rows: HubRows, named: str) -> Contract:
    by_id = rows.get(License, named)
    contract = load_contract(rows, by_id.key_hash if by_id else secret_hash(named))
    if contract is None:
        raise HubRefusedError("there is no license with this key or id", code="license_not_found")
    return contract


def _keyed_contract(rows: HubRows, license_key: str) -> Contract:
    contract = load_contract(rows, secret_hash(license_key))
    if contract is None:
        raise HubRefusedError("there is no license with this key: an id is not enough here", code="license_not_found")
    return contract


def _instance(contract: Contract, instance_id: str) -> Instance:
    if instance_id not in contract.instances:
        raise HubRefusedError("this license has no such instance: it appears with its first sync", code="no_instance")
    return contract.instances[instance_id]


def _counted(value: int, key: str) -> int:
    if not isinstance(checked_limit(value, key), int):
        raise InvalidValueError(f"an allowance is a number: leave {key} out to let the instance hold the whole limit")
    return value


def _found(rows: HubRows, code: str, tenant_id: str, now: datetime) -> CodeFound | CodeWrong | CodesLocked:
    wrong = rows.get(WrongCodes, WrongCodes.NAME) or WrongCodes()
    found = find_code(live_claims(rows, now), code, tenant_id, wrong, now)
    if isinstance(found, CodeWrong):
        rows.put(found.wrong_codes)
    return found


def _check_product(claim: Claim, contract: Contract) -> None:
    if claim.product_type != contract.license.product_type:
        raise ClaimError(
            f"the instance runs {claim.product_type} and the license is for {contract.license.product_type}",
            code="claim.product",
        )


def _check_found(found: CodeFound | CodeWrong | CodesLocked) -> None:
    match found:
        case CodeFound():
            return
        case CodeWrong():
            raise ClaimError("no instance shows this code: look again, codes live 15 minutes", code="claim.wrong_code")
        case CodesLocked():
            minutes = -(-int(found.retry_after.total_seconds()) // 60)
            raise ClaimError(f"too many wrong codes: try again in {minutes} minutes", code="claim.locked")
        case _:
            assert_never(found)
