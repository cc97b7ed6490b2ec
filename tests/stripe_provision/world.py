"""One tenant's Stripe and store for the tests of this room, and a wire that tests can cut, slow down or rewrite."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import stripe

from kuploy_saas_kit._retry import RetryBudget
from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import StripeGateway, StripeProvisioner
from kuploy_saas_kit.stripe_provision.keys import StripeKeys
from kuploy_saas_kit.stripe_provision.ports import BillingStore
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.stripe import Quirks, RecordedRequest, StripeSimulator

NO_WAIT = RetryBudget(first_wait=timedelta(), longest_wait=timedelta())
TEST_KEY = "sk_test_sim"
LIVE_KEY = "sk_live_sim"
TEST_SPACE = StripeSpace("acct_sim", livemode=False)

FREE = Plan("free", "Free", is_default=True)


def pro(amount: int = 2000, currency: str = "cad", cycle: str = "monthly", **changes: Any) -> Plan:
    """The Pro plan at this price."""
    fields = {"name": "Pro", "description": "For teams", **changes}
    return Plan("pro", price=Price(amount, currency, cycle), **fields)


def business(amount: int = 290_000, **changes: Any) -> Plan:
    """The Business plan, priced in a currency without minor units."""
    return Plan("business", "Business", Price(amount, "gnf"), **changes)


def catalog(*plans: Plan) -> PlanCatalog:
    """A catalog of the free default plan and *plans*."""
    return PlanCatalog([FREE, *plans])


class Wire(stripe.HTTPClient):
    """Carries requests to the simulator; *before* and *after* may look, raise or rewrite the answer."""

    name = "wire"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner
        self.before: Callable[[str, str], None] | None = None
        self.after: Callable[[str, str, dict[str, Any]], None] | None = None
        self.headers: dict[str, str] = {}

    def request(self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any) -> Any:
        """Send one request."""
        path = url.removeprefix("https://api.stripe.com").partition("?")[0]
        if self.before is not None:
            self.before(method.upper(), path)
        body, status, answered = self._inner.request(method, url, headers, post_data)
        if self.after is not None:
            content = json.loads(body)
            self.after(method.upper(), path, content)
            body = json.dumps(content)
        return body, status, {**answered, **self.headers}


@dataclass
class World:
    """A simulator, a store and a provisioner between them."""

    clock: ManualClock = field(default_factory=ManualClock)
    key: str | None = TEST_KEY
    store: BillingStore = field(default_factory=MemoryStore)
    quirks: Quirks = field(default_factory=Quirks)

    def __post_init__(self) -> None:
        self.sim = StripeSimulator(clock=self.clock, quirks=self.quirks)
        self.wire = Wire(self.sim.http_client())
        self.gateway = self.gateway_on(self.wire)
        self.provisioner = StripeProvisioner(self.gateway, self.store)

    def gateway_on(self, wire: Wire) -> StripeGateway:
        """A gateway whose key is the world's current one."""
        return StripeGateway(self._keys, http_client=wire, budget=NO_WAIT)

    def replica(self, store: BillingStore | None = None) -> tuple[StripeProvisioner, Wire]:
        """Another process: its own gateway and wire, the same store unless one is given."""
        wire = Wire(self.sim.http_client())
        return StripeProvisioner(self.gateway_on(wire), store or self.store), wire

    def stripe(self, key: str | None = None) -> stripe.StripeClient:
        """Stripe as its operator uses it in the dashboard."""
        return self.sim.client(key or self.key or TEST_KEY)

    def forget_requests(self) -> None:
        """Begin to count anew."""
        self.sim.requests.clear()

    @property
    def writes(self) -> list[RecordedRequest]:
        """What was written at Stripe."""
        return self.sim.writes

    @property
    def products(self) -> dict[str, dict[str, Any]]:
        """All products, by id."""
        listed = [
            item.to_dict()
            for active in (True, False)
            for item in self.stripe().v1.products.list({"active": active, "limit": 100}).auto_paging_iter()
        ]
        return {item["id"]: item for item in listed}

    @property
    def prices(self) -> dict[str, dict[str, Any]]:
        """All prices, by id."""
        listed = [
            item.to_dict()
            for active in (True, False)
            for item in self.stripe().v1.prices.list({"active": active, "limit": 100}).auto_paging_iter()
        ]
        return {item["id"]: item for item in listed}

    def sold(self, slug: str) -> dict[str, Any] | None:
        """The price that checkouts sell the plan by."""
        mapping = self.store.load_mappings(self.gateway.space()).get(slug)
        return None if mapping is None else self.prices[mapping.price_id]

    def _keys(self) -> StripeKeys | None:
        return None if self.key is None else StripeKeys(secret=self.key)


def require_goal(world: World, wanted: PlanCatalog) -> None:
    """Every billable plan has exactly one active owned price, which its mapping and its product point to."""
    mappings = world.store.load_mappings(world.gateway.space())
    products, prices = world.products, world.prices
    assert set(mappings) == {plan.slug for plan in wanted if plan.is_billable}
    for plan in wanted:
        if not plan.is_billable or plan.price is None:
            continue
        mapping = mappings[plan.slug]
        product, price = products[mapping.product_id], prices[mapping.price_id]
        active = [item["id"] for item in prices.values() if item["product"] == product["id"] and item["active"]]
        assert active == [price["id"]]
        assert product["active"]
        assert product["default_price"] == price["id"]
        assert (product["name"], product["description"] or "") == (plan.name, plan.description)
        assert (price["unit_amount"], price["currency"]) == (plan.price.amount, plan.price.currency)
        assert price["recurring"]["interval"] == {"monthly": "month", "annual": "year"}[plan.price.cycle]


def require_nothing_to_do(provisioner: StripeProvisioner, wanted: PlanCatalog) -> None:
    """A look at Stripe finds every plan in place: none is changed, and none is held up either."""
    report = provisioner.provision(wanted, force=True)
    assert report.changes == ()
    assert report.is_complete


def require_sellable(world: World) -> None:
    """What checkouts sell at this instant is an active price of an active product."""
    mappings = world.store.load_mappings(TEST_SPACE)
    client = world.stripe().v1
    for mapping in mappings.values():
        assert client.prices.retrieve(mapping.price_id).active
        assert client.products.retrieve(mapping.product_id).active


@dataclass
class License:
    """A license that permits everything, or nothing."""

    is_active: bool = True

    def snapshot(self) -> License:
        """The license now."""
        return self

    def permits(self, operation: Operation) -> bool:
        """Whether it is active."""
        return self.is_active
