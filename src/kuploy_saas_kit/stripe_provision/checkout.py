"""Selling a plan to an org: a Checkout session, or the portal where the org pays already."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Final

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import CheckoutRefusedError, StripeRejectedError, storage_errors
from kuploy_saas_kit.model.plan import INTERNAL_SLUG
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.ports import BillingStore, CheckoutLicense, PriceMapping, Standings, StripePort

_GOES_ON: Final = frozenset({"trialing", "active", "past_due", "unpaid", "paused"})


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
    """Opens sessions at Stripe. *license* says whether new ones are permitted; *namespace* is the provisioner's.

    With *standings* orgs on the Internal plan are sold nothing; *clock* says whether their assignment still holds.
    """

    def __init__(
        self,
        gateway: StripePort,
        store: BillingStore,
        license: CheckoutLicense,  # noqa: A002 - the word that all of the kit has for it
        *,
        namespace: str = naming.DEFAULT_NAMESPACE,
        standings: Standings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._license = license
        self._namespace = naming.checked_namespace(namespace)
        self._standings = standings
        self._clock = clock or SystemClock()

    def start(self, org_id: str, plan_slug: str, *, success_url: str, cancel_url: str) -> CheckoutSession:
        """A session in which *org_id* buys the plan, or the portal where it has a subscription that goes on.

        `CheckoutRefusedError` for plans that are not sold, for orgs on the Internal plan (what they pay for already
        goes on, and `portal` opens) and while the license does not permit new checkouts;
        `BillingDisabledError` without keys; `StripeUnavailableError`: try again. On the success page call
        `StripeWebhooks.sync_org`, so that the buyer need not wait for a webhook.
        """
        self._require_permission(plan_slug)
        self._require_billing(org_id)
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
            if _is_gone(error):
                customer_id = self._new_customer(port, space, org_id, instead_of=customer_id)
            mapping = self._moved_mapping(space, mapping, error)
        return self._open(port, org_id, mapping, {"customer": customer_id, **urls})

    def portal(self, org_id: str, *, return_url: str) -> CheckoutSession:
        """A session in which *org_id* changes, pays or cancels what it has. Permitted whatever the license says."""
        port = self._gateway.pinned()
        space = port.space()
        with storage_errors("load the org's customer"):
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

    def _require_billing(self, org_id: str) -> None:
        if self._standings is None:
            return
        with storage_errors("load what the org is on"):
            assignment = self._standings.standing(org_id).assignment
        if assignment is None or assignment.plan != INTERNAL_SLUG or not assignment.is_current(self._clock.now()):
            return
        raise CheckoutRefusedError(
            f"org {org_id!r} is on the Internal plan and pays nothing: unassign it first. "
            "A subscription that it has goes on, and is managed in the portal"
        )

    def _mapping(self, space: StripeSpace, plan_slug: str) -> PriceMapping:
        with storage_errors("load what is on sale"):
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
        with storage_errors("load the org's subscriptions"):
            rows = self._store.subscriptions_of(org_id)
        payers = [row.customer_id for row in rows if row.space == space and row.known_status in _GOES_ON]
        return payers[-1] if payers else None

    def _customer(self, port: StripePort, space: StripeSpace, org_id: str) -> str:
        """The org's one customer: of two that are made at once, the one that is kept first."""
        with storage_errors("load the org's customer"):
            held = self._store.customer_of(space, org_id)
        if held is not None:
            return held
        made = port.create_customer(org_id, {"metadata": naming.org_metadata(self._namespace, org_id)})
        with storage_errors("keep the org's customer"):
            return self._store.keep_customer(space, org_id, made)

    def _new_customer(self, port: StripePort, space: StripeSpace, org_id: str, *, instead_of: str) -> str:
        """Another customer for an org whose customer somebody deleted at Stripe, for `sync_org` to look at."""
        # What it stands for makes it another request than the first one, whose answer Stripe repeats for a day.
        marks = {**naming.org_metadata(self._namespace, org_id), naming.INSTEAD_OF: instead_of}
        made = port.create_customer(org_id, {"metadata": marks})
        with storage_errors("keep the org's customer"):
            return self._store.replace_customer(space, org_id, made, instead_of=instead_of)

    def _moved_mapping(self, space: StripeSpace, mapping: PriceMapping, error: StripeRejectedError) -> PriceMapping:
        """What to try once more after a refusal, if something changed since it was read; otherwise *error* stands."""
        current = self._mapping(space, mapping.slug)
        has_moved = current.price_id != mapping.price_id and error.status == HTTPStatus.BAD_REQUEST
        if has_moved or _is_gone(error):
            return current
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


def _is_gone(error: StripeRejectedError) -> bool:
    """Whether Stripe refused the session because it does not have the customer."""
    return error.code == "resource_missing" and error.param == "customer"
