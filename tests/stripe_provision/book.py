"""A Stripe that is only a book of subscriptions: a double of the port for the laws of webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.stripe_provision.world import TEST_SPACE

from kuploy_saas_kit._clock import to_timestamp
from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import BillingError, StripeUnavailableError
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.stripe_provision import StripeWebhooks, naming
from kuploy_saas_kit.stripe_provision.ports import (
    BillingStore,
    MadePrice,
    PriceMapping,
    RemoteCatalog,
    RemoteEvent,
    RemoteItem,
    RemotePrice,
    RemoteProduct,
    RemoteSession,
    RemoteSubscription,
)
from kuploy_saas_kit.testing.clock import ManualClock

SECRET = "whsec_current"
OLD_SECRET = "whsec_previous"
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def remote(name: str = "sub_1", **changes: Any) -> RemoteSubscription:
    """An active subscription of org acme to Pro, with *changes*."""
    fields: dict[str, Any] = {
        "id": name,
        "customer_id": "cus_acme",
        "status": "active",
        "created": NOW,
        "items": (item(),),
        "metadata": naming.org_metadata("kuploy", "acme"),
        "livemode": False,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "unpaid_since": None,
    }
    return RemoteSubscription(**{**fields, **changes})


def item(price_id: str = "price_pro", **changes: Any) -> RemoteItem:
    """An item of a subscription."""
    fields: dict[str, Any] = {
        "price_id": price_id,
        "price_metadata": {},
        "quantity": 1,
        "period_start": NOW,
        "period_end": NOW + timedelta(days=30),
    }
    return RemoteItem(**{**fields, **changes})


def signature(payload: bytes, *, secret: str = SECRET, at: datetime = NOW, scheme: str = "v1") -> str:
    """The header that Stripe would send."""
    stamp = to_timestamp(at)
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={stamp},{scheme}={digest}"


def event(
    event_id: str = "evt_1",
    kind: str = "customer.subscription.updated",
    thing: Mapping[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    """The bytes of an event about subscription sub_1, or about *thing*."""
    content = {
        "id": event_id,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "type": kind,
        "created": to_timestamp(NOW),
        "livemode": False,
        "data": {"object": thing or {"object": "subscription", "id": "sub_1", "status": "stale hint"}},
        **changes,
    }
    return json.dumps(content).encode()


@dataclass
class Book:
    """Implements as much of `StripePort` as webhooks ask for."""

    subscriptions_by_id: dict[str, RemoteSubscription] = field(default_factory=dict)
    the_space: StripeSpace = TEST_SPACE
    the_events: list[RemoteEvent] = field(default_factory=list)
    is_down: bool = False
    fetches: int = 0
    on_fetch: Callable[[], None] | None = None

    def set(self, *subscriptions: RemoteSubscription) -> None:
        """Let Stripe have these."""
        self.subscriptions_by_id.update({found.id: found for found in subscriptions})

    def pinned(self) -> Book:
        return self

    def space(self) -> StripeSpace:
        self._answer()
        return self.the_space

    def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        self._answer()
        self.fetches += 1
        found = self.subscriptions_by_id.get(subscription_id)
        if self.on_fetch is not None:
            self.on_fetch()
        return found

    def subscriptions(self, *, customer_id: str | None = None) -> Sequence[RemoteSubscription]:
        self._answer()
        found = self.subscriptions_by_id.values()
        return [one for one in found if customer_id in {None, one.customer_id}]

    def events(self, *, since: datetime, types: Sequence[str]) -> Sequence[RemoteEvent]:
        return [found for found in self.the_events if found.created >= since and found.type in types]

    def _answer(self) -> None:
        if self.is_down:
            raise StripeUnavailableError("Stripe did not answer")

    def product(self, product_id: str) -> RemoteProduct | None:
        raise BillingError("webhooks do not ask for products")

    def products(self, product_ids: Sequence[str]) -> Sequence[RemoteProduct]:
        raise BillingError("webhooks do not ask for products")

    def catalog(self, namespace: str) -> RemoteCatalog:
        raise BillingError("webhooks do not ask for products")

    def create_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        raise BillingError("webhooks make no products")

    def update_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        raise BillingError("webhooks make no products")

    def archived_prices(self, lookup_keys: Sequence[str]) -> Sequence[RemotePrice]:
        raise BillingError("webhooks do not ask for prices")

    def create_price(self, fields: Mapping[str, Any]) -> RemotePrice:
        raise BillingError("webhooks make no prices")

    def update_price(self, price_id: str, fields: Mapping[str, Any]) -> RemotePrice:
        raise BillingError("webhooks make no prices")

    def count_subscriptions(self, price_id: str) -> int:
        raise BillingError("webhooks do not count")

    def create_customer(self, org_id: str, fields: Mapping[str, Any]) -> str:
        raise BillingError("webhooks make no customers")

    def create_checkout(self, fields: Mapping[str, Any]) -> RemoteSession:
        raise BillingError("webhooks open no sessions")

    def create_portal(self, customer_id: str, return_url: str) -> RemoteSession:
        raise BillingError("webhooks open no sessions")


def store_with_plans() -> MemoryStore:
    """A store that knows the prices of Pro and Business, an archived one of Pro among them."""
    store = MemoryStore()
    for price_id, slug in (("price_pro_old", "pro"), ("price_pro", "pro"), ("price_business", "business")):
        made = MadePrice(price_id=price_id, slug=slug, product_id=f"kuploy_{slug}", lookup_key=price_id)
        mapping = PriceMapping(slug=slug, product_id=made.product_id, price_id=price_id, fingerprint="f", revision=0)
        store.put_mapping(TEST_SPACE, mapping, made)
    return store


@dataclass
class Office:
    """Webhooks between a book and a store."""

    book: Book = field(default_factory=Book)
    store: BillingStore = field(default_factory=store_with_plans)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))

    def __post_init__(self) -> None:
        self.webhooks = self.another()

    def another(self, **changes: Any) -> StripeWebhooks:
        """A worker beside the others."""
        options = {"secrets": [SECRET, OLD_SECRET], "clock": self.clock, **changes}
        return StripeWebhooks(self.book, self.store, **options)

    def deliver(self, payload: bytes | None = None, **options: Any) -> Any:
        """Let Stripe deliver an event now."""
        body = event() if payload is None else payload
        return self.webhooks.handle(body, signature(body, at=self.clock.now(), **options))

    def row(self, name: str = "sub_1") -> OrgSubscription | None:
        """The stored row."""
        return self.store.load_subscription(name).row

    def put(self, **changes: Any) -> None:
        """Let sub_1 at Stripe be like this."""
        self.book.set(replace(remote(), **changes))
