"""Plans for the time before the first sync: stored once, replaced by the license's first catalog, and never again."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.kit.world import CATALOG, KEYS, World, make_world

from kuploy_saas_kit import CatalogAuthority
from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.errors import NeverGateKeyError, StorageError
from kuploy_saas_kit.kit import seed_plans
from kuploy_saas_kit.plans import Plan, PlanCatalog, Price, Reason
from kuploy_saas_kit.plans.ports import StoredPlans
from kuploy_saas_kit.plans.revisions import BOOTSTRAP, next_revision

STARTER = Plan("starter", "Starter", limits={"maxProjects": 2}, is_default=True)
SEED = PlanCatalog([STARTER, Plan("plus", "Plus", Price(500, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": 9})])


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[World]:
    """A hub and an instance that has never run, without Stripe."""
    if request.param == "memory":
        with make_world() as made:
            made.keys = None
            yield made
        return
    path = tmp_path / "kit.db"
    path.write_bytes(sqlite_template.read_bytes())
    with closing(SqlStore.from_url(f"sqlite:///{path}")) as store, make_world(store) as made:
        made.keys = None
        yield made


def slugs(world: World) -> list[str]:
    """The active plans in the store."""
    catalog = world.store.load_plans().catalog
    return [] if catalog is None else [plan.slug for plan in catalog if plan.is_active]


def test_without_a_hub(world: World) -> None:
    """The first boot while the hub is away has the plans; what they grant is up to the license, which is not there."""
    world.hub.outage("refused")
    with world.kit(bootstrap=SEED) as kit:
        assert world.store.load_plans().catalog == SEED
        assert kit.gate.resolve_plan("acme").plan == STARTER
        refused = kit.gate.acquire("acme", "maxProjects")
        assert (refused.granted, refused.reason) == (False, Reason.LICENSE_PENDING)
        assert not kit.gate.allows("acme", "aiAssistant")
        assert kit.gate.check_feature("acme", "aiAssistant").reason is Reason.LICENSE_PENDING


def test_without_a_license(world: World) -> None:
    """An instance that was never claimed has them too, and grants nothing."""
    with world.kit(bootstrap=SEED, license_settings={}) as kit:
        assert slugs(world) == ["starter", "plus"]
        assert kit.gate.acquire("acme", "maxProjects").reason is Reason.NO_LICENSE


def test_the_first_catalog_takes_their_place(world: World) -> None:
    """Whatever its revision is; orgs that a seeded plan was given to keep it, and nobody is sold it any more."""
    world.hub.outage("refused")
    kit = world.kit(bootstrap=SEED)
    kit.run_once()
    kit.gate.assign("acme", "plus", actor="admin", reason="a friend")
    world.hub.outage(None)
    world.later(minutes=10)
    report = kit.run_once()
    assert report.plans is not None
    assert set(report.plans.deactivated) == {"starter", "plus"}
    stored = world.store.load_plans()
    assert (slugs(world), stored.catalog.default.slug, stored.revision) == (["free", "pro"], "free", 1)
    assert kit.gate.resolve_plan("acme").slug == "plus"


def test_where_the_hub_answers_at_once(world: World) -> None:
    """They are not even stored."""
    with world.kit(bootstrap=SEED):
        assert world.store.load_plans().catalog == CATALOG


def test_what_stands_in_is_not_sold() -> None:
    """A license that comes between seeding and provisioning finds nothing to sell: the hub's plans are to come."""
    with make_world() as world:
        world.hub.outage("refused")
        kit = world.kit(bootstrap=SEED)
        kit.run_once()
        world.hub.outage(None)
        world.later(minutes=10)
        assert kit.license.sync().ok
        assert kit._carried((kit._provision,), force=False).problems == []
        assert world.store.load_mappings(kit.gateway.space()) == {}
        kit.run_once()
        assert set(world.store.load_mappings(kit.gateway.space())) == {"pro"}


@pytest.mark.parametrize("reachable", [True, False])
def test_later_boots(world: World, *, reachable: bool) -> None:
    """After the license's catalog was applied they never come back, with the hub or without it."""
    world.kit(bootstrap=SEED).run_once()
    if not reachable:
        world.hub.outage("refused")
    before = world.store.changes(None).cursor
    with world.kit(bootstrap=SEED) as kit:
        kit.run_once()
    with world.kit(bootstrap=SEED, license_settings={}):
        assert world.store.load_plans().catalog == CATALOG
    assert world.store.changes(None).cursor == before


def test_plans_of_the_operator(world: World) -> None:
    """Where the operator owns the plans they are the ones to begin with; what was saved since stays."""
    settings: dict[str, Any] = {"catalog_authority": CatalogAuthority.LOCAL, "bootstrap": SEED}
    world.kit(**settings).run_once()
    assert slugs(world) == ["starter", "plus"]
    kit = world.kit(**settings)
    kit.run_once()
    dearer = Plan("plus", "Plus", Price(900, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": 9})
    kit.save_plan(dearer, actor="admin", expected_version=1)
    kit.run_once()
    assert world.store.load_plans().catalog.plan("plus") == dearer


def test_sold_as_any_other(world: World) -> None:
    """Where the license permits to sell, the operator's first plans are carried to Stripe."""
    world.keys = KEYS
    kit = world.kit(catalog_authority=CatalogAuthority.LOCAL, bootstrap=SEED)
    assert kit.run_once().problems == ()
    assert set(world.store.load_mappings(kit.gateway.space())) == {"plus"}


def test_a_second_process_that_was_slow(world: World) -> None:
    """Whoever saw no plans, and stores them only after another process applied the license's, changes nothing."""
    store, load = world.store, world.store.load_plans

    def loaded_slowly() -> StoredPlans:
        seen: StoredPlans = load()
        store.load_plans = load
        seed_plans(store, SEED)
        store.replace_plans(CATALOG, revision=next_revision(load(), 0, "license"), source="license")
        return seen

    store.load_plans = loaded_slowly
    assert not seed_plans(store, SEED).applied
    assert slugs(world) == ["free", "pro"]


def test_stored_once(world: World) -> None:
    """Several processes at once store them once; what is no catalog any more is left to those who can mend it."""
    assert seed_plans(world.store, SEED).applied
    stored = world.store.load_plans()
    assert (stored.source, set(stored.versions.values())) == (BOOTSTRAP, {1})
    assert not seed_plans(world.store, CATALOG).applied
    assert world.store.load_plans() == stored


def test_plans_that_are_no_catalog(sqlite_template: Path, tmp_path: Path) -> None:
    """A default that somebody deleted is no reason to seed."""
    path = tmp_path / "kit.db"
    path.write_bytes(sqlite_template.read_bytes())
    with closing(SqlStore.from_url(f"sqlite:///{path}")) as store:
        store.replace_plans(CATALOG, revision=1)
        with store._engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM cloud_plans WHERE \"planId\" = 'free'")
        assert not seed_plans(store, SEED).applied


def test_a_store_that_fails() -> None:
    """It is a problem of the run, with its cause."""

    class Failing(MemoryStore):
        def replace_plans(self, *_: Any, **__: Any) -> Any:
            raise OSError("disk full")

    with pytest.raises(StorageError, match="store the bootstrap plans") as raised:
        seed_plans(Failing(), SEED)
    assert isinstance(raised.value.__cause__, OSError)


def test_keys_of_the_product(world: World) -> None:
    """Aliases are stored in their wire spelling; a key that is never gated is refused when the kit is made."""
    aliased = PlanCatalog([Plan("white", "White", features={"whitelabel"}, is_default=True)])
    world.kit(bootstrap=aliased, license_settings={}).run_once()
    assert world.store.load_plans().catalog.default.features == {"whiteLabel"}
    with pytest.raises(NeverGateKeyError):
        world.kit(bootstrap=PlanCatalog([Plan("login", "Login", features={"login"}, is_default=True)]))
