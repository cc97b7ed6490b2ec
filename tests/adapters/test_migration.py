"""The revisions of the tables: complete, repeatable, and only about the kit's own."""

import json
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import ClauseElement, Connection, Engine, create_engine, event, inspect, text
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import SqlLayout, SqlStore
from kuploy_saas_kit.adapters.sql import migrate_on
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, Tables, tables_of
from kuploy_saas_kit.adapters.sql.migration import make_tables
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.plans.ports import Everyone
from kuploy_saas_kit.testing.conformance.plans import CATALOG, assignment
from kuploy_saas_kit.testing.conformance.usage import claims, seed

LAYOUTS = [SqlLayout(), SqlLayout(prefix="kit_", plans_table="kit_plans")]


@pytest.fixture
def engine(empty_url: str) -> Engine:
    """An engine of a host, over a database without tables."""
    return create_engine(empty_url)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_revisions_make_the_tables(engine: Engine, layout: SqlLayout) -> None:
    """After the last revision the database has exactly the tables, columns and indexes that the stores go by."""
    with engine.begin() as connection:
        migrate_on(connection, layout)
        tables = Tables(layout)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": "none"})
        assert compare_metadata(context, tables.metadata) == []
        assert connection.execute(tables.schema_version.select()).all() == [(SCHEMA_VERSION,)]
    engine.dispose()


def test_in_a_migration_of_the_hosts(engine: Engine) -> None:
    """What a host's own revision runs is undone with it, and done with it."""
    with engine.connect() as connection:
        migrate_on(connection)
        connection.rollback()
        assert inspect(connection).get_table_names() == []
        migrate_on(connection)
        connection.commit()
    assert SqlStore(engine).load_plans().catalog is None
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://"])
def test_in_a_script_of_the_hosts(url: str) -> None:
    """`alembic upgrade --sql` has no database to look at: that is a clear error."""
    context = MigrationContext.configure(url=url, opts={"as_sql": True})
    with pytest.raises(ConfigurationError, match=r"is_offline_mode.*store migrate --prefix kit_"):
        migrate_on(Operations(context).get_bind(), LAYOUTS[1])


def test_an_engine_has_no_transaction(engine: Engine) -> None:
    """It is said what is to be given in its place."""
    with pytest.raises(ConfigurationError, match=r"op\.get_bind\(\), and no Engine"):
        migrate_on(engine)  # type: ignore[arg-type]


def test_the_hosts_version_table_is_the_hosts(engine: Engine) -> None:
    """A host that uses Alembic has its `alembic_version`; the kit neither reads nor writes it."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('host')"))
        migrate_on(connection)
        migrate_on(connection)
        assert connection.execute(text("SELECT * FROM alembic_version")).all() == [("host",)]
    engine.dispose()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_host_leaves_out_when_it_compares(engine: Engine, layout: SqlLayout) -> None:
    """With `owns` in its `include_name` the host's Alembic proposes to drop no table of the kit."""
    with engine.begin() as connection:
        migrate_on(connection, layout)
        connection.execute(text("CREATE TABLE projects (id INTEGER)"))
        connection.execute(text(f"CREATE TABLE {layout.prefix}mine (id INTEGER)"))
        names = inspect(connection).get_table_names()
    assert {name for name in names if not layout.owns(name)} == {"projects", f"{layout.prefix}mine"}
    engine.dispose()


def test_from_each_revision(engine: Engine) -> None:
    """Tables that an earlier version made are brought up to date with what is in them."""
    tables = Tables(SqlLayout())
    with engine.begin() as connection:
        make_tables(connection, tables, "0001")
        connection.execute(text("INSERT INTO kuploy_saas_usage VALUES ('acme', 'maxProjects', 3)"))
        connection.execute(text("INSERT INTO kuploy_saas_usage VALUES ('', 'maxProjects', 3)"))
    store = SqlStore(engine)
    with pytest.raises(StorageError, match="store migrate"):
        store.replace_plans(CATALOG, revision=1)
    store.migrate()
    assert store.take(claims()).used == {("acme", "maxProjects"): 4, ("", "maxProjects"): 4}
    assert store.replace_plans(CATALOG, revision=1).applied
    store.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_without_the_function(empty_url: str, layout: SqlLayout) -> None:
    """A dump of the tables lacks PostgreSQL's function: until `migrate` has run takes say so, then they are granted."""
    with closing(SqlStore.from_url(empty_url, layout=layout)) as store:
        store.migrate()
        seed(store)
        with store._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"DROP FUNCTION {layout.prefix}take"))
        if store._engine.dialect.name == "postgresql":
            with pytest.raises(StorageError, match="store migrate"):
                store.take(claims())
        store.migrate()
        assert store.take(claims()).used == {("acme", "maxProjects"): 1, ("", "maxProjects"): 1}


def test_the_function_without_tables(empty_url: str) -> None:
    """Whoever drops the tables by hand and forgets the function can make them again."""
    with closing(SqlStore.from_url(empty_url)) as store:
        store.migrate()
        with store._engine.begin() as connection:
            tables_of(SqlLayout()).metadata.drop_all(connection)
        store.migrate()
        seed(store)
        assert store.take(claims()).used == {("acme", "maxProjects"): 1, ("", "maxProjects"): 1}


def at_no_revision(_store: SqlStore) -> None:
    """Nobody has migrated yet."""


def at_revision(store: SqlStore, revision: str) -> None:
    """As the version of the kit left the tables whose last revision this was."""
    with store._engine.begin() as connection:
        make_tables(connection, store._tables, revision)


def at_the_first_revision(store: SqlStore) -> None:
    """An earlier version of the kit has migrated."""
    at_revision(store, "0001")


def at_the_second_revision(store: SqlStore) -> None:
    """Another one has."""
    at_revision(store, "0002")


def without_the_function(store: SqlStore) -> None:
    """Only the tables were restored."""
    store.migrate()
    with store._engine.begin() as connection:
        connection.execute(text("DROP FUNCTION kuploy_saas_take"))


@pytest.mark.parametrize("left", [at_no_revision, at_the_first_revision, at_the_second_revision, without_the_function])
def test_tables_that_are_not_as_they_should_be(empty_url: str, left: Callable[[SqlStore], None]) -> None:
    """The store says so when it is asked, with the command to run, until `migrate` has run."""
    with closing(SqlStore.from_url(empty_url)) as store:
        if store.is_embedded and left is without_the_function:
            pytest.skip("SQLite has no functions")
        left(store)
        with pytest.raises(StorageError, match="kuploy-saas-kit store migrate"):
            store.require_tables()
        store.migrate()
        store.require_tables()


def test_tables_of_a_newer_version(empty_url: str) -> None:
    """While a deploy goes through the machines, processes of the version before may start; they do not migrate."""
    with closing(SqlStore.from_url(empty_url)) as store:
        store.migrate()
        with store._engine.begin() as connection:
            connection.execute(text("UPDATE kuploy_saas_schema_version SET version_num = '9999'"))
        store.require_tables()
        with pytest.raises(ConfigurationError, match="newer version"):
            store.migrate()


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
@pytest.mark.parametrize("left", [at_no_revision, at_the_first_revision, without_the_function])
def test_a_kit_over_such_tables(schemas: Schemas, left: Callable[[SqlStore], None]) -> None:
    """It does not start, before anything else happens; a run of a scheduler's says so."""
    before = threading.enumerate()
    with closing(SqlStore.from_url(schemas.new(migrated=False))) as store:
        left(store)
        config = LicenseConfig(hub_url="http://127.0.0.1:9", trust="tls_only")
        kit = SaasKit(config, store)
        with pytest.raises(StorageError, match="kuploy-saas-kit store migrate"):
            kit.start()
        begun = [thread for thread in threading.enumerate() if thread not in before]
        assert not any(thread.name.startswith("kuploy-saas-kit") for thread in begun)
        assert any("kuploy-saas-kit store migrate" in problem for problem in kit.run_once().problems)
        kit.stop()


def described(engine: Engine) -> dict[str, str]:
    """All that the database tells of each table: columns with identity and default, keys, checks, indexes."""
    told = inspect(engine)
    ways = (told.get_columns, told.get_pk_constraint, told.get_check_constraints, told.get_indexes)
    return {name: spelled([way(name) for way in ways]) for name in told.get_table_names()}


def spelled(value: object) -> str:
    """One text for equal values: what SQLAlchemy makes of types and conditions is equal to nothing else."""
    return json.dumps(value, default=lambda one: str(one) if isinstance(one, ClauseElement) else repr(one), indent=1)


def test_the_revisions_make_what_the_metadata_says(engine: Engine) -> None:
    """What is not among the things that Alembic compares is the same too: identities, checks, defaults, keys."""
    tables = tables_of(SqlLayout())
    with engine.begin() as connection:
        migrate_on(connection)
    by_revisions = described(engine)
    tables.metadata.drop_all(engine)
    tables.metadata.create_all(engine)
    by_metadata = described(engine)
    engine.dispose()
    assert by_revisions == by_metadata


def without_a_table(connection: Connection) -> None:
    """Somebody dropped one."""
    connection.execute(text("DROP TABLE kuploy_saas_holding"))


def without_plans(connection: Connection) -> None:
    """Somebody dropped the one that does not begin as the others do."""
    connection.execute(text("DROP TABLE cloud_plans"))


def without_the_catalogs_row(connection: Connection) -> None:
    """Somebody emptied a table whose row is always there."""
    connection.execute(text("DELETE FROM kuploy_saas_catalog"))


def without_the_feeds_row(connection: Connection) -> None:
    """Somebody emptied the other one."""
    connection.execute(text("DELETE FROM kuploy_saas_feed"))


@pytest.mark.parametrize("lose", [without_a_table, without_plans, without_the_catalogs_row, without_the_feeds_row])
def test_what_was_lost_since(empty_url: str, lose: Callable[[Connection], None]) -> None:
    """The store says that something is missing, `migrate` makes it again, and every other row stays."""
    with closing(SqlStore.from_url(empty_url)) as store:
        store.migrate()
        seed(store)
        store.replace_plans(CATALOG, revision=1)
        cursor = store.changes(None).cursor
        with store._engine.begin() as connection:
            lose(connection)
        with pytest.raises(StorageError, match="kuploy-saas-kit store migrate"):
            store.require_tables()
        store.migrate()
        store.require_tables()
        assert store.take(claims(), key="k").used == {("acme", "maxProjects"): 1, ("", "maxProjects"): 1}
        store.replace_plans(CATALOG, revision=2)
        assert {plan.slug for plan in store.load_plans().catalog or ()} == {plan.slug for plan in CATALOG}
        store.put_assignment(assignment("acme"))
        seen = store.changes(cursor).org_ids
        assert seen is Everyone.ALL or "acme" in seen


def test_a_table_lost_before_an_upgrade(empty_url: str) -> None:
    """The revisions that come do not stumble over it; then it is made as the last one has it."""
    with closing(SqlStore.from_url(empty_url)) as store:
        at_revision(store, "0002")
        with store._engine.begin() as connection:
            connection.execute(text("DROP TABLE kuploy_saas_assignment_trail"))
            connection.execute(text("DROP TABLE cloud_plans"))
        store.migrate()
        store.put_assignment(assignment("acme"))
        assert len(store.trail_of("acme")) == 1


def test_looking_takes_few_statements(url: str) -> None:
    """A host asks at each run whether all is there: that is one statement, and one for PostgreSQL's function."""
    with closing(SqlStore.from_url(url)) as store:
        sent: list[str] = []
        event.listen(store._engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
        store.require_tables()
        assert len([statement for statement in sent if statement != "BEGIN"]) <= 2, sent
