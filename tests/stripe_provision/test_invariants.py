"""What holds for every history of catalogs, every fault, every crash and every interleaving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stripe_provision.world import (
    FREE,
    LIVE_KEY,
    TEST_KEY,
    TEST_SPACE,
    World,
    business,
    catalog,
    pro,
    require_goal,
    require_nothing_to_do,
    require_sellable,
)

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import BillingError
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import PlanOutcome, StripeProvisioner
from kuploy_saas_kit.stripe_provision.ports import MadePrice, MappingDrop, MappingPut, PriceMapping
from kuploy_saas_kit.testing.stripe.faults import FaultKind

plans = st.builds(
    Plan,
    st.sampled_from(["pro", "business", "Größe"]),
    st.sampled_from(["One", "Two"]),
    st.builds(Price, st.sampled_from([0, 500, 1000]), st.sampled_from(["cad", "xof"])),
    is_active=st.booleans(),
    description=st.sampled_from(["", "Words"]),
)
catalogs = st.lists(plans, max_size=3, unique_by=lambda plan: plan.slug).map(lambda drawn: PlanCatalog([FREE, *drawn]))
fault_kinds: st.SearchStrategy[FaultKind] = st.sampled_from(
    ["lost_before", "lost_after", "429", "saved_500", "500", "lock_timeout_409", "html_502"]
)


class CrashError(BaseException):
    """The process is gone."""


class WatchedStore(MemoryStore):
    """Calls *before* ahead of each write of provisioning."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] = lambda: None
        self.before_drop: Callable[[], None] = lambda: None

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        self.before()
        return super().put_mapping(space, mapping, price)

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        self.before()
        self.before_drop()
        return super().drop_mapping(space, slug, revision=revision)

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        self.before()
        super().save_fingerprint(space, fingerprint)


def generous(world: World) -> StripeProvisioner:
    """A provisioner that may empty the shop, so that every catalog can be reached."""
    return StripeProvisioner(world.gateway, world.store, allow_empty=True)


@given(st.lists(st.tuples(catalogs, st.lists(st.tuples(fault_kinds, st.integers(1, 4)), max_size=3)), max_size=4))
def test_any_history_with_any_faults_converges(history: list[tuple[PlanCatalog, list[tuple[FaultKind, int]]]]) -> None:
    """From any reachable state one run without faults reaches the goal, and the next one writes nothing (I1, I2, I3).

    No price ever changes its terms, and there is one object for each terms (I5).
    """
    world = World()
    provisioner = generous(world)
    terms: dict[str, tuple[Any, ...]] = {}
    for wanted, faults in [*history, (catalog(pro()), [])]:
        for kind, times in faults:
            world.sim.fault(kind, match="POST /v1/*", times=times)
        provisioner.provision(wanted)
        world.sim.clear_faults()
        assert provisioner.provision(wanted).is_complete
        require_goal(world, wanted)
        world.forget_requests()
        assert provisioner.provision(wanted).is_complete
        assert world.sim.requests == []
        require_nothing_to_do(provisioner, wanted)
        for price_id, price in world.prices.items():
            found = (price["product"], price["unit_amount"], price["currency"], price["recurring"]["interval"])
            assert terms.setdefault(price_id, found) == found
    assert len(set(terms.values())) == len(terms)


@given(st.lists(st.tuples(catalogs, st.lists(st.tuples(fault_kinds, st.integers(1, 4)), max_size=3)), max_size=4))
def test_whoever_bought_keeps_the_plan(history: list[tuple[PlanCatalog, list[tuple[FaultKind, int]]]]) -> None:
    """A price that was on sale at any instant is there for ever and still means its plan (I7)."""
    world = World()
    provisioner = generous(world)
    bought: dict[str, str] = {}

    def buy(*_: Any) -> None:
        bought.update({sold.price_id: slug for slug, sold in world.store.load_mappings(TEST_SPACE).items()})

    world.wire.before = buy
    for wanted, faults in history:
        for kind, times in faults:
            world.sim.fault(kind, match="POST /v1/*", times=times)
        provisioner.provision(wanted)
        buy()
        world.sim.clear_faults()
        assert bought.keys() <= world.prices.keys()
        assert {price_id: world.store.plan_of_price(TEST_SPACE, price_id) for price_id in bought} == bought


@given(st.lists(catalogs, max_size=3))
def test_calls_grow_with_the_catalog(history: list[PlanCatalog]) -> None:
    """A run costs a few calls a plan and a few more, whatever it finds, and puts nothing free on sale (I8, I15)."""
    world = World()
    provisioner = generous(world)
    plans = 0
    for wanted in history:
        plans = max(plans, len(wanted))
        world.forget_requests()
        assert provisioner.provision(wanted).is_complete
        assert len(world.sim.requests) <= 10 * plans + 12
        on_sale = world.store.load_mappings(TEST_SPACE)
        assert on_sale.keys() == {plan.slug for plan in wanted if plan.is_billable}


@given(st.lists(catalogs, max_size=3))
def test_what_is_never_asked_of_stripe(history: list[PlanCatalog]) -> None:
    """Nothing is deleted or searched, no key taken away, no other currency added, and each list says what of (D6)."""
    world = World()
    provisioner = generous(world)
    for wanted in history:
        provisioner.diff(wanted)
        assert provisioner.provision(wanted).is_complete
    for request in world.sim.requests:
        assert request.method in {"GET", "POST"}
        assert "search" not in request.path
        assert request.params.keys().isdisjoint({"currency_options", "transfer_lookup_key"})
        if request.method == "GET" and request.path in {"/v1/prices", "/v1/products"}:
            assert "active" in request.params


@given(catalogs, catalogs)
def test_a_diff_is_what_is_applied(before: PlanCatalog, after: PlanCatalog) -> None:
    """Without faults a run applies exactly the changes of the diff, which only reads (I16)."""
    world = World()
    provisioner = generous(world)
    provisioner.provision(before)
    world.forget_requests()
    diff = provisioner.diff(after)
    assert provisioner.provision(after, dry_run=True).changes == diff
    assert world.writes == []
    assert provisioner.provision(after, expected=diff).changes == diff


@given(st.lists(st.tuples(st.booleans(), catalogs), min_size=1, max_size=4))
def test_modes_do_not_influence_each_other(history: list[tuple[bool, PlanCatalog]]) -> None:
    """What is provisioned in one mode neither reads nor changes what stands in the other (I9)."""
    world = World()
    provisioner = generous(world)
    newest: dict[bool, PlanCatalog] = {}
    for live, wanted in history:
        world.key = LIVE_KEY if live else TEST_KEY
        assert provisioner.provision(wanted).is_complete
        newest[live] = wanted
        for mode, expected in newest.items():
            world.key = LIVE_KEY if mode else TEST_KEY
            require_goal(world, expected)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=6))
def test_a_lower_revision_never_overwrites_a_higher(runs: list[tuple[int, bool]]) -> None:
    """Whatever order replicas run in, and with stores of their own: the highest revision stands (I13)."""
    world = World()
    highest = 0
    for revision, own_store in runs:
        provisioner, _ = world.replica(MemoryStore() if own_store else None)
        report = provisioner.provision(catalog(pro(revision * 100)), revision=revision)
        if revision < highest:
            assert report.changes == ()
        highest = max(highest, revision)
        product = world.products["kuploy_pro"]
        assert world.prices[product["default_price"]]["unit_amount"] == highest * 100


def test_foreign_objects_are_never_touched() -> None:
    """Objects without our mark are the same, byte by byte, after all that the provisioner can do (I4)."""
    world = World()
    client = world.stripe().v1
    client.products.create({"id": "theirs", "name": "Theirs"})
    client.products.create({"id": "kuploy-other_pro", "name": "Of another instance"})
    client.prices.create({"product": "theirs", "currency": "cad", "unit_amount": 5, "recurring": {"interval": "month"}})
    before = (world.products, world.prices)
    for wanted in (catalog(pro(), business()), catalog(pro(2500)), PlanCatalog([FREE])):
        generous(world).provision(wanted)
    assert {name: world.products[name] for name in before[0]} == before[0]
    assert {name: world.prices[name] for name in before[1]} == before[1]


SCENARIOS: dict[str, tuple[PlanCatalog, ...]] = {
    "first": (catalog(pro(), business()),),
    "price": (catalog(pro()), catalog(pro(2500))),
    "price-and-name": (catalog(pro()), catalog(pro(2500, name="Other"))),
    "revert": (catalog(pro()), catalog(pro(2500)), catalog(pro())),
    "retire": (catalog(pro(), business()), catalog(pro(2500), business(is_active=False))),
    "return": (catalog(pro()), catalog(pro(is_active=False)), catalog(pro(2500))),
    "remove": (catalog(pro(), business()), catalog(business())),
    "unfinished-then-removed": (catalog(pro(), business()), catalog(pro(2500), business()), catalog(business())),
}


def _story(name: str, crash_at: int | None) -> tuple[World, int]:
    """Play a scenario; in its last run the process dies at boundary *crash_at* and another takes over."""
    *earlier, wanted = SCENARIOS[name]
    store = WatchedStore()
    world = World(store=store)
    provisioner = generous(world)
    for before in earlier:
        assert provisioner.provision(before).is_complete
    boundaries = 0

    def boundary(*_: Any) -> None:
        nonlocal boundaries
        require_sellable(world)
        boundaries += 1
        if boundaries - 1 == crash_at:
            raise CrashError

    world.wire.before = world.wire.after = boundary
    store.before = boundary
    if crash_at is None:
        assert provisioner.provision(wanted).is_complete
        return world, boundaries
    with pytest.raises(CrashError):
        provisioner.provision(wanted)
    assert provisioner.provision(wanted).is_complete
    require_goal(world, wanted)
    return world, boundaries


def _state(world: World) -> Any:
    """Everything at Stripe but ids and times."""
    prices = sorted((p["lookup_key"], p["product"], p["active"], p["unit_amount"]) for p in world.prices.values())
    products = sorted((p["id"], p["name"], p["active"]) for p in world.products.values())
    return prices, products, set(world.store.load_mappings(TEST_SPACE))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_every_boundary_is_mended_by_the_next_run(name: str) -> None:
    """At each request and write what is sold can be bought (I6), and a rerun ends as if nothing had been (I11)."""
    whole, boundaries = _story(name, None)
    for crash_at in range(boundaries):
        world, _ = _story(name, crash_at)
        assert _state(world) == _state(whole)


def test_an_older_catalog_takes_nothing_off_sale_that_a_newer_sells() -> None:
    """A run that is about to drop a plan finds that a newer catalog put it on sale meanwhile: it stays (I13)."""
    store = WatchedStore()
    world = World(store=store)
    world.provisioner.provision(catalog(pro(1000)), revision=1)
    newer = StripeProvisioner(world.gateway, store)

    def meanwhile() -> None:
        store.before_drop = lambda: None
        assert newer.provision(catalog(pro(3000)), revision=3).is_complete

    store.before_drop = meanwhile
    report = world.provisioner.provision(catalog(pro(is_active=False), business()), revision=2)
    assert report.plans["pro"].outcome is PlanOutcome.SKIPPED
    assert store.load_mappings(TEST_SPACE)["pro"].revision == 3
    require_sellable(world)


def test_a_failing_plan_changes_nothing_for_others() -> None:
    """The others end as they would without the failing one (I12)."""
    with_it, without = World(), World()
    with_it.stripe().v1.products.create({"id": "kuploy_business", "name": "Theirs"})
    report = with_it.provisioner.provision(catalog(pro(), business()))
    assert isinstance(report.plans["business"].error, BillingError)
    without.provisioner.provision(catalog(pro()))
    assert [p for p in _state(with_it)[0] if p[1] == "kuploy_pro"] == _state(without)[0]
