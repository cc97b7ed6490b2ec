"""Plans for the time before the first sync, in every store of the kit's."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.django_host import database

from kuploy_saas_kit.adapters import DjangoStore, MemoryStore, SqlStore
from kuploy_saas_kit.kit import seed_plans
from kuploy_saas_kit.plans import Plan, PlanCatalog
from kuploy_saas_kit.plans.ports import PlanStore
from kuploy_saas_kit.plans.revisions import BOOTSTRAP, BOOTSTRAP_REVISION, next_revision
from kuploy_saas_kit.testing.conformance.crew import race
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.plans import CATALOG

SEED = PlanCatalog([Plan("starter", "Starter", is_default=True), Plan("plus", "Plus")])
Opened = Callable[[], PlanStore]


@contextmanager
def in_memory(_url: str) -> Iterator[Opened]:
    """One store for all threads."""
    store = MemoryStore()
    yield lambda: store


@contextmanager
def in_sql(url: str) -> Iterator[Opened]:
    """A store for each."""
    with ExitStack() as exits:
        yield lambda: exits.enter_context(closing(SqlStore.from_url(url)))


@contextmanager
def in_django(url: str) -> Iterator[Opened]:
    """A store for each, over connections of Django's."""
    with database(url) as alias:
        yield lambda: DjangoStore(alias)


@pytest.fixture(params=[in_memory, in_sql, in_django])
def opened(request: pytest.FixtureRequest, url: str) -> Iterator[Opened]:
    """The store as each process opens it."""
    with request.param(url) as opened:
        yield opened


def test_seeds_are_stored_once_and_replaced_once(opened: Opened) -> None:
    """They are there until any catalog of a license comes, its revision 0 too, also if the plans are the same."""
    store = opened()
    for catalog in (SEED, CATALOG):
        assert seed_plans(store, catalog).applied == (catalog is SEED)
    stored = store.load_plans()
    assert (stored.catalog, stored.revision, stored.source) == (SEED, BOOTSTRAP_REVISION, BOOTSTRAP)
    assert store.replace_plans(SEED, revision=next_revision(stored, 0, "license"), source="license").changed == ()
    assert not seed_plans(store, SEED).applied
    assert not store.replace_plans(SEED, revision=BOOTSTRAP_REVISION, source=BOOTSTRAP).applied  # somebody too late
    stored = store.load_plans()
    assert (stored.revision, stored.source) == (0, "license")


def test_processes_that_boot_at_once(opened: Opened) -> None:
    """Some seed while one applies the license's catalog: that one is what is stored."""
    stores = [opened() for _ in range(4)]

    def boot(worker: int) -> None:
        seed_plans(stores[worker], SEED)
        if worker == 0:
            wanted = next_revision(stores[0].load_plans(), 3, "license")
            stores[0].replace_plans(CATALOG, revision=wanted, source="license")

    race(boot, workers=len(stores))
    stored = stores[0].load_plans()
    assert stored.catalog is not None
    assert stored.catalog.default == CATALOG.default
    assert (stored.revision, stored.source) == (3, "license")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_plan_saved_at_any_line(kind: str, sqlite_template: Path, tmp_path: Path) -> None:
    """Wherever an operator saves a plan while plans are seeded, it is the default that stands."""
    numbers = count()
    with ExitStack() as exits:

        def empty() -> Any:
            if kind == "memory":
                return MemoryStore()
            path = tmp_path / f"{next(numbers)}.db"
            path.write_bytes(sqlite_template.read_bytes())
            return exits.enter_context(closing(SqlStore.from_url(f"sqlite:///{path}")))

        stores: list[Any] = []

        def contest() -> Callable[[Any, int], object]:
            stores.append(empty())
            return partial(seed_or_save, stores[-1])

        for _, where in overtaken(empty(), contest):
            assert stores[-1].load_plans().catalog.default == MINE, where
    assert len(stores) > 1


MINE = Plan("mine", "Mine", is_default=True)


def seed_or_save(store: PlanStore, _: object, worker: int) -> object:
    """The first one seeds, the other one saves."""
    return store.put_plan(MINE, expected_version=0) if worker else seed_plans(store, SEED)
