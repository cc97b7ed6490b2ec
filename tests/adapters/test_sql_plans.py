"""An unchanged catalog is known by its digest: nobody sees a difference but the clock."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.adapters.sql.rows import catalog_digest
from kuploy_saas_kit.errors import KitError
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.plans.ports import Everyone
from kuploy_saas_kit.testing.conformance.billing import LIVE, TEST_MODE, made, mapping
from kuploy_saas_kit.testing.conformance.plans import BUSINESS, CATALOG, FREE, PRO

Verb = Callable[[SqlStore], object]

CATALOGS = (
    CATALOG,
    PlanCatalog([FREE]),
    PlanCatalog([PRO, FREE]),
    PlanCatalog([FREE, PRO]),
    PlanCatalog([FREE, Plan("pro", "Pro", Price(9900, "cad"), {"aiAssistant"}, {"maxProjects": UNLIMITED})]),
)
PLANS = (PRO, BUSINESS, Plan("pro", "Pro Max", Price(1, "usd")), Plan("new", "New", is_default=True))


def replaced(number: int, revision: int) -> Verb:
    """Store one of the catalogs, made anew."""
    return lambda store: store.replace_plans(PlanCatalog(list(CATALOGS[number])), revision=revision, source="hub")


def edited(number: int, version: int) -> Verb:
    """Save a plan as an operator does."""
    return lambda store: store.put_plan(PLANS[number], expected_version=version)


VERBS = st.one_of(
    st.builds(replaced, st.integers(0, len(CATALOGS) - 1), st.integers(1, 3)),
    st.builds(edited, st.integers(0, len(PLANS) - 1), st.integers(0, 3)),
    st.sampled_from(
        [
            lambda store: store.use_space(LIVE),
            lambda store: store.use_space(TEST_MODE),
            lambda store: store.put_mapping(LIVE, mapping(), made()),
            lambda store: store.drop_mapping(LIVE, "pro", revision=3),
        ]
    ),
)


def answer(store: SqlStore, verb: Verb) -> object:
    """What the verb returns or raises."""
    try:
        return verb(store)
    except KitError as error:
        return type(error), str(error)


def seen(store: SqlStore) -> list[Any]:
    """All that anybody sees of the plans, and how often others are told to look."""
    with store._engine.connect() as connection:
        rows = connection.execute(text('SELECT * FROM cloud_plans ORDER BY "planId"')).all()
        told = connection.execute(text("SELECT seq FROM kuploy_saas_feed")).scalar_one()
    return [store.load_plans(), rows, told]


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[SqlStore, SqlStore]]:
    """Two stores; the second is made to forget its digest before each verb."""
    with (
        TemporaryDirectory() as folder,
        closing(SqlStore.from_url(f"sqlite:///{Path(folder) / 'one.db'}")) as one,
        closing(SqlStore.from_url(f"sqlite:///{Path(folder) / 'two.db'}")) as two,
    ):
        for store in (one, two):
            store.migrate()
        yield one, two


def forget(store: SqlStore, tables: tuple[str, ...] = ()) -> None:
    """What an operator does who has edited plans by hand; and empty these tables."""
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE kuploy_saas_catalog SET digest = NULL"))
        for table in tables:
            connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of this file


@given(st.lists(VERBS, max_size=12))
@settings(deadline=None, max_examples=15)
def test_no_difference(stores: tuple[SqlStore, SqlStore], verbs: list[Verb]) -> None:
    """After any verbs, a store that compares digests has answered and holds what one has that compares all plans."""
    quick, thorough = stores
    for store in stores:
        forget(store, ("cloud_plans", "kuploy_saas_plan_version", "kuploy_saas_mapping", "kuploy_saas_price"))
        with store._engine.begin() as connection:
            connection.execute(text("UPDATE kuploy_saas_catalog SET revision = NULL, source = '', account_id = NULL"))
            connection.execute(text("UPDATE kuploy_saas_feed SET seq = 0"))
            connection.execute(text("DELETE FROM kuploy_saas_change"))
    for verb in verbs:
        forget(thorough)
        assert answer(quick, verb) == answer(thorough, verb)
        assert seen(quick) == seen(thorough)


def test_an_unchanged_catalog_reads_no_plan(tmp_path: Path) -> None:
    """A second run compares one row and counts the others; after an edit, or once told to forget, it reads all."""
    with closing(SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}")) as store:
        store.migrate()
        said: list[str] = []
        event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2]))

        def reads_plans(revision: int) -> bool:
            said.clear()
            assert store.replace_plans(CATALOG, revision=revision).applied
            return any("cloud_plans.name" in statement for statement in said)

        assert [reads_plans(revision) for revision in (1, 1, 2)] == [True, False, False]
        assert store.load_plans().revision == 2
        store.put_plan(BUSINESS, expected_version=1)
        assert [reads_plans(3), reads_plans(3)] == [True, False]
        with store._engine.begin() as connection:
            connection.execute(text("UPDATE cloud_plans SET name = 'By hand' WHERE \"planId\" = 'pro'"))
        forget(store)
        assert store.replace_plans(CATALOG, revision=4).changed == ("pro",)


@pytest.mark.parametrize(
    "lost",
    [
        ["DELETE FROM cloud_plans"],
        ["DELETE FROM cloud_plans", "DELETE FROM kuploy_saas_plan_version"],
        ["DELETE FROM cloud_plans WHERE \"planId\" = 'pro'"],
        ["DELETE FROM cloud_plans WHERE \"planId\" = 'free'"],
        ['UPDATE cloud_plans SET "isDefault" = false'],
    ],
)
def test_what_others_lost_comes_back(url: str, lost: list[str]) -> None:
    """An unchanged catalog restores what somebody deleted by hand, with the ids at Stripe, and tells all.

    A plan that left the catalog and was deleted then is not missed: that the others are there is enough.
    """
    with closing(SqlStore.from_url(url)) as store:
        store.use_space(LIVE)
        store.replace_plans(PlanCatalog([*CATALOG, Plan("gone", "Gone")]), revision=1)
        store.replace_plans(CATALOG, revision=2)
        store.put_mapping(LIVE, mapping(), made())
        before, cursor = seen(store)[:2], store.changes(None).cursor
        with store._engine.begin() as connection:
            for statement in lost:
                connection.execute(text(statement))
        assert store.replace_plans(CATALOG, revision=2).changed
        after = seen(store)[:2]
        assert after[0].catalog is not None
        assert [plan for plan in after[0].catalog if plan.is_active] == list(CATALOG)
        assert [row for row in after[1] if row.planId != "gone"] == [row for row in before[1] if row.planId != "gone"]
        assert store.changes(cursor).org_ids is Everyone.ALL
        with store._engine.begin() as connection:
            connection.execute(text("DELETE FROM cloud_plans WHERE \"planId\" = 'gone'"))
        said: list[str] = []
        event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2]))
        assert store.replace_plans(CATALOG, revision=2).changed == ()
        assert not any("cloud_plans.name" in statement for statement in said)


@pytest.mark.parametrize(
    "other",
    [
        Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": 10}, description="x"),
        Plan("pro", "Pro", Price(2000, "cad", "annual"), {"aiAssistant"}, {"maxProjects": 10}),
        Plan("pro", "Pro", Price(2000, "usd", "monthly"), {"aiAssistant"}, {"maxProjects": 10}),
        Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": UNLIMITED}),
        Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"customDomains"}, {"maxProjects": 10}),
        Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": 10}, is_active=False),
        Plan("pro", "Pro", None, {"aiAssistant"}, {"maxProjects": 10}),
    ],
)
def test_a_digest_tells_plans_apart(other: Plan) -> None:
    """Whatever differs between two plans makes another digest; equal ones have the same in every process."""
    pro = Plan("pro", "Pro", Price(2000, "cad", "monthly"), ["aiAssistant"], {"maxProjects": 10, "maxApps": 0})
    assert catalog_digest(PlanCatalog([FREE, pro])) != catalog_digest(PlanCatalog([FREE, other]))
    assert catalog_digest(PlanCatalog([FREE, pro])) != catalog_digest(PlanCatalog([pro, FREE]))
    plain = PlanCatalog([Plan("free", "Free", features=["b", "a"], limits={"y": 1, "x": 2}, is_default=True)])
    assert catalog_digest(plain) == "27f2b3a0b4d2f7cc639c60521a7fda50241062d9bbbd37aa13d137e8ad02ea79"
