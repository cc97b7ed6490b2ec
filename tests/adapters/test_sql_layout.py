"""Tables with a prefix in a schema of the host's choice: the stores answer the same, and nothing is made elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, NullPool, create_engine, inspect, text
from tests.adapters.conftest import DATABASES, Schemas, empty
from tests.conftest import examples, why_no_postgres

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlLayout, SqlStore
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, tables_of
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.billing import LIVE, made, mapping
from kuploy_saas_kit.testing.conformance.plans import CATALOG, assignment
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

ELSEWHERE = SqlLayout(prefix="kit_", schema="billing", plans_table="plans")
T = TypeVar("T", bound=type)
needs_postgres = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))


@pytest.fixture(scope="session")
def engine(schemas: Schemas, worker_id: str) -> Iterator[Engine]:
    """A host's database with a schema for the kit, which is not the one that its own tables are in."""
    server = create_engine(schemas.new(migrated=False), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"layout_{worker_id}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(server.url.set(database=name, query={"host": server.url.query["host"]}))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA billing"))
    with closing(SqlStore(engine, layout=ELSEWHERE)) as store:
        store.migrate()
        store.migrate()
    yield engine
    engine.dispose()


@pytest.fixture
def url(engine: Engine) -> str:
    """The address of the database, with the tables as `migrate` left them."""
    with closing(SqlStore(engine, layout=ELSEWHERE)) as store:
        empty(store)
    return engine.url.render_as_string(hide_password=False)


def by_name(tests: T) -> T:
    """The class without what depends on transactions and not on names: its races, and where it is interrupted."""
    for name in dir(tests):
        if name.startswith(("test_a_race", "test_killed", "test_failing", "test_dying")):
            setattr(tests, name, None)
    return tests


@pytest.fixture(params=DATABASES)
def database_maker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes databases of each kind without any table."""
    if request.param == "sqlite":
        numbers = count()
        return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
    schemas: Schemas = request.getfixturevalue("schemas")
    return lambda: schemas.new(migrated=False)


@needs_postgres
class LayoutTests:
    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[SqlStore]:
        with closing(SqlStore.from_url(url, layout=ELSEWHERE, clock=clock)) as store:
            yield store


@by_name
class TestPlans(LayoutTests, conformance.PlanStoreTests): ...


@by_name
class TestStandings(LayoutTests, conformance.StandingStoreTests): ...


@by_name
class TestFeed(LayoutTests, conformance.ChangeFeedTests): ...


@by_name
class TestUsage(LayoutTests, conformance.UsageStoreTests): ...


@by_name
class TestHoldings(LayoutTests, conformance.HoldingStoreTests): ...


@by_name
class TestLicense(LayoutTests, conformance.LicenseStoreTests): ...


@by_name
class TestAudit(LayoutTests, conformance.AuditStoreTests): ...


@by_name
class TestFingerprints(LayoutTests, conformance.FingerprintStoreTests): ...


@by_name
class TestProvisioning(LayoutTests, conformance.ProvisioningStoreTests): ...


@by_name
class TestSubscriptions(LayoutTests, conformance.SubscriptionStoreTests): ...


@by_name
class TestAsyncUsage(LayoutTests, conformance.UsageStoreTests):
    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[FromThreads]:
        with FromThreads(lambda: AsyncSqlStore.from_url(url, layout=ELSEWHERE, clock=clock)) as store:
            yield store


@needs_postgres
def test_nothing_is_made_elsewhere(engine: Engine) -> None:
    """All tables, the version table among them, and every function are in the schema, under their prefix."""
    tables = tables_of(ELSEWHERE)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names(schema="billing")
        assert set(names) == {table.name for table in tables.metadata.tables.values()}
        assert all(ELSEWHERE.owns(name) for name in names)
        assert connection.execute(tables.schema_version.select()).all() == [(SCHEMA_VERSION,)]
        assert inspect(connection).get_table_names() == []
        made = "SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        functions = connection.execute(text(f"{made} WHERE p.oid >= 16384")).all()
        assert all(schema == "billing" and name.startswith("kit_") for schema, name in functions)


@needs_postgres
def test_the_revisions_make_the_tables(engine: Engine) -> None:
    """Alembic finds no difference between them and what the stores go by."""

    def ours(_object: Any, name: str | None, kind: str, *_: object) -> bool:
        return kind != "table" or (name is not None and ELSEWHERE.owns(name))

    options = {"compare_type": True, "include_schemas": True, "include_object": ours, "version_table": "none"}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables_of(ELSEWHERE).metadata) == []


@needs_postgres
def test_inside_the_hosts_transaction(engine: Engine, url: str) -> None:
    """The store's tables and the host's own are changed together, whatever the host's search path is."""
    with closing(SqlStore.from_url(url, layout=ELSEWHERE)) as store:
        seed(store)
        store.use_space(LIVE)
        store.put_mapping(LIVE, mapping(), made())
        store.replace_plans(CATALOG, revision=1)
        with engine.connect() as connection:
            assert store.on(connection).take(claims()).outcome == "taken"
            assert store.on(connection).take(claims(), key="k").outcome == "taken"
            connection.rollback()
            assert used(store) == (0, 0)
            query = """SELECT "stripePriceId" FROM billing.plans WHERE "planId" = 'pro'"""
            assert connection.execute(text(query)).scalar_one() == "price_1"


def test_a_schema_that_is_not_there(empty_url: str) -> None:
    """Migrating says what to make; in SQLite there is none to make."""
    with closing(SqlStore.from_url(empty_url, layout=ELSEWHERE)) as store:
        says = "SQLite has no schemas" if store.is_embedded else "no schema 'billing'.*CREATE SCHEMA"
        with pytest.raises(ConfigurationError, match=says):
            store.migrate()
        assert inspect(store._engine).get_table_names() == []


def test_two_prefixes_in_one_database(empty_url: str) -> None:
    """Each store has tables of its own; SQLite's one schema may be named."""
    layouts = [SqlLayout(prefix=f"kit{number}_", plans_table=f"plans{number}") for number in range(2)]
    with closing(SqlStore.from_url(empty_url, layout=layouts[0])) as first:
        if first.is_embedded:
            layouts[1] = SqlLayout(prefix="kit1_", plans_table="plans1", schema="main")
        with closing(SqlStore.from_url(empty_url, layout=layouts[1])) as second:
            for store in (first, second):
                store.migrate()
                seed(store)
            first.take(claims())
            assert (used(first), used(second)) == ((1, 1), (0, 0))


@pytest.mark.parametrize(
    ("layout", "command"),
    [
        (SqlLayout(), "`kuploy-saas-kit store migrate`"),
        (SqlLayout(prefix="kit_", plans_table="my plans"), "migrate --prefix kit_ --plans-table 'my plans'`"),
        (SqlLayout(schema="main"), "migrate --schema main`"),
    ],
)
def test_how_to_make_tables_that_are_missing(empty_url: str, layout: SqlLayout, command: str) -> None:
    """Each way to the tables names the command that makes them where the store's layout says, and no others."""
    with closing(SqlStore.from_url(empty_url, layout=layout)) as store, store._engine.connect() as connection:
        seen = [complaint(store.load_plans), complaint(lambda: store.take(claims()))]
        seen.append(complaint(store.on(connection).load_plans))
    with FromThreads(lambda: AsyncSqlStore.from_url(empty_url, layout=layout)) as awaited:
        seen.append(complaint(awaited.load_plans))
    assert all(command in one for one in seen), seen


def complaint(verb: Callable[[], object]) -> str:
    """What the verb's error says."""
    with pytest.raises(StorageError) as raised:
        verb()
    return str(raised.value)


def test_what_the_kit_owns() -> None:
    """Its own tables by name, the version table among them; nothing that only begins as they do."""
    own = SqlLayout(prefix="kit_", plans_table="plans")
    assert all(own.owns(name) for name in ("plans", "kit_usage", "kit_schema_version", "kit_subscription"))
    assert not any(
        own.owns(name) for name in ("kit_mine", "kit_", "cloud_plans", "kuploy_saas_usage", "alembic_version")
    )


def test_no_table_without_a_prefix() -> None:
    """Without one the kit's tables would have names such as `usage` and `event`, which a host's own may have."""
    with pytest.raises(ConfigurationError, match="prefix"):
        SqlLayout(prefix="")


CANNOT_WORK = [
    *({"plans_table": ""}, {"schema": ""}),
    *({"plans_table": name} for name in ("kuploy_saas_usage", "Kuploy_Saas_Event", "kuploy_saas_schema_version")),
    {"plans_table": "ix_kuploy_saas_holding_expires_at"},
    *(
        {field: name}
        for field in ("prefix", "schema", "plans_table")
        for name in ("a%s_", "a?1_", ":x_", "a$$b_", "a\0")
    ),
    *({field: name} for field in ("prefix", "plans_table") for name in ("sqlite_", "SQLite_kit_", "\ud800", "a\n")),
    *({"prefix": "x" * 46}, {"prefix": "é" * 23}, {"plans_table": "x" * 46}, {"schema": "x" * 64}),
]


@pytest.mark.parametrize("names", CANNOT_WORK, ids=str)
def test_names_that_cannot_work(names: dict[str, str]) -> None:
    """They are refused when the layout is made, not by a database in the middle of a migration."""
    with pytest.raises(ConfigurationError, match="SqlLayout"):
        SqlLayout(**names)


CAN_WORK = ["My-App_", '"a b"_', "a'{x}.b\\_", "SELECT", "ünï_[`;--/*", "x" * 45, "é" * 14]


@pytest.mark.parametrize("name", CAN_WORK)
def test_odd_names(empty_url: str, name: str) -> None:
    """A layout that is not refused works with each way to the tables, however odd its names are."""
    every_way_works(empty_url, SqlLayout(prefix=name, plans_table=f"{name[:40]}plans"))


NAMES = st.text("""abzAZ09_ -.,;+*/\\'"`()[]{}<>=!&|^~#@%?:$éßİ€𝄞""", min_size=1, max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(24))
@given(prefix=NAMES, plans_table=NAMES)
def test_any_names(database_maker: Callable[[], str], prefix: str, plans_table: str) -> None:
    """Whatever the names are, the layout is refused, or all works."""
    try:
        layout = SqlLayout(prefix=prefix, plans_table=plans_table)
    except ConfigurationError:
        return
    every_way_works(database_maker(), layout)


def every_way_works(url: str, layout: SqlLayout) -> None:
    """Migrate, and do what is spelled by SQLAlchemy, by the kit, and inside a transaction of the host's."""
    with closing(SqlStore.from_url(url, layout=layout)) as store:
        store.migrate()
        store.migrate()
        store.require_tables()
        assert all(store.replace_plans(CATALOG, revision=revision).applied for revision in (1, 2))
        seed(store)
        store.take(claims())
        store.take(claims(), key="k")
        with store._engine.begin() as connection:
            store.on(connection).take(claims())
            store.on(connection).put_assignment(assignment("acme"))
        assert used(store) == (3, 3)
        assert len(store.trail_of("acme")) == 1
        assert len(store.load_plans().versions) == len(CATALOG)
