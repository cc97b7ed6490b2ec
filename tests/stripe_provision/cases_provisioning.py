"""Cases 1 to 45: provisioning."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest
import stripe
from tests.conftest import examples
from tests.stripe_provision.cases import case
from tests.stripe_provision.world import (
    FREE,
    LIVE_KEY,
    TEST_SPACE,
    World,
    business,
    catalog,
    pro,
    require_goal,
    require_nothing_to_do,
)

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import (
    BillingDisabledError,
    CatalogError,
    ConfigurationError,
    InvalidValueError,
    OwnershipError,
    StaleDiffError,
    StorageError,
    StripeRejectedError,
    StripeUnavailableError,
)
from kuploy_saas_kit.model.money import CURRENCIES, Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import PlanOutcome, StripeGateway, StripeProvisioner, naming
from kuploy_saas_kit.stripe_provision.changes import ArchivePrice, CreatePrice, UpdateProduct
from kuploy_saas_kit.stripe_provision.keys import StripeKeys
from kuploy_saas_kit.stripe_provision.ports import MadePrice, MappingPut, PriceMapping

THREE = catalog(pro(), business(), Plan("mini", "Mini", Price(500, "cad")))
PRO = catalog(pro())


def provisioned(wanted: PlanCatalog = PRO) -> World:
    """A world in which the catalog is in place, with the counting begun anew."""
    world = World()
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)
    world.forget_requests()
    return world


def key_of(plan: Plan) -> str:
    """The lookup key of the plan's price."""
    assert plan.price is not None
    return naming.lookup_key("kuploy", plan.slug, plan.price)


@case(1, "first run")
def _() -> None:
    world = World()
    report = world.provisioner.provision(THREE)
    assert report.is_complete
    require_goal(world, THREE)
    assert len(world.products) == len(world.prices) == 3


@case(2, "second run writes nothing and calls nothing")
def _() -> None:
    world = provisioned(THREE)
    report = world.provisioner.provision(THREE)
    assert report.is_complete
    assert world.sim.requests == []
    require_nothing_to_do(world.provisioner, THREE)
    assert world.writes == []
    assert len(world.sim.requests) <= 3


@case(3, "price change")
def _() -> None:
    world = provisioned()
    old = world.sold("pro")
    assert world.provisioner.provision(catalog(pro(2500))).is_complete
    require_goal(world, catalog(pro(2500)))
    assert old is not None
    assert not world.prices[old["id"]]["active"]
    assert len(world.prices) == 2
    assert world.store.plan_of_price(TEST_SPACE, old["id"]) == "pro"


@case(4, "price back")
def _() -> None:
    world = provisioned()
    old = world.sold("pro")
    for amount in (2500, 2000):
        assert world.provisioner.provision(catalog(pro(amount))).is_complete
    require_goal(world, PRO)
    assert world.sold("pro")["id"] == old["id"]  # type: ignore[index]
    assert len(world.prices) == 2


@case(5, "name and description")
def _() -> None:
    world = provisioned()
    wanted = catalog(pro(name="Professional", description=""))
    assert world.provisioner.provision(wanted).is_complete
    assert [(request.method, request.path) for request in world.writes] == [("POST", "/v1/products/kuploy_pro")]
    require_goal(world, wanted)
    require_nothing_to_do(world.provisioner, wanted)


@case(6, "currency to one without minor units")
def _() -> None:
    world = provisioned()
    wanted = catalog(pro(2000, "xof"))
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)
    assert world.sold("pro")["unit_amount"] == 2000  # type: ignore[index]


@case(7, "monthly to annual")
def _() -> None:
    world = provisioned()
    wanted = catalog(pro(cycle="annual"))
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)

    def without_count(_method: str, path: str, answer: dict[str, Any]) -> None:
        if path == "/v1/prices":
            for price in answer.get("data", []):
                price["recurring"].pop("interval_count")

    world.wire.after = without_count
    require_nothing_to_do(world.provisioner, wanted)


@case(8, "paid to default and back")
def _() -> None:
    world = provisioned()
    sold = world.sold("pro")
    without = PlanCatalog([pro(is_default=True)])
    changes = world.provisioner.diff(without)
    assert [type(change).__name__ for change in changes] == ["DropMapping", "DeactivateProduct"]
    assert world.provisioner.provision(without).is_complete
    assert world.sold("pro") is None
    assert not world.products["kuploy_pro"]["active"]
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    assert world.sold("pro") == sold


@case(9, "deactivated, reactivated, removed, added again")
def _() -> None:
    world = provisioned(catalog(pro(), business()))
    for wanted in (
        catalog(pro(is_active=False), business()),
        catalog(pro(), business()),
        catalog(business()),
        catalog(pro(), business()),
    ):
        assert world.provisioner.provision(wanted).is_complete
        require_goal(world, wanted)
    assert set(world.products) == {"kuploy_pro", "kuploy_business"}
    assert len(world.prices) == 2


@case(10, "amount 0")
def _() -> None:
    world = World()
    assert world.provisioner.provision(catalog(pro(0), Plan("unpriced", "Unpriced"))).is_complete
    assert world.writes == []


@case(11, "amounts that cannot be")
def _() -> None:
    for amount in (-1, True, 20.0, 100_000_000, float("nan")):
        with pytest.raises(InvalidValueError):
            pro(amount)  # type: ignore[arg-type]


@case(12, "amounts that a currency does not have")
def _() -> None:
    for amount, currency in ((1234, "kwd"), (150, "isk"), (150, "ugx")):
        with pytest.raises(InvalidValueError, match="multiples"):
            Price(amount, currency)
    assert not Price(50, "jpy").below_minimum
    assert Price(10, "usd").below_minimum
    world = World()
    assert world.provisioner.provision(catalog(pro(10, "usd"))).is_complete


@case(13, "unknown and oddly spelled currencies")
def _() -> None:
    assert Price(1, "CAD").currency == "cad"
    for code in ("abc", "", "m\u0131d", "\uff23\uff21\uff24", "cad "):
        with pytest.raises(InvalidValueError):
            Price(1, code)
    assert "abc" not in CURRENCIES


@case(14, "long and odd slugs")
def _() -> None:
    slugs = ["x" * 200, "éàü", "a:b", "a[b]", "a/b", "Größe-1"]
    wanted = catalog(*(Plan(slug, "Plan", Price(100 * n, "cad")) for n, slug in enumerate(slugs, 1)))
    world = World()
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)
    require_nothing_to_do(world.provisioner, wanted)


@case(15, "one slug twice")
def _() -> None:
    with pytest.raises(CatalogError, match="pro"):
        catalog(pro(), pro(2500))


@case(16, "product created and the answer lost")
def _() -> None:
    world = World()
    world.sim.fault("lost_after", match="POST /v1/products")
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    assert len(world.products) == 1


@case(17, "price created, the answer lost, a process without memory")
def _() -> None:
    world = World()
    world.sim.fault("lost_after", match="POST /v1/prices", times=3)
    report = world.provisioner.provision(PRO)
    assert isinstance(report.stopped_by, StripeUnavailableError)
    assert not report.is_complete
    world.store = MemoryStore()
    world.provisioner, _ = world.replica()
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    assert len(world.prices) == 1


@case(18, "a stored failure")
def _() -> None:
    world = World()
    world.sim.fault("saved_500", match="POST /v1/prices")
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    keys = [request.idempotency_key for request in world.writes if request.path == "/v1/prices"]
    assert len(set(keys)) == 2
    assert len(world.prices) == 1


@case(19, "rate limits for a while and for ever")
def _() -> None:
    world = World()
    world.sim.fault("429", match="POST /v1/products", times=5)
    assert world.provisioner.provision(PRO).is_complete
    world.forget_requests()
    world.sim.fault("429", match="GET /v1/prices", times=None)
    with pytest.raises(StripeUnavailableError) as caught:
        world.provisioner.provision(PRO, force=True)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit")
    assert len(world.sim.requests) == 6


@case(20, "locks in both of their forms")
def _() -> None:
    world = World()
    for kind in ("lock_timeout_409", "lock_timeout_429", "idempotency_in_use"):
        world.sim.fault(kind, match="POST /v1/prices")
    assert world.provisioner.provision(PRO).is_complete
    assert len({request.idempotency_key for request in world.writes if request.path == "/v1/prices"}) == 1


@case(21, "our key on an archived price")
def _() -> None:
    world = provisioned()
    assert world.provisioner.provision(catalog(pro(is_active=False))).is_complete
    world.stripe().v1.products.update("kuploy_pro", {"default_price": ""})
    price_id = next(iter(world.prices))
    world.stripe().v1.prices.update(price_id, {"active": False})
    world.store = MemoryStore()
    world.provisioner, _ = world.replica()
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    assert list(world.prices) == [price_id]


@case(22, "our key moved to another price by hand")
def _() -> None:
    world = provisioned(catalog(pro(), business()))
    stranger = world.stripe().v1.prices.create(
        {
            "product": "kuploy_business",
            "unit_amount": 1,
            "currency": "cad",
            "lookup_key": key_of(pro()),
            "transfer_lookup_key": True,
            "recurring": {"interval": "month"},
        }
    )
    report = world.provisioner.provision(catalog(pro(), business()), force=True)
    assert report.plans["pro"].outcome is PlanOutcome.FAILED
    assert stranger.id in str(report)
    assert world.sold("pro")["unit_amount"] == 2000  # type: ignore[index]
    world.stripe().v1.prices.update(stranger.id, {"lookup_key": ""})
    assert world.provisioner.provision(catalog(pro(), business()), force=True).is_complete
    assert world.sold("pro")["unit_amount"] == 2000  # type: ignore[index]


@case(22, "our key moved to a price of somebody else")
def _() -> None:
    world = provisioned()
    client = world.stripe().v1
    client.products.create({"id": "theirs", "name": "Theirs"})
    stranger = client.prices.create(
        {
            "product": "theirs",
            "unit_amount": 2000,
            "currency": "cad",
            "lookup_key": key_of(pro()),
            "transfer_lookup_key": True,
            "recurring": {"interval": "month"},
        }
    )
    world.forget_requests()
    report = world.provisioner.provision(PRO, force=True)
    assert f"price {stranger.id} of product theirs holds the lookup key" in str(report.plans["pro"].error)
    assert world.writes == []


@case(22, "the mark taken off our price by hand")
def _() -> None:
    world = provisioned()
    sold = world.sold("pro")
    assert sold is not None
    world.stripe().v1.prices.update(sold["id"], {"metadata": {naming.NAMESPACE: "another"}})
    world.forget_requests()
    report = world.provisioner.provision(PRO, force=True)
    assert report.plans["pro"].outcome is PlanOutcome.FAILED
    assert sold["id"] in str(report.plans["pro"].error)
    assert world.writes == []
    world.stripe().v1.prices.update(sold["id"], {"metadata": {naming.NAMESPACE: "kuploy"}})
    assert world.provisioner.provision(PRO, force=True).is_complete


@case(23, "edits by hand in the dashboard")
def _() -> None:
    world = provisioned()
    client = world.stripe().v1
    sold = world.sold("pro")
    assert sold is not None
    extra = client.prices.create(
        {"product": "kuploy_pro", "unit_amount": 1, "currency": "cad", "recurring": {"interval": "month"}}
    )
    client.products.update("kuploy_pro", {"name": "Renamed", "default_price": extra.id})
    client.prices.update(sold["id"], {"active": False})
    assert world.provisioner.provision(PRO, force=True).is_complete
    assert world.prices[sold["id"]]["active"]
    assert world.prices[extra.id]["active"]
    assert world.products["kuploy_pro"]["name"] == "Pro"
    assert world.products["kuploy_pro"]["default_price"] == sold["id"]
    client.products.update("kuploy_pro", {"name": "Mine", "metadata": {naming.MANAGED_BY: ""}})
    world.forget_requests()
    report = world.provisioner.provision(PRO, force=True)
    assert isinstance(report.plans["pro"].error, OwnershipError)
    assert world.writes == []


@case(24, "product deleted by hand")
def _() -> None:
    world = World()
    world.sim.fault("401", match="POST /v1/prices")
    world.provisioner.provision(PRO)
    world.stripe().v1.products.delete("kuploy_pro")
    report = world.provisioner.provision(PRO)
    if not report.is_complete:
        assert "kuploy_pro" in str(report.plans["pro"].error)
        assert len(world.writes) <= 10


@case(25, "a foreign product with our id")
def _() -> None:
    world = World()
    world.stripe().v1.products.create({"id": "kuploy_pro", "name": "Theirs"})
    before = world.products["kuploy_pro"]
    report = world.provisioner.provision(catalog(pro(), business()))
    assert isinstance(report.plans["pro"].error, OwnershipError)
    assert report.plans["business"].outcome is PlanOutcome.CHANGED
    assert world.products["kuploy_pro"] == before


@case(26, "another replica moved the default price")
def _() -> None:
    world = provisioned()
    other, _ = world.replica()
    done: list[str] = []

    def overtake(method: str, path: str) -> None:
        if method == "POST" and path.startswith("/v1/prices/") and not done:
            done.append(path)
            other.provision(PRO, force=True)

    world.wire.before = overtake
    wanted = catalog(pro(2500))
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)


@case(27, "two replicas with different revisions do not flip-flop")
def _() -> None:
    world = World()
    old, _ = world.replica()
    new, _ = world.replica()
    for _ in range(10):
        assert new.provision(catalog(pro(2500)), revision=8).is_complete
        world.forget_requests()
        report = old.provision(PRO, revision=7)
        assert {request.path for request in world.sim.requests} <= {"/v1/account"}
        assert not report.is_complete
        assert report.plans["pro"].outcome is PlanOutcome.SKIPPED
        assert isinstance(report.plans["pro"].error, StaleDiffError)
    require_goal(world, catalog(pro(2500)))
    assert len(world.prices) == 1
    stranger = StripeProvisioner(world.gateway, MemoryStore())
    assert stranger.provision(PRO, revision=7).plans["pro"].outcome is PlanOutcome.SKIPPED


@case(28, "crash between mapping and archive")
def _() -> None:
    world = provisioned()
    world.sim.fault("lost_before", match="POST /v1/prices/*", times=3)
    wanted = catalog(pro(2500))
    assert not world.provisioner.provision(wanted).is_complete
    assert world.sold("pro")["unit_amount"] == 2500  # type: ignore[index]
    assert sum(price["active"] for price in world.prices.values()) == 2
    assert world.provisioner.provision(wanted).is_complete
    require_goal(world, wanted)


@case(28, "crash after the price was made, and the old catalog comes back")
def _() -> None:
    # Until the crash the old catalog was in place; its fingerprint must not say so any more.
    world = provisioned()

    def die(method: str, path: str) -> None:
        if method == "POST" and path == "/v1/products/kuploy_pro":
            raise KeyboardInterrupt

    world.wire.before = die
    with pytest.raises(KeyboardInterrupt):
        world.provisioner.provision(catalog(pro(2500)))
    world.wire.before = None
    assert len(world.prices) == 2
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)


@case(29, "crash between default price and mapping")
def _() -> None:
    world = provisioned()
    store = FailingStore(world.store)
    provisioner, _ = world.replica(store)
    with pytest.raises(StorageError):
        provisioner.provision(catalog(pro(2500)))
    sold = world.sold("pro")
    assert sold is not None
    assert (sold["unit_amount"], sold["active"]) == (2000, True)
    assert world.provisioner.provision(catalog(pro(2500))).is_complete
    require_goal(world, catalog(pro(2500)))


@case(30, "the store refuses to write")
def _() -> None:
    world = provisioned()
    provisioner, _ = world.replica(FailingStore(world.store))
    with pytest.raises(StorageError) as caught:
        provisioner.provision(catalog(pro(2500)))
    assert isinstance(caught.value.__cause__, OSError)
    assert all(price["active"] for price in world.prices.values())


class FailingStore(MemoryStore):
    """Reads another store and fails to write mappings."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def load_mappings(self, space: StripeSpace) -> Any:
        return self._inner.load_mappings(space)

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        self._inner.save_fingerprint(space, fingerprint)

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        raise OSError("disk full")


@case(31, "test to live and back")
def _() -> None:
    world = provisioned()
    world.key = LIVE_KEY
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)
    live = world.sold("pro")
    world.key = "sk_test_sim"
    world.forget_requests()
    assert world.provisioner.provision(PRO).is_complete
    assert world.sim.requests == []
    require_goal(world, PRO)
    assert live is not None
    assert world.sold("pro")["id"] != live["id"]  # type: ignore[index]


@case(32, "the key of another account")
def _() -> None:
    world = provisioned()
    other = World(store=world.store)
    other.sim = type(world.sim)(account="acct_other")
    other.wire._inner = other.sim.http_client()
    assert other.provisioner.provision(PRO).is_complete
    require_goal(other, PRO)
    require_goal(world, PRO)
    assert len(other.prices) == 1


@case(33, "keys that cannot work")
def _() -> None:
    for key in ("pk_test_x", "sk_test_x\n", " sk_test_x"):
        with pytest.raises(ConfigurationError):
            StripeGateway.from_key(key)
    world = World(key="rk_test_reader")
    world.sim.restrict("rk_test_reader", {"products": "read", "prices": "read"})
    report = world.provisioner.provision(PRO)
    assert isinstance(report.stopped_by, StripeRejectedError)
    assert report.stopped_by.status == 403
    assert "rak_product_write" in str(report.stopped_by)
    world.key = None
    with pytest.raises(BillingDisabledError):
        world.provisioner.provision(PRO)


@case(34, "key revoked in the middle of a run")
def _() -> None:
    world = World()
    world.sim.fault("401", match="POST /v1/prices")
    report = world.provisioner.provision(THREE)
    assert isinstance(report.stopped_by, StripeRejectedError)
    assert report.stopped_by.status == 401
    assert TEST_SPACE.account_id not in str(report.stopped_by)
    assert world.sim.requests[-1].path == "/v1/prices"
    assert world.provisioner.provision(THREE).is_complete
    require_goal(world, THREE)


@case(35, "a thousand plans, and a cursor that vanishes")
def _() -> None:
    plans = examples(1000)
    many = catalog(*(Plan(f"plan-{n:04d}", f"Plan {n}", Price(100 + n, "cad")) for n in range(plans)))
    world = World()
    assert world.provisioner.provision(many).is_complete
    assert len(world.sim.requests) <= 4 * plans
    world.forget_requests()
    require_nothing_to_do(world.provisioner, many)
    assert len(world.sim.requests) <= -(-plans // 100) + 2
    vanished: list[bool] = []

    def vanish(_method: str, path: str, answer: dict[str, Any]) -> None:
        if path == "/v1/prices" and answer.get("has_more") and not vanished:
            vanished.append(True)
            answer["data"][-1]["id"] = "price_vanished"

    world.wire.after = vanish
    require_nothing_to_do(world.provisioner, many)
    assert vanished


@case(36, "answers in any order and twice")
def _() -> None:
    world = provisioned(THREE)

    def shuffle(_method: str, path: str, answer: dict[str, Any]) -> None:
        if path in {"/v1/products", "/v1/prices"} and "data" in answer:
            answer["data"] = [*reversed(answer["data"]), *answer["data"]]

    world.wire.after = shuffle
    require_nothing_to_do(world.provisioner, THREE)


@case(37, "no home directory")
def _() -> None:
    # A user id without an entry in the password file, as containers have them.
    script = (
        "import pathlib\n"
        "def homeless(*_): raise RuntimeError('Could not determine home directory.')\n"
        "pathlib.Path.home = pathlib.Path.expanduser = homeless\n"
        "from tests.stripe_provision.world import World, catalog, pro\n"
        "assert World().provisioner.provision(catalog(pro())).is_complete\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"HOME", "USERPROFILE"}}
    command = [sys.executable, "-W", "error", "-c", script]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert answer.returncode == 0, answer.stderr


@case(38, "a notice from Stripe")
def _() -> None:
    world = World()
    world.wire.headers = {"Stripe-Notice": "sk_test_secret will be gone"}
    assert world.provisioner.provision(PRO).is_complete


@case(39, "an empty or partial catalog")
def _() -> None:
    world = provisioned(THREE)
    report = world.provisioner.provision(PlanCatalog([FREE]))
    assert not report.is_complete
    assert world.writes == []
    require_goal(world, THREE)
    replaced = catalog(Plan("kuploy", "New", Price(100, "cad")))
    world.stripe().v1.products.create({"id": "kuploy_kuploy", "name": "Theirs"})
    assert not world.provisioner.provision(replaced).is_complete
    require_goal(world, THREE)
    generous = StripeProvisioner(world.gateway, world.store, allow_empty=True)
    assert generous.provision(PlanCatalog([FREE])).is_complete
    require_goal(world, PlanCatalog([FREE]))


@case(40, "an object of the other mode")
def _() -> None:
    world = provisioned()

    def go_live(_method: str, path: str, answer: dict[str, Any]) -> None:
        if path == "/v1/prices":
            for price in answer["data"]:
                price["livemode"] = True

    world.wire.after = go_live
    with pytest.raises(ConfigurationError, match="mode"):
        world.provisioner.provision(PRO, force=True)
    assert world.writes == []


@case(41, "a price of another kind under our key")
def _() -> None:
    for oddity in (
        {"unit_amount": None, "unit_amount_decimal": "2000.5"},
        {"billing_scheme": "tiered", "unit_amount": None},
        {"recurring": None},
        {"transform_quantity": {"divide_by": 10, "round": "up"}},
    ):
        world = provisioned()

        def bend(_method: str, path: str, answer: dict[str, Any], oddity: dict[str, Any] = oddity) -> None:
            if path == "/v1/prices":
                for price in answer["data"]:
                    price.update(oddity)

        world.wire.after = bend
        report = world.provisioner.provision(PRO, force=True)
        assert report.plans["pro"].outcome is PlanOutcome.FAILED
        assert world.writes == []


@case(42, "unknown fields and values")
def _() -> None:
    world = provisioned()

    def grow(_method: str, _path: str, answer: dict[str, Any]) -> None:
        for item in answer.get("data", []):
            item.update({"type": "brand_new", "novelty": {"a": [1, None]}})

    world.wire.after = grow
    require_nothing_to_do(world.provisioner, PRO)


@case(43, "a dry run reads only")
def _() -> None:
    world = World(key="rk_test_reader")
    world.sim.restrict("rk_test_reader", {"products": "read", "prices": "read", "subscriptions": "read"})
    diff = world.provisioner.diff(PRO)
    report = world.provisioner.provision(PRO, dry_run=True)
    assert report.dry_run
    assert report.changes == diff
    assert world.writes == []
    world.key = "sk_test_sim"
    applied = world.provisioner.provision(PRO).changes
    assert [str(change) for change in applied] == [str(change) for change in diff]


@case(44, "an HTML page in place of an answer")
def _() -> None:
    world = World()
    world.sim.fault("html_502", match="POST /v1/products")
    assert world.provisioner.provision(PRO).is_complete
    require_goal(world, PRO)


@case(45, "two runs at once in one process")
def _() -> None:
    world = World()
    threads = [threading.Thread(target=world.provisioner.provision, args=(THREE,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.provisioner.provision(THREE, force=True).is_complete
    require_goal(world, THREE)
    assert len(world.products) == len(world.prices) == 3


@case(3, "a diff says who stays on the old price")
def _() -> None:
    world = provisioned()
    archive = [change for change in world.provisioner.diff(catalog(pro(2500))) if isinstance(change, ArchivePrice)]
    assert [change.subscribers for change in archive] == [0]
    assert "0 subscriptions stay" in str(archive[0])


@case(31, "a diff is not applied to another account or catalog")
def _() -> None:
    world = World()
    diff = world.provisioner.diff(PRO)
    world.key = LIVE_KEY
    with pytest.raises(StaleDiffError):
        world.provisioner.provision(PRO, expected=diff)
    world.key = "sk_test_sim"
    with pytest.raises(StaleDiffError):
        world.provisioner.provision(catalog(pro(2500)), expected=diff)
    assert world.writes == []
    assert world.provisioner.provision(PRO, expected=diff).is_complete


@case(25, "a plan that Stripe refuses does not stop the others")
def _() -> None:
    world = World()

    def refuse(method: str, path: str) -> None:
        if method == "POST" and path == "/v1/products/kuploy_business":
            raise stripe.InvalidRequestError("no", "name", http_status=400)

    world.wire.before = refuse
    report = world.provisioner.provision(THREE)
    assert report.plans["business"].outcome is PlanOutcome.FAILED
    assert report.stopped_by is None
    assert {slug for slug, result in report.plans.items() if result.outcome is PlanOutcome.CHANGED} == {"pro", "mini"}
    assert isinstance(report.changes[0], object)
    assert not any(isinstance(change, UpdateProduct) for change in report.changes)
    assert any(isinstance(change, CreatePrice) for change in report.changes)


@case(27, "a revision is announced before the price moves")
def _() -> None:
    world = World()
    world.provisioner.provision(PRO, revision=7)
    world.forget_requests()
    world.provisioner.provision(catalog(pro(2500)), revision=8)
    assert [request.path for request in world.writes][:2] == ["/v1/products/kuploy_pro", "/v1/prices"]
    assert naming.written_revision(world.writes[0].params["metadata"]) == 8
    assert naming.written_revision(world.products["kuploy_pro"]["metadata"]) == 8
    assert sum(key.startswith(naming.REVISION) for key in world.products["kuploy_pro"]["metadata"]) == 1


@case(33, "a restricted key without the account is a space of its own")
def _() -> None:
    world = World(key="rk_test_writer")
    world.sim.restrict("rk_test_writer", {"products": "write", "prices": "write"})
    assert world.provisioner.provision(PRO).is_complete
    assert world.gateway.space().account_id == f"key:{StripeKeys(secret='rk_test_writer').digest}"


def overtaken(request: int) -> list[str]:
    """What a replica with revision 2 writes that one with 3 overtakes just before the write number *request*."""
    world = World()
    assert world.provisioner.provision(PRO, revision=1).is_complete
    newer, _ = world.replica()
    older, wire = world.replica()
    writes: list[str] = []

    def overtake(method: str, path: str) -> None:
        if method == "POST":
            writes.append(path)
            if len(writes) == request:
                assert newer.provision(catalog(pro(3000)), revision=3).is_complete

    wire.before = overtake
    report = older.provision(catalog(pro(2500)), revision=2)
    assert report.plans["pro"].outcome is PlanOutcome.SKIPPED
    assert world.sold("pro")["unit_amount"] == 3000  # type: ignore[index]
    assert newer.provision(catalog(pro(3000)), revision=3).is_complete
    require_goal(world, catalog(pro(3000)))
    return writes


@case(27, "overtaken before the price is made")
def _() -> None:
    # The store refuses the mapping, and nothing is archived then.
    assert overtaken(2) == ["/v1/products/kuploy_pro", "/v1/prices", "/v1/products/kuploy_pro"]


@case(27, "overtaken before the default price moves")
def _() -> None:
    assert overtaken(3) == ["/v1/products/kuploy_pro", "/v1/prices", "/v1/products/kuploy_pro"]


@case(27, "overtaken before the old price is archived")
def _() -> None:
    overtaken(4)
