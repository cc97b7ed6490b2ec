"""Somebody deletes a plan's row by hand: the license's catalog puts it back, and without one it is a clear error."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.kit.world import CATALOG, World, make_world

from kuploy_saas_kit import CatalogAuthority
from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import CatalogError, StorageError
from kuploy_saas_kit.plans import Plan


@pytest.fixture
def world(sqlite_template: Path, tmp_path: Path) -> Iterator[World]:
    """A hub and an SQLite store, without Stripe."""
    path = tmp_path / "kit.db"
    path.write_bytes(sqlite_template.read_bytes())
    with closing(SqlStore.from_url(f"sqlite:///{path}")) as store, make_world(store) as made:
        made.keys = None
        yield made


def lose(world: World, slug: str) -> None:
    """What somebody does with a tool of their own."""
    with world.store._engine.begin() as connection:
        connection.execute(text('DELETE FROM cloud_plans WHERE "planId" = :slug'), {"slug": slug})


@pytest.mark.parametrize("slug", ["free", "pro"])
def test_back_after_a_start(world: World, slug: str) -> None:
    """A start puts back the default plan or another one, from the license that it loads, also while the hub is away."""
    world.kit().run_once()
    lose(world, slug)
    world.hub.outage("refused")
    with world.kit() as kit:
        assert world.store.load_plans().catalog == CATALOG
        assert kit.gate.acquire("acme", "maxProjects").granted


@pytest.mark.parametrize("slug", ["free", "pro"])
def test_back_after_a_refresh(world: World, slug: str) -> None:
    """The background puts it back at its next look, which is a change for all processes, and then leaves it alone."""
    kit = world.kit()
    kit.run_once()
    kit.gate.begin_keeping(world.store.load_plans().catalog)
    lose(world, slug)
    cursor = world.store.changes(None).cursor
    world.later(seconds=60)
    kit._compare_when_due()
    assert world.store.load_plans().catalog == CATALOG
    assert kit.gate.acquire("acme", "maxProjects").granted
    healed = world.store.changes(cursor).cursor
    assert healed != cursor
    world.later(seconds=60)
    kit._compare_when_due()
    assert world.store.changes(None).cursor == healed


@pytest.mark.parametrize("slug", ["free", "pro"])
def test_back_after_a_run(world: World, slug: str) -> None:
    """A run of a scheduler's puts it back and says so, also where the plans are those of a second license."""
    world.kit().run_once()
    other = world.hub.add_tenant("Other Hosting")
    world.license_key = world.hub.issue_license(other, tier="growth")
    world.hub.set_catalog(other, CATALOG)
    kit = world.kit()
    kit.run_once()
    lose(world, slug)
    report = kit.run_once()
    assert report.plans is not None
    assert slug in report.plans.changed
    assert report.problems == ()
    assert world.store.load_plans().catalog == CATALOG
    assert kit.run_once().plans is None


def test_where_the_operator_owns_the_plans(world: World) -> None:
    """A lost default stays a clear error where no catalog is there to replace it, until it is saved again."""
    kit = world.kit(catalog_authority=CatalogAuthority.LOCAL)
    kit.run_once()
    for plan in CATALOG:
        kit.save_plan(plan, actor="admin", expected_version=0)
    lose(world, "free")
    assert any("exactly one plan must be the default" in problem for problem in kit.run_once().problems)
    with pytest.raises(StorageError, match="exactly one plan must be the default"):
        kit.start()
    with pytest.raises(CatalogError, match="exactly one plan must be the default"):
        kit.save_plan(Plan("max", "Max"), actor="admin", expected_version=0)
    kit.save_plan(CATALOG.default, actor="admin", expected_version=0)
    assert set(world.store.load_plans().catalog) == set(CATALOG)
    assert kit.run_once().problems == ()
