"""What is particular to the SQL stores: their tables, and what databases do to those who use them."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.exc import IntegrityError
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit import adapters
from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import AsyncSqlStore, SqlLayout, SqlStore
from kuploy_saas_kit.errors import ConfigurationError, StorageError, StoredPlansError
from kuploy_saas_kit.model.limits import UNLIMITED, LimitValue
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, race
from kuploy_saas_kit.testing.conformance.billing import LIVE, TEST_MODE, made, mapping
from kuploy_saas_kit.testing.conformance.license import RECORD
from kuploy_saas_kit.testing.conformance.plans import CATALOG, FREE
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import INSTANCE_COUNTER, ORG_COUNTER, claims, seed
from kuploy_saas_kit.testing.servers import PostgresServer

SEED_COLUMNS = [
    "planId",
    "name",
    "stripeProductId",
    "stripePriceId",
    "price",
    "currency",
    "billingCycle",
    "maxProjects",
    "maxApps",
    "maxDatabases",
    "maxTeamMembers",
    "maxDomains",
    "maxCustomDomains",
    "maxFreeSubdomains",
    "maxPurchasableDomains",
    "maxInstances",
    "maxStorageBytes",
    "buildMinutesPerMonth",
    "features",
    "isDefault",
    "isActive",
    "description",
]
"""The columns of `cloud_plans` in the order of the page "Setting Up Billing for Your Users"."""


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store on a database with empty tables."""
    store = SqlStore.from_url(url)
    yield store
    store.close()


def called(url: str) -> Any:
    """The store."""
    return closing(SqlStore.from_url(url))


def awaited(url: str) -> FromThreads:
    """The awaited store behind a sync face."""
    return FromThreads(lambda: AsyncSqlStore.from_url(url))


def rows(store: SqlStore, query: str) -> list[tuple[object, ...]]:
    """What an operator sees who looks at the database by hand."""
    with store._engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_the_plans_table_is_the_documented_one(store: SqlStore) -> None:
    """Its columns have the documented names in the documented order, and one more holds other limits."""
    columns = inspect(store._engine).get_columns("cloud_plans")
    assert [column["name"] for column in columns] == [*SEED_COLUMNS, "limits"]


def test_a_plan_as_a_row(store: SqlStore) -> None:
    """−1 is unlimited, 0 not available; storage needs more than 32 bits; limits without a column are in `limits`."""
    limits: dict[str, LimitValue] = {"maxProjects": UNLIMITED, "maxStorageBytes": 250_000_000_000, "maxMailboxes": 3}
    pro = Plan("pro", "Pro", Price(2000, "cad"), {"aiAssistant"}, limits)
    store.replace_plans(PlanCatalog([FREE, pro]), revision=1)
    query = """SELECT "maxProjects", "maxApps", "maxStorageBytes", price, "isDefault" FROM cloud_plans ORDER BY name"""
    assert rows(store, query) == [(1, 0, 0, None, True), (-1, 0, 250_000_000_000, 2000, False)]
    features, other = rows(store, """SELECT features, limits FROM cloud_plans WHERE "planId" = 'pro'""")[0]
    assert [_json(features), _json(other)] == [{"aiAssistant": True}, {"maxMailboxes": 3}]


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def test_a_row_of_the_hosts_own_seed(store: SqlStore) -> None:
    """A bootstrap row that another tool wrote is a plan: what it leaves out is 0, off or empty."""
    with store._engine.begin() as connection:
        columns = ", ".join(f'"{name}"' for name in (*SEED_COLUMNS[7:18], "planId", "name", "features"))
        connection.execute(
            text(
                f"""INSERT INTO cloud_plans ({columns}, "isDefault", "isActive")
                VALUES ({", ".join("2" for _ in SEED_COLUMNS[7:18])}, 'boot', 'Boot',
                '{{"customDomains": true, "whiteLabel": false}}', true, true)"""  # noqa: S608 - names of this file
            )
        )
    stored = store.load_plans()
    assert stored.catalog is not None
    assert stored.catalog.default.features == frozenset({"customDomains"})
    assert stored.catalog.default.limits["maxProjects"] == 2
    assert stored.versions == {"boot": 1}
    assert store.replace_plans(CATALOG, revision=1).deactivated == ("boot",)


def test_a_row_that_cannot_be_read(store: SqlStore) -> None:
    """The error names the plan and what is wrong with it."""
    store.replace_plans(CATALOG, revision=1)
    with store._engine.begin() as connection:
        connection.execute(text("""UPDATE cloud_plans SET currency = 'xyz' WHERE "planId" = 'pro'"""))
    with pytest.raises(StorageError, match=r"'pro'.*xyz"):
        store.load_plans()


@pytest.mark.parametrize(
    "change",
    ["""SET "isDefault" = true WHERE "planId" = 'pro'""", """SET "isActive" = false WHERE "planId" = 'free'"""],
)
def test_the_database_keeps_one_active_default(store: SqlStore, change: str) -> None:
    """Not even by hand can there be two defaults, or one that is inactive."""
    store.replace_plans(CATALOG, revision=1)
    with pytest.raises(Exception, match=r"(?i)unique|check"), store._engine.begin() as connection:
        connection.execute(text(f"UPDATE cloud_plans {change}"))


def test_the_database_allows_no_default(store: SqlStore) -> None:
    """That there is one the kit keeps: reading is an error until a default is saved, or the catalog applied."""
    store.replace_plans(CATALOG, revision=1)
    for mend in (
        lambda version: store.put_plan(CATALOG.default, expected_version=version).saved,
        lambda _: store.replace_plans(CATALOG, revision=1).applied,
    ):
        with store._engine.begin() as connection:
            connection.execute(text('UPDATE cloud_plans SET "isDefault" = false'))
        with pytest.raises(StoredPlansError, match="exactly one plan must be the default") as raised:
            store.load_plans()
        assert mend(raised.value.stored.versions["free"])
        assert store.load_plans().catalog == CATALOG


def test_stripe_columns_show_the_current_space(store: SqlStore) -> None:
    """They are those of the account and mode that is in use, and change with it in one step."""
    query = """SELECT "stripeProductId", "stripePriceId" FROM cloud_plans WHERE "planId" = 'pro'"""
    store.use_space(TEST_MODE)
    store.put_mapping(TEST_MODE, mapping(), made())
    store.replace_plans(CATALOG, revision=1)
    assert rows(store, query) == [("prod_pro", "price_1")]
    store.use_space(LIVE)
    assert rows(store, query) == [(None, None)]
    store.put_mapping(LIVE, mapping(price_id="price_9"), made(price_id="price_9"))
    assert rows(store, query) == [("prod_pro", "price_9")]
    store.put_mapping(TEST_MODE, mapping(price_id="price_2"), made(price_id="price_2"))
    assert rows(store, query) == [("prod_pro", "price_9")]
    store.use_space(TEST_MODE)
    assert rows(store, query) == [("prod_pro", "price_2")]
    store.drop_mapping(TEST_MODE, "pro", revision=3)
    assert rows(store, query) == [(None, None)]


def test_migrating_again(empty_url: str) -> None:
    """It may run at each start, and by several at once; nothing that is stored is touched."""
    stores = [SqlStore.from_url(empty_url) for _ in range(4)]
    race(lambda worker: stores[worker].migrate(), workers=4)
    first = stores[0]
    seed(first, org_value=3)
    cursor = first.changes(None).cursor
    first.migrate()
    assert first.usage_of("acme") == {"maxProjects": 3}
    assert first.changes(cursor).org_ids == frozenset()
    for store in stores:
        store.close()


def test_a_plans_table_that_is_there_already(empty_url: str) -> None:
    """The product's own table is taken over with its rows, and gets the one column that it lacks."""
    store = SqlStore.from_url(empty_url)
    kinds = {"isDefault": "boolean", "isActive": "boolean", "features": "json", "price": "integer"}
    names = ", ".join(
        f'"{name}" {kinds.get(name, "bigint" if "max" in name or "Per" in name else "text")}' for name in SEED_COLUMNS
    )
    with store._engine.begin() as connection:
        connection.execute(text(f'CREATE TABLE cloud_plans ({names}, PRIMARY KEY ("planId"))'))
        connection.execute(text("CREATE TABLE core (name TEXT)"))
    store.migrate()
    store.replace_plans(CATALOG, revision=1)
    assert store.load_plans().catalog == CATALOG
    assert "core" in inspect(store._engine).get_table_names()
    with store._engine.begin() as connection:  # what the documentation gives a host whose table lacks it
        connection.execute(text('CREATE UNIQUE INDEX one_default ON cloud_plans ("isDefault") WHERE "isDefault"'))
    with pytest.raises(IntegrityError), store._engine.begin() as connection:
        connection.execute(text("""UPDATE cloud_plans SET "isDefault" = true WHERE "planId" = 'pro'"""))
    store.close()


def test_a_plans_table_of_another_program(empty_url: str) -> None:
    """A table of that name with other columns is left alone, and the error says how to go on."""
    store = SqlStore.from_url(empty_url)
    with store._engine.begin() as connection:
        connection.execute(text("CREATE TABLE cloud_plans (id INTEGER)"))
    with pytest.raises(ConfigurationError, match="plans_table"):
        store.migrate()
    elsewhere = SqlStore(store._engine, layout=SqlLayout(prefix="kit_", plans_table="kit_plans"))
    elsewhere.migrate()
    elsewhere.replace_plans(CATALOG, revision=1)
    names = set(inspect(store._engine).get_table_names())
    assert names > {"kit_plans", "kit_usage"}
    assert not any(name.startswith("kuploy_saas_") for name in names)
    store.close()


def test_tables_of_a_newer_version(store: SqlStore) -> None:
    """An older kit does not touch what a newer one made."""
    with store._engine.begin() as connection:
        connection.execute(text("INSERT INTO kuploy_saas_schema_version VALUES ('9999')"))
    with pytest.raises(ConfigurationError, match="upgrade"):
        store.migrate()
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM kuploy_saas_schema_version WHERE version_num = '9999'"))


def test_without_tables(empty_url: str) -> None:
    """The error of a store that nobody migrated says what to call."""
    store = SqlStore.from_url(empty_url)
    with pytest.raises(StorageError, match=r"store\.migrate\(\)"):
        store.standing("acme")
    store.close()


def test_a_locked_file(tmp_path: Path) -> None:
    """A file that another program keeps locked is a `StorageError` that says what to do, and nothing is lost."""
    path = tmp_path / "kit.db"
    store = SqlStore.from_url(f"sqlite:///{path}?timeout=0.01")
    store.migrate()
    seed(store)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked by another process") as caught:
        store.take(claims())
    assert caught.value.__cause__ is not None
    assert store.usage_of("acme") == {"maxProjects": 0}  # reading goes on
    blocker.execute("ROLLBACK")
    blocker.close()
    store.take(claims())
    assert store.usage_of("acme") == {"maxProjects": 1}
    store.close()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are other ones there")
@pytest.mark.parametrize("opened", [called, awaited])
def test_who_may_read_a_file(tmp_path: Path, opened: Callable[[str], Any]) -> None:
    """A new one and those beside it are for their owner, as a license key is in them; a mode of the host's stays."""
    new, hosts = tmp_path / "new.db", tmp_path / "hosts.db"
    hosts.touch()
    hosts.chmod(0o640)
    for file, mode in ((new, 0o600), (hosts, 0o640)):
        with opened(f"sqlite:///{file}") as store:
            store.migrate()
            modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.glob(f"{file.name}*")}
        assert modes == dict.fromkeys([file.name, f"{file.name}-shm", f"{file.name}-wal"], mode)


def test_no_value_is_shown(store: SqlStore) -> None:
    """The values of a statement that failed are in no text."""
    with store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE kuploy_saas_license RENAME TO elsewhere"))
    try:
        with pytest.raises(StorageError) as caught:
            store.save_license(RECORD)
        assert "eyJ" not in f"{caught.value!s}{caught.value.__cause__!s}{caught.value.__cause__!r}"
    finally:
        with store._engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO kuploy_saas_license"))


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:hunter2@db/kit", "the database kit at db"),
        ("postgresql://me@db/kit?password=hunter2&sslpassword=hunter2", "the database kit at db"),
        ("postgresql://me:hunter2@/kit?host=/run/a&host=b", "the database kit at /run/a, b"),
        ("postgresql://me:hunter2@/kit", "the database kit at localhost"),
    ],
)
def test_no_password_is_shown(kind: type[SqlStore | AsyncSqlStore], url: str, name: str) -> None:
    """A store shows which database it is over, and nothing else of the URL, wherever in it the password is."""
    assert repr(kind.from_url(url)) == f"{kind.__name__}({name})"


@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
@pytest.mark.parametrize(
    "password", ["pa@ss:hunter2/rd", "pa@hunter2", "pa@hunter2/rd", "pa@ss/hunter2", "pa@[::hunter2"]
)
def test_a_password_that_is_taken_for_something_else(kind: type[SqlStore | AsyncSqlStore], password: str) -> None:
    """One with special characters is refused, and none of its parts is shown as what it was taken for."""
    with pytest.raises(ConfigurationError, match="`%40`") as caught:
        kind.from_url(f"postgresql://me:{password}@db/kit")
    assert "hunter2" not in "".join(format_exception(caught.value, chain=True)).replace(password, "")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("kit.db", "sqlite:///kit.db"),
        ("mysql://localhost/kit", "no SQL store for 'mysql'"),
        ("sqlite://", "MemoryStore"),
        ("sqlite:///:memory:", "MemoryStore"),
        ("sqlite://folder/kit.db", "sqlite:///kit.db"),
    ],
)
def test_urls_that_are_no_store(wrong: str, says: str) -> None:
    """The error says which URLs are."""
    with pytest.raises(ConfigurationError, match=says):
        SqlStore.from_url(wrong)


@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
def test_a_url_that_is_not_set(kind: type[SqlStore | AsyncSqlStore]) -> None:
    """What an environment without the variable gives is named as what it is."""
    unset: Any = os.environ.get("KUPLOY_NOT_SET")
    with pytest.raises(ConfigurationError, match="a database URL is text, and not NoneType: is the variable set"):
        kind.from_url(unset)


@pytest.mark.parametrize("package", ["sqlalchemy", "greenlet"])
def test_a_missing_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SQLAlchemy, or what its asyncio needs, the error names the extra to install."""
    for name in [name for name in sys.modules if name.startswith(("sqlalchemy", "kuploy_saas_kit.adapters.sql"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=r"kuploy-saas-kit\[sql\]"):
        _ = adapters.SqlStore


def test_migrating_without_alembic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tables have to be made the error names the extra that brings Alembic."""
    monkeypatch.setitem(sys.modules, "alembic.operations", None)
    with (
        closing(SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}")) as store,
        pytest.raises(ConfigurationError, match=r"kuploy-saas-kit\[sql\]"),
    ):
        store.migrate()


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL URL without psycopg names the extra to install."""
    for name in [name for name in sys.modules if name.startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"kuploy-saas-kit\[postgres\]"):
        SqlStore.from_url("postgresql://localhost/kit")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_shares_no_connection(store: SqlStore) -> None:
    """A child goes on with connections of its own, and the parent's stay whole."""
    seed(store)
    store.take(claims())
    child = os.fork()
    if child == 0:  # pragma: no cover - it ends here, and coverage with it
        answer = store.take(claims()).outcome
        os._exit(0 if answer == "taken" else 1)
    assert os.waitpid(child, 0)[1] == 0
    store.take(claims())
    assert store.usage_of("acme") == {"maxProjects": 3}


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
def test_a_server_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away every verb is a `StorageError`; when it is back all that was committed is there."""
    with PostgresServer() as server:
        store = SqlStore.from_url(server.url)
        store.migrate()
        seed(store)
        store.take(claims())
        server.kill()
        for _ in range(2):
            with pytest.raises(StorageError):
                store.take(claims())
        server.start()
        assert store.take(claims()).outcome == "taken"
        monkeypatch.setattr("kuploy_saas_kit.adapters.sql.connection.PING_AFTER", timedelta())
        server.kill()
        server.start()
        store.give_back({("acme", "maxProjects"): 0})  # after an idle time no verb is lost to a dead connection
        assert store.usage_of("acme") == {"maxProjects": 2}
        store.close()


def test_the_feed_forgets_what_is_old(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is pruned, and a reader that stayed away too long looks at everyone."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.feed._KEPT_CHANGES", 4)
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.feed._PRUNE_EVERY", 1)
    start = store.changes(None).cursor
    with store._writing() as connection:
        for number in range(6):
            store._changed(connection, [f"org{number}"])
    assert not isinstance(store.changes(start).org_ids, frozenset)
    epoch, _, end = store.changes(start).cursor.partition(".")
    assert store.changes(f"{epoch}.{int(end) - 4}").org_ids == frozenset(f"org{number}" for number in range(2, 6))


def test_an_engine_of_the_hosts(url: str) -> None:
    """A host that has an engine already hands it over; URLs of the old spelling are understood."""
    engine = create_engine(url)
    assert SqlStore(engine).load_plans().catalog is None
    engine.dispose()
    assert SqlStore.from_url("postgres://localhost/kit" if "postgres" in url else url) is not None


def test_the_servers_clock(store: SqlStore) -> None:
    """Without a clock of its own the store goes by the database server's, for leases and for expiry."""
    until = store.take_lease("sync", "a", MINUTE).until
    assert abs(until - MINUTE - SystemClock().now()) < MINUTE
    seed(store)
    store.take(claims(), key="k", ttl=MINUTE)
    assert store.settle_holding("acme", "k").state == "held"


def test_a_file_that_is_being_switched_can_be_opened(tmp_path: Path) -> None:
    """Of several that open a new file at once one switches it to write-ahead logging; the others are not locked out."""
    path = tmp_path / "kit.db"
    switching = sqlite3.connect(path, isolation_level=None)
    switching.execute("BEGIN EXCLUSIVE")
    store = SqlStore.from_url(f"sqlite:///{path}?timeout=0.05")
    store._engine.connect().close()
    switching.execute("ROLLBACK")
    switching.close()
    store.migrate()
    assert store.load_plans().catalog is None
    store.close()


@pytest.mark.skipif(bool(why_no_postgres()), reason=str(why_no_postgres()))
def test_locks_in_the_same_order_under_any_collation(schemas: Schemas) -> None:
    """What locks several rows sorts them as Python does, as takes are: a database's collation may sort otherwise."""
    clock, said = ManualClock(), list[str]()
    store = SqlStore.from_url(schemas.new(migrated=True), clock=clock)
    seed(store)
    store.take(claims(), key="late", ttl=MINUTE)
    clock.advance(2 * MINUTE)
    event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    store.take(claims(cap=1), key="new")
    store.release_holding("acme", "new")
    store.put_usage("acme", "maxProjects", 3)
    store.give_back({ORG_COUNTER: 1, INSTANCE_COUNTER: 1})
    store.sweep_holdings()
    store.close()
    locking = [statement for statement in said if "FOR UPDATE" in statement and "FROM kuploy_saas_usage" in statement]
    assert len(locking) > 4
    assert all(statement.partition("ORDER BY")[2].count('COLLATE "C"') == 2 for statement in locking)
