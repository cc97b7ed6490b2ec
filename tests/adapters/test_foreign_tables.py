"""Tables that are there before the kit: kuploy-cloud's `cloud_plans` is taken over, another program's is not."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test.utils import override_settings
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from tests.adapters.conftest import Schemas
from tests.adapters.django_host import database
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import DjangoStore, SqlLayout, SqlStore
from kuploy_saas_kit.adapters.sql import migrate_on
from kuploy_saas_kit.adapters.sql.layout import LIMIT_COLUMNS, tables_of
from kuploy_saas_kit.adapters.sql.migration import make_tables
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.plans import Plan, PlanCatalog
from kuploy_saas_kit.testing.conformance.plans import assignment
from kuploy_saas_kit.testing.conformance.usage import claims, seed

needs_postgres = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
LARGE = PlanCatalog([Plan("free", "Free", limits=dict.fromkeys(LIMIT_COLUMNS, 5 * 2**30), is_default=True)])
"""5 GiB of storage, and as much of all else: more than 32 bits hold."""

COLUMNS = """
    "planId" text PRIMARY KEY, name text NOT NULL, "stripeProductId" text, "stripePriceId" text, price integer,
    currency text, "billingCycle" text, features {json} NOT NULL DEFAULT '{{}}',
    "isDefault" boolean NOT NULL DEFAULT false, "isActive" boolean NOT NULL DEFAULT true, description text
"""


def make_plans_table(connection: Connection, *more: str, limits: str = "integer") -> None:
    """Make the plans' table as Kuploy's page of billing lists it, and perhaps with *more* columns."""
    columns = COLUMNS.format(json="jsonb" if connection.dialect.name == "postgresql" else "json")
    every = [columns, *(f'"{limit}" {limits} NOT NULL DEFAULT 7' for limit in LIMIT_COLUMNS), *more]
    connection.execute(text(f"CREATE TABLE cloud_plans ({', '.join(every)})"))


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """An engine of a host, over a database without tables of the kit's."""
    engine = create_engine(empty_url)
    yield engine
    engine.dispose()


@pytest.fixture
def server(schemas: Schemas) -> Iterator[Engine]:
    """One over PostgreSQL, which alone keeps numbers to the width of their column."""
    engine = create_engine(schemas.new(migrated=False))
    yield engine
    engine.dispose()


def kind_of(engine: Engine, column: str) -> str:
    """The type of a column of the plans'."""
    return next(str(one["type"]) for one in inspect(engine).get_columns("cloud_plans") if one["name"] == column)


@pytest.mark.parametrize("limits", ["integer", "smallint", "bigint"])
def test_limits_of_64_bits(engine: Engine, limits: str) -> None:
    """The plans that are there keep their limits, and those that come may have any that the kit knows."""
    with engine.begin() as connection:
        make_plans_table(connection, limits=limits)
        connection.execute(
            text("INSERT INTO cloud_plans (\"planId\", name, \"isDefault\") VALUES ('old', 'Old', true)")
        )
    store = SqlStore(engine)
    store.migrate()
    store.require_tables()
    held = store.load_plans().catalog
    assert held is not None
    assert [(plan.slug, plan.entitlements.limit("maxStorageBytes")) for plan in held] == [("old", 7)]
    assert store.replace_plans(LARGE, revision=1).applied
    stored = store.load_plans().catalog
    assert stored is not None
    assert stored.default.entitlements.limit("maxStorageBytes") == 5 * 2**30
    store.close()


@needs_postgres
def test_tables_of_an_earlier_version(server: Engine) -> None:
    """What an earlier version took over is found by whoever asks, and widened by the next migration."""
    store = SqlStore(server)
    with server.begin() as connection:
        make_plans_table(connection)
        make_tables(connection, tables_of(SqlLayout()), "0002")
    with pytest.raises(StorageError, match="store migrate"):
        store.require_tables()
    store.migrate()
    store.require_tables()
    assert store.replace_plans(LARGE, revision=1).applied
    store.close()


@needs_postgres
def test_only_the_limits_are_widened(server: Engine) -> None:
    """A number of the host's own, and one that is no integer, stay as they are."""
    with server.begin() as connection:
        make_plans_table(connection, "seats integer", limits="numeric")
        migrate_on(connection)
    assert (kind_of(server, "seats"), kind_of(server, "price")) == ("INTEGER", "INTEGER")
    assert kind_of(server, "maxApps") == "NUMERIC"


@needs_postgres
def test_a_view_over_narrow_limits(server: Engine) -> None:
    """PostgreSQL widens no column that a view shows: the host hears what to do, and nothing has happened."""
    with server.begin() as connection:
        make_plans_table(connection)
        connection.execute(text('CREATE VIEW shown AS SELECT "maxApps" FROM cloud_plans'))
    with pytest.raises(ConfigurationError, match="a view or rule of yours"), closing(SqlStore(server)) as store:
        store.migrate()
    assert (kind_of(server, "maxApps"), inspect(server).get_table_names()) == ("INTEGER", ["cloud_plans"])


@needs_postgres
def test_a_view_over_wide_limits(server: Engine) -> None:
    """Nothing is done to limits of 64 bits, so nothing is in the way."""
    with server.begin() as connection:
        make_plans_table(connection, limits="bigint")
        connection.execute(text('CREATE VIEW shown AS SELECT "maxApps" FROM cloud_plans'))
        migrate_on(connection)


def test_columns_that_the_kit_cannot_fill(engine: Engine) -> None:
    """A table into which no plan could be written is refused at once, and stays as it is."""
    with engine.begin() as connection:
        make_plans_table(connection, "note text", "owner text NOT NULL", "seats integer NOT NULL")
    store = SqlStore(engine)
    with pytest.raises(ConfigurationError, match=r"the table cloud_plans is there.* into owner, seats: "):
        store.migrate()
    assert inspect(engine).get_table_names() == ["cloud_plans"]
    store.close()


def test_columns_that_fill_themselves(engine: Engine) -> None:
    """What may be null, has a default, or is numbered or computed, keeps no plan out."""
    number = "bigint GENERATED BY DEFAULT AS IDENTITY" if engine.dialect.name == "postgresql" else "integer"
    with engine.begin() as connection:
        make_plans_table(
            connection,
            "note text",
            "owner text NOT NULL DEFAULT 'us'",
            "twice integer NOT NULL GENERATED ALWAYS AS (length(name) * 2) STORED",
            f"number {number}",
        )
        migrate_on(connection)
    store = SqlStore(engine)
    assert store.replace_plans(LARGE, revision=1).applied
    store.close()


def test_a_number_of_sqlites(tmp_path: Path) -> None:
    """In SQLite the integer that is the primary key, as an ORM makes it, is numbered, though it may not be null."""
    engine = create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    with engine.begin() as connection, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "COLUMNS", COLUMNS.replace("PRIMARY KEY", "NOT NULL UNIQUE"))
        make_plans_table(connection, "id integer NOT NULL PRIMARY KEY AUTOINCREMENT")
        migrate_on(connection)
    store = SqlStore(engine)
    assert store.replace_plans(LARGE, revision=1).applied
    store.close()
    engine.dispose()


OTHERS = {
    "a table of the same columns": "CREATE TABLE app_usage (scope text, limit_key text, used bigint)",
    "a table of others": "CREATE TABLE app_event (id integer PRIMARY KEY, title text)",
    "a view": "CREATE VIEW app_holding AS SELECT 1 AS one",
    "a name in other letters": "CREATE TABLE app_Identity (id integer)",
}


@pytest.mark.parametrize("made", OTHERS.values(), ids=OTHERS.keys())
def test_what_another_program_made(engine: Engine, made: str) -> None:
    """Whatever has a name of the kit's before its first migration is named, with what to do; nothing is made."""
    with engine.begin() as connection:
        connection.execute(text(made))
    before = inspect(engine).get_table_names()
    store = SqlStore(engine, layout=SqlLayout(prefix="app_"))
    with pytest.raises(ConfigurationError, match=r"(?i)^app_\w+: there already.*SqlLayout\(prefix"):
        store.migrate()
    with pytest.raises(ConfigurationError, match="there already"), engine.begin() as connection:
        migrate_on(connection, SqlLayout(prefix="app_"))
    assert inspect(engine).get_table_names() == before
    with closing(SqlStore(engine)) as elsewhere:
        elsewhere.migrate()
        elsewhere.require_tables()
    store.close()


VERSIONS = {
    "of another tool": ("version_num text", "'a1b2'"),
    "of numbers in another column": ("version integer", "3"),
}


@pytest.mark.parametrize(("column", "value"), VERSIONS.values(), ids=VERSIONS.keys())
def test_a_version_table_of_another_program(engine: Engine, column: str, value: str) -> None:
    """It is no newer version of the kit that left such a row."""
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE app_schema_version ({column})"))
        connection.execute(text(f"INSERT INTO app_schema_version VALUES ({value})"))  # noqa: S608 - from above
    store = SqlStore(engine, layout=SqlLayout(prefix="app_"))
    with pytest.raises(ConfigurationError, match=r"app_schema_version is there and holds no revision.*prefix"):
        store.migrate()
    assert inspect(engine).get_table_names() == ["app_schema_version"]
    store.close()


def test_what_another_program_made_before_django(empty_url: str, engine: Engine) -> None:
    """`manage.py migrate` says the same, and can be run again once the layout is another one."""
    with engine.begin() as connection:
        connection.execute(text(OTHERS["a table of others"]))
    with database(empty_url) as alias:
        elsewhere = override_settings(KUPLOY_SAAS_LAYOUT={"prefix": "app_"})
        with elsewhere, pytest.raises(ConfigurationError, match=r"^app_event: there already"):
            call_command("migrate", database=alias, verbosity=0)
        call_command("migrate", database=alias, verbosity=0)
        DjangoStore(alias).require_tables()


LOST = {
    "the row": "DELETE FROM kuploy_saas_schema_version",
    "the table": "DROP TABLE kuploy_saas_schema_version",
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_the_kits_own_tables_without_their_revision(engine: Engine, lost: str) -> None:
    """They are not told from another program's; the error has the statements that say they are the kit's own."""
    store = SqlStore(engine)
    store.migrate()
    seed(store)
    with engine.begin() as connection:
        connection.execute(text(lost))
    with pytest.raises(StorageError, match="store migrate"):
        store.require_tables()
    with pytest.raises(ConfigurationError, match=r"and 18 more: there already") as refused:
        store.migrate()
    with engine.begin() as connection:
        for statement in str(refused.value).rpartition("that it was: ")[2].split("; "):
            connection.execute(text(statement))
    store.migrate()
    store.require_tables()
    assert store.take(claims()).used == {("acme", "maxProjects"): 1, ("", "maxProjects"): 1}
    store.close()


@needs_postgres
@pytest.mark.parametrize("given", [0, 3])
def test_the_trail_goes_on_after_its_last_entry(server: Engine, given: int) -> None:
    """The entries of an earlier version keep their numbers, those after the migration get higher ones."""
    store = SqlStore(server)
    with server.begin() as connection:
        make_tables(connection, tables_of(SqlLayout()), "0002")
        entry = "(kind, org_id, plan, actor, reason, assigned_at) VALUES ('given', 'acme', '', '', '', now())"
        for _ in range(given):
            connection.execute(text(f"INSERT INTO kuploy_saas_assignment_trail {entry}"))
        restored = "INSERT INTO kuploy_saas_assignment_trail VALUES (:id, 'given', 'acme', '', '', '', now())"
        connection.execute(text(restored), {"id": 41})  # by somebody who did not ask for a number
    store.migrate()
    store.put_assignment(assignment("acme"))
    with server.connect() as connection:
        numbers = connection.execute(text("SELECT id FROM kuploy_saas_assignment_trail ORDER BY id")).scalars().all()
        sequences = connection.execute(text("SELECT count(*) FROM pg_sequences WHERE schemaname = current_schema()"))
        assert (numbers[-2:], len(numbers), sequences.scalar_one()) == ([41, 42], given + 2, 1)
    store.close()
