"""What the hub answers to a sync: who has a seat, what the license says, and the next revision. Pure.

Source: hub protocol, section 1. Whatever has a payload is answered with one, also what is suspended, revoked,
removed or over the limit of instances: only a verified payload changes anything at the instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from kuploy_saas_kit.hub.catalogs import product_schema, tier_grant
from kuploy_saas_kit.hub.records import (
    HubPolicy,
    HubStatus,
    Instance,
    License,
    Refusal,
    RefusalCode,
    TenantCatalog,
    TenantSubscription,
)
from kuploy_saas_kit.hub.usage import UsageReported, fold_report, meter_periods, usage_elsewhere
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import MAX_LIMIT, LimitValue

_INSTANCE_LIMIT = "maxInstances"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAsked:
    """A sync as an instance asks for it. *known* is the newest (epoch, revision) that it holds."""

    instance_id: str
    product_type: str
    nonce: str
    known: tuple[int, int] = (0, 0)
    kit_version: str = ""
    report: UsageReported = field(default_factory=UsageReported)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """All that decides a sync: what the tenant pays, its license, its plans, and the license's instances by id."""

    subscription: TenantSubscription
    license: License
    catalog: TenantCatalog | None = None
    instances: Mapping[str, Instance] = field(default_factory=dict)

    @property
    def grant(self) -> LicenseGrant:
        """What the tier grants."""
        return tier_grant(self.subscription.product_type, self.subscription.tier)

    @property
    def seats(self) -> LimitValue:
        """How many instances the tier includes."""
        return self.grant.limits[_INSTANCE_LIMIT]


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseTerms:
    """One answer's content; the wire form is `kuploy_saas_kit.hub.payload`. Instants are aware UTC."""

    issuer: str
    license: License
    instance: Instance
    issued_at: datetime
    fresh_until: datetime
    grace_until: datetime
    paid_until: datetime | None
    status: HubStatus
    status_reason: str
    grant: LicenseGrant
    periods: Mapping[str, tuple[datetime, datetime]]
    usage_elsewhere: Mapping[str, int]
    catalog: TenantCatalog | None
    nonce: str


def answer_sync(
    contract: Contract, asked: SyncAsked, *, policy: HubPolicy, epoch: int, now: datetime
) -> LicenseTerms | Refusal:
    """The terms for the instance that asks, with its changed record in them, or why there are none."""
    if asked.product_type != contract.license.product_type:
        return Refusal(
            403,
            RefusalCode.PRODUCT_NOT_ENTITLED,
            f"this license is for {contract.license.product_type}: set the product type, or use another license",
        )
    instance = _seated(contract, asked, policy, now)
    if isinstance(instance, Refusal):
        return instance
    if not instance.is_removed:
        instance = fold_report(instance, asked.report)
    revision = _next_revision(instance, asked, epoch)
    instance = replace(instance, epoch=epoch, revision=revision, kit_version=asked.kit_version)
    return _terms(contract, instance, asked, policy, now)


def _seated(contract: Contract, asked: SyncAsked, policy: HubPolicy, now: datetime) -> Instance | Refusal:
    """The instance with its seat prolonged; a new one takes a free seat or is refused."""
    held_until = now + policy.grace
    known = contract.instances.get(asked.instance_id)
    if known is None and _seats_taken(contract, now) >= contract.seats:
        return Refusal(409, RefusalCode.INSTANCE_LIMIT_REACHED, _over_limit(contract))
    if known is None:
        return Instance(
            license_id=contract.license.license_id,
            instance_id=asked.instance_id,
            place=_last_place(contract),
            held_until=held_until,
        )
    if known.is_removed:
        return known
    place = known.place if known.is_live(now) else _last_place(contract)
    return replace(known, place=place, held_until=held_until)


def _seats_taken(contract: Contract, now: datetime) -> int:
    return sum(instance.is_live(now) for instance in contract.instances.values())


def _last_place(contract: Contract) -> int:
    return 1 + max((instance.place for instance in contract.instances.values()), default=0)


def _next_revision(instance: Instance, asked: SyncAsked, epoch: int) -> int:
    """One above all that was answered in this epoch, also by a hub whose store was restored from a backup since."""
    ranks = ((instance.epoch, instance.revision), asked.known)
    return min(1 + max((revision for of_epoch, revision in ranks if of_epoch == epoch), default=0), MAX_LIMIT)


def _terms(contract: Contract, instance: Instance, asked: SyncAsked, policy: HubPolicy, now: datetime) -> LicenseTerms:
    others = [other for other in contract.instances.values() if other.instance_id != instance.instance_id]
    schema = product_schema(contract.license.product_type)
    status, reason = _standing(contract, instance, others, now)
    return LicenseTerms(
        issuer=policy.issuer,
        license=contract.license,
        instance=instance,
        issued_at=now,
        fresh_until=now + policy.fresh_for,
        grace_until=now + policy.grace,
        paid_until=contract.subscription.paid_until,
        status=status,
        status_reason=reason,
        grant=contract.grant,
        periods=meter_periods(schema, now),
        usage_elsewhere=usage_elsewhere(others, schema, now),
        catalog=contract.catalog,
        nonce=asked.nonce,
    )


def _standing(contract: Contract, instance: Instance, others: list[Instance], now: datetime) -> tuple[HubStatus, str]:
    """The status of the license for this instance, the gravest first."""
    license_ = contract.license
    if license_.status is HubStatus.REVOKED:
        return license_.status, license_.status_reason
    if instance.is_removed:
        return HubStatus.REVOKED, "this instance was removed from the license at the hub"
    if license_.status is HubStatus.SUSPENDED:
        return license_.status, license_.status_reason
    if _seats_before(instance, others, now) >= contract.seats:
        return HubStatus.SUSPENDED, _over_limit(contract)
    return HubStatus.ACTIVE, license_.status_reason


def _seats_before(instance: Instance, others: list[Instance], now: datetime) -> int:
    """How many live instances took their seat earlier."""
    return sum(other.is_live(now) and other.place < instance.place for other in others)


def _over_limit(contract: Contract) -> str:
    return (
        f"Instance limit reached ({contract.seats} on {contract.subscription.tier}). "
        "Remove an instance at the hub, or upgrade the license."
    )
