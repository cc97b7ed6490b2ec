"""What `stripe_provision` needs from others: Stripe as a dozen calls with plain values, and stores.

No Stripe type crosses these walls. Ids are Stripe's; amounts are minor units; instants are aware UTC.
What stores keep of ids and instants is as in `plans.ports`: every character, every microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.model.subscription import OrgStanding, OrgSubscription, StripeSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePrice:
    """A Price as Stripe has it; *amount* is None for prices that are no plain amount."""

    id: str
    product: str
    active: bool
    lookup_key: str | None
    amount: int | None
    currency: str
    interval: str | None
    interval_count: int
    usage_type: str
    metadata: Mapping[str, str]
    livemode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteProduct:
    """A Product as Stripe has it."""

    id: str
    name: str
    description: str
    active: bool
    default_price: str | None
    metadata: Mapping[str, str]
    livemode: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCatalog:
    """What is for sale at Stripe: active prices, and the products that they belong to."""

    products: Sequence[RemoteProduct]
    prices: Sequence[RemotePrice]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteItem:
    """One item of a subscription."""

    price_id: str
    price_metadata: Mapping[str, str]
    quantity: int
    period_start: datetime | None
    period_end: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSubscription:
    """A Subscription as Stripe has it. *unpaid_since* is the creation of its oldest unpaid invoice."""

    id: str
    customer_id: str
    status: str
    created: datetime
    items: Sequence[RemoteItem]
    metadata: Mapping[str, str]
    livemode: bool
    cancel_at: datetime | None
    cancel_at_period_end: bool
    unpaid_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSession:
    """A Checkout or portal session: where to send the buyer."""

    id: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEvent:
    """What matters of an Event: its ids. Its content is a hint to look."""

    id: str
    type: str
    created: datetime
    livemode: bool
    account: str | None
    object: Mapping[str, Any] = field(repr=False)


class StripePort(Protocol):
    """Stripe, as far as the kit needs it. Errors are `BillingError`s; missing objects are None.

    *fields* are Stripe's own parameter names. No call searches: lists and ids read what was just written.
    """

    def pinned(self) -> StripePort:
        """This port with the key that is current now, whatever key is saved meanwhile: one run, one account."""

    def space(self) -> StripeSpace:
        """The account and mode that the current key belongs to; asked once for each key."""

    def catalog(self, namespace: str) -> RemoteCatalog:
        """All active prices whose product id or lookup key is of *namespace*, with their products."""

    def product(self, product_id: str) -> RemoteProduct | None:
        """The product, or None where there is none or it was deleted."""

    def products(self, product_ids: Sequence[str]) -> Sequence[RemoteProduct]:
        """Those of these products that there are, inactive ones too."""

    def create_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        """Make a product under this id; `StripeRejectedError` with code `resource_already_exists` if it is taken."""

    def update_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        """Write these fields of a product; metadata is merged."""

    def archived_prices(self, lookup_keys: Sequence[str]) -> Sequence[RemotePrice]:
        """The archived prices that hold these lookup keys."""

    def create_price(self, fields: Mapping[str, Any]) -> RemotePrice:
        """Make a price; `StripeRejectedError` if its lookup key is held, also by an archived price."""

    def update_price(self, price_id: str, fields: Mapping[str, Any]) -> RemotePrice:
        """Write these fields of a price. Its amount, currency and interval never change."""

    def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        """The subscription as it is now, or None where there is none."""

    def subscriptions(self, *, customer_id: str | None = None) -> Sequence[RemoteSubscription]:
        """All subscriptions of the account or of one customer, whatever their status."""

    def count_subscriptions(self, price_id: str) -> int:
        """How many subscriptions that are not ended have this price."""

    def create_customer(self, org_id: str, fields: Mapping[str, Any]) -> str:
        """The id of a customer for the org; the same call within a day gives the same customer."""

    def create_checkout(self, fields: Mapping[str, Any]) -> RemoteSession:
        """Open a Checkout session."""

    def create_portal(self, customer_id: str, return_url: str) -> RemoteSession:
        """Open a session of the customer portal."""

    def events(self, *, since: datetime, types: Sequence[str]) -> Sequence[RemoteEvent]:
        """The events of these types since then; Stripe keeps 30 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMapping:
    """Which Stripe objects sell a plan now, and the plan's fingerprint and catalog revision when it was put so."""

    slug: str
    product_id: str
    price_id: str
    fingerprint: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadePrice:
    """A price that was ever made for a plan; archived ones still map their subscribers."""

    price_id: str
    slug: str
    product_id: str
    lookup_key: str


@dataclass(frozen=True, slots=True)
class MappingPut:
    """Whether the mapping was put. Not put: the plan is sold by a catalog of the higher *revision* already."""

    saved: bool
    revision: int

    def __bool__(self) -> bool:
        raise TypeError("use .saved")


@dataclass(frozen=True, slots=True)
class MappingDrop:
    """Whether the plan has no mapping now. Not dropped: a catalog of the higher *revision* sells it already."""

    dropped: bool
    revision: int

    def __bool__(self) -> bool:
        raise TypeError("use .dropped")


class CurrentSpace(Protocol):
    """Knows which space the operator's keys are of. Subscriptions of all other spaces grant nothing."""

    def use_space(self, space: StripeSpace) -> None:
        """From now on only subscriptions of *space* count in standings, in every process.

        A change of it enters the change feed for everyone, and raises no standing's version; the same space again
        changes nothing and costs one read. Before the first call every subscription counts. Rows of other spaces
        stay as they are: they count again when their space is used again.
        """


class ProvisioningStore(Protocol):
    """Keeps what was provisioned, by space. What belongs to one space is never seen in another."""

    def load_mappings(self, space: StripeSpace) -> Mapping[str, PriceMapping]:
        """The mappings of the plans that are sold now, by slug."""

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        """Sell the plan by this price from now on and remember the price for ever, in one step.

        Where the plan's mapping has a higher revision nothing is written, whoever writes at the same time.
        """

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        """Stop selling the plan, in one step.

        Where the plan's mapping has a higher revision nothing is written, whoever writes at the same time.
        """

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        """The slug that the price was ever made for, or None."""


class FingerprintStore(Protocol):
    """Keeps what was provisioned completely, by space, so that a run that has nothing to do asks Stripe nothing."""

    def load_fingerprint(self, space: StripeSpace) -> str | None:
        """The fingerprint of what was provisioned completely last, or None."""

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        """Remember that this was provisioned completely, or that nothing is known."""


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A subscription row and its version; without a row the version is 0."""

    row: OrgSubscription | None
    version: int


class PutOutcome(StrEnum):
    """How a compare-and-swap ended."""

    SAVED = "saved"
    CONFLICT = "conflict"
    """Somebody wrote in between: read and fetch again."""
    DUPLICATE = "duplicate"
    """The event was handled before; nothing was written."""


@dataclass(frozen=True, slots=True)
class SubscriptionPut:
    """What became of a write, and the row that stood there before."""

    outcome: PutOutcome
    previous: OrgSubscription | None = None

    def __bool__(self) -> bool:
        raise TypeError("use .outcome")


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """A row that was written in place of another."""

    before: OrgSubscription | None
    after: OrgSubscription


OnChange = Callable[[SubscriptionChange, Any], None]
"""Called inside the writing transaction with the change and the store's own connection (None where it has none)."""


@dataclass(frozen=True, slots=True)
class EventLookup:
    """Whether the event was handled before."""

    is_handled: bool

    def __bool__(self) -> bool:
        raise TypeError("use .is_handled")


class SubscriptionStore(Protocol):
    """Keeps subscription rows and the ids of handled events."""

    def look_up_event(self, event_id: str) -> EventLookup:
        """Whether the event was handled. A hint: `put_subscription` decides."""

    def load_subscription(self, subscription_id: str) -> StoredSubscription:
        """The row and its version."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        """Write the row if its version still is *expected_version*, and the event id, in one transaction.

        A row equal to the stored one keeps its version; its event id is written all the same. The org's standing
        rises and enters the change feed, and that of an org that loses the row. What *on_change* raises rolls
        everything back; it is not called where nothing is written.
        """

    def subscriptions_of(self, org_id: str) -> Sequence[OrgSubscription]:
        """All rows of an org, of every space and status, oldest first."""

    def unmatched_subscriptions(self, space: StripeSpace) -> Sequence[OrgSubscription]:
        """The rows of *space* whose org or plan is not known, oldest first."""


class CustomerStore(Protocol):
    """Keeps which Stripe customer an org is, one for each space."""

    def customer_of(self, space: StripeSpace, org_id: str) -> str | None:
        """The org's customer id, or None."""

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        """The org's customer id; *customer_id* becomes it where there is none yet (insert if absent)."""

    def replace_customer(self, space: StripeSpace, org_id: str, customer_id: str, *, instead_of: str) -> str:
        """The org's customer id; *customer_id* becomes it unless it is another one than *instead_of* by now.

        For a customer that somebody deleted at Stripe.
        """

    def org_of_customer(self, space: StripeSpace, customer_id: str) -> str | None:
        """The org that the customer is, or None."""


class CatalogStore(ProvisioningStore, FingerprintStore, CurrentSpace, Protocol):
    """What provisioning needs of a store."""


class BillingStore(CatalogStore, SubscriptionStore, CustomerStore, Protocol):
    """What webhooks and checkout need of a store."""


class Standings(Protocol):
    """Whoever knows what an org is on. A `StandingStore` fits as it is."""

    def standing(self, org_id: str) -> OrgStanding:
        """The org's subscription and its assignment."""


class CheckoutLicense(Protocol):
    """Whoever knows whether new checkouts are permitted. `LicenseClient` fits through its snapshot."""

    def snapshot(self) -> CheckoutSnapshot:
        """The license as it stands now."""


class CheckoutSnapshot(Protocol):
    """The license at one instant."""

    def permits(self, operation: Operation) -> bool:
        """Whether the license permits *operation*."""
