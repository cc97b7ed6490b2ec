"""Selling a plan to an org: a Checkout session, or the portal where the org pays already."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from kuploy_saas_kit.errors import CheckoutRefusedError, StripeRejectedError
from kuploy_saas_kit.model.plan import INTERNAL_SLUG
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.ports import BillingStore, CheckoutLicense, PriceMapping, StripePort
from kuploy_saas_kit.stripe_provision.stores import storage_errors

_GOES_ON: Final = frozenset({"trialing", "active", "past_due", "unpaid", "paused"})
_MISSING: Final = "resource_missing"


class SessionKind(StrEnum):
    """Where the session leads."""

    CHECKOUT = "checkout"
    """The org buys the plan."""
    PORTAL = "portal"
    """The org has a subscription already and changes it there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """Where to send the buyer."""

    id: str
    url: str
    kind: SessionKind


class Checkout:
    """Opens sessions at Stripe. *license* says whether new ones are permitted; *namespace* is the provisioner's."""

    def __init__(
        self,
        gateway: StripePort,
        store: BillingStore,
        license: CheckoutLicense,  # noqa: A002 - the word that all of the kit has for it
        *,
        namespace: str = naming.DEFAULT_NAMESPACE,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._license = license
        self._namespace = naming.checked_namespace(namespace)

    def start(self, org_id: str, plan_slug: str, *, success_url: str, cancel_url: str) -> CheckoutSession:
        """A session in which *org_id* buys the plan, or the portal where it has a subscription that goes on.

        `CheckoutRefusedError` for plans that are not sold and while the license does not permit new checkouts;
        `BillingDisabledError` without keys; `StripeUnavailableError`: try again. On the success page call
        `StripeWebhooks.sync_org`, so that the buyer need not wait for a webhook.
        """
        self._require_permission(plan_slug)
        port = self._gateway.pinned()
        space = port.space()
        mapping = self._mapping(space, plan_slug)
        customer_id = self._customer(port, space, org_id)
        if (payer := self._paying_customer(port, space, org_id, customer_id)) is not None:
            return self._portal(port, payer, cancel_url)
        urls = {"success_url": success_url, "cancel_url": cancel_url}
        try:
            return self._open(port, org_id, mapping, {"customer": customer_id, **urls})
        except StripeRejectedError as error:
            current, customer = self._second_try(space, mapping, customer_id, error)
        return self._open(port, org_id, current, {**customer, **urls})

    def portal(self, org_id: str, *, return_url: str) -> CheckoutSession:
        """A session in which *org_id* changes, pays or cancels what it has. Permitted whatever the license says."""
        port = self._gateway.pinned()
        space = port.space()
        with storage_errors():
            customer_id = self._store.customer_of(space, org_id)
        payer = self._customer_of_rows(space, org_id) or customer_id
        if payer is None:
            raise CheckoutRefusedError(f"org {org_id!r} has never begun a checkout: there is nothing to manage")
        return self._portal(port, payer, return_url)

    def _require_permission(self, plan_slug: str) -> None:
        if plan_slug == INTERNAL_SLUG:
            raise CheckoutRefusedError("the Internal plan is assigned by hand and never sold")
        if not self._license.snapshot().permits(Operation.CREATE):
            raise CheckoutRefusedError("the license does not permit new checkouts now; running subscriptions go on")

    def _mapping(self, space: StripeSpace, plan_slug: str) -> PriceMapping:
        with storage_errors():
            mapping = self._store.load_mappings(space).get(plan_slug)
        if mapping is None:
            raise CheckoutRefusedError(
                f"plan {plan_slug!r} is not on sale in {space}: default, free and inactive plans never are, "
                "others are after the next provisioning run"
            )
        return mapping

    def _paying_customer(self, port: StripePort, space: StripeSpace, org_id: str, customer_id: str) -> str | None:
        """The customer whose subscription goes on: by our rows, or by Stripe where a webhook is still on its way."""
        by_rows = self._customer_of_rows(space, org_id)
        if by_rows is not None:
            return by_rows
        goes_on = any(found.status in _GOES_ON for found in port.subscriptions(customer_id=customer_id))
        return customer_id if goes_on else None

    def _customer_of_rows(self, space: StripeSpace, org_id: str) -> str | None:
        with storage_errors():
            rows = self._store.subscriptions_of(org_id)
        payers = [row.customer_id for row in rows if row.space == space and row.known_status in _GOES_ON]
        return payers[-1] if payers else None

    def _customer(self, port: StripePort, space: StripeSpace, org_id: str) -> str:
        """The org's one customer: of two that are made at once, the one that is kept first."""
        with storage_errors():
            held = self._store.customer_of(space, org_id)
        if held is not None:
            return held
        made = port.create_customer(org_id, {"metadata": naming.org_metadata(self._namespace, org_id)})
        with storage_errors():
            return self._store.keep_customer(space, org_id, made)

    def _second_try(
        self, space: StripeSpace, mapping: PriceMapping, customer_id: str, error: StripeRejectedError
    ) -> tuple[PriceMapping, dict[str, str]]:
        """What to try once more after a refusal, if something changed since it was read; otherwise *error* stands."""
        current = self._mapping(space, mapping.slug)
        if current.price_id != mapping.price_id and error.status == HTTPStatus.BAD_REQUEST:
            return current, {"customer": customer_id}
        if error.code == _MISSING:
            # Somebody deleted the customer at Stripe. Without one Stripe makes a new one; the metadata names the org.
            return current, {}
        raise error

    def _open(self, port: StripePort, org_id: str, mapping: PriceMapping, how: dict[str, str]) -> CheckoutSession:
        marks = naming.org_metadata(self._namespace, org_id)
        fields = {
            "mode": "subscription",
            "client_reference_id": org_id,
            "line_items": [{"price": mapping.price_id, "quantity": 1}],
            "metadata": marks,
            "subscription_data": {"metadata": marks},
            **how,
        }
        session = port.create_checkout(fields)
        return CheckoutSession(id=session.id, url=session.url, kind=SessionKind.CHECKOUT)

    def _portal(self, port: StripePort, customer_id: str, return_url: str) -> CheckoutSession:
        session = port.create_portal(customer_id, return_url)
        return CheckoutSession(id=session.id, url=session.url, kind=SessionKind.PORTAL)
