"""Making the kit's tables, by Alembic. It may run twice, and touches none that is not the kit's."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import uuid4

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.schema import CreateTable

from kuploy_saas_kit.adapters.sql.connection import upsert
from kuploy_saas_kit.adapters.sql.failures import OutdatedTables
from kuploy_saas_kit.adapters.sql.function import has_function, make_function
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, SqlLayout, Tables, tables_of
from kuploy_saas_kit.errors import ConfigurationError

# Any number will do, as long as every runner of every version takes the same one.
_LOCK: Final = 5_839_204_417
_FUNCTION_SINCE: Final = "0002"
_REVISIONS: Final = Path(__file__).parent / "migrations"


def migrate_on(connection: Connection, layout: SqlLayout | None = None) -> None:
    """Bring the kit's tables up to date in the caller's transaction, such as in a revision of the host's own Alembic.

    Which revision they are at is kept in the kit's own version table. No other table is read or written.
    """
    tables = tables_of(layout or SqlLayout())
    if not isinstance(connection, Connection):
        raise ConfigurationError(
            "migrate_on looks at what is there, and `alembic upgrade --sql` has no database to look at: call it unless "
            f"context.is_offline_mode(), and beside the script {tables.how_to_migrate}"
        )
    make_tables(connection, tables)


def make_tables(connection: Connection, tables: Tables, revision: str = SCHEMA_VERSION) -> None:
    """Make what is missing up to *revision*, in the caller's transaction; one runner at a time.

    PostgreSQL's function is looked for each time: whoever restores the tables alone has lost it.
    """
    _require_schema(connection, tables.metadata.schema)
    _take_turns(connection, tables)
    versions = _versions(connection, tables)
    if any(version > SCHEMA_VERSION for version in versions):
        raise ConfigurationError("the tables were made by a newer version of kuploy-saas-kit: upgrade this one")
    if all(version < revision for version in versions):
        _upgrade(connection, tables, revision)
        _make_first_rows(connection, tables)
    if max([*versions, revision]) >= _FUNCTION_SINCE and not has_function(connection, tables.layout):
        make_function(connection, tables.layout)


def require_tables(connection: Connection, tables: Tables) -> None:
    """`OutdatedTables` unless all is there that this version goes by.

    What a newer version made will do: its tables have all that the tables of this one have.
    """
    versions = connection.execute(select(tables.schema_version.c.version_num)).scalars().all()
    if all(version < SCHEMA_VERSION for version in versions) or not has_function(connection, tables.layout):
        raise OutdatedTables


def _make_first_rows(connection: Connection, tables: Tables) -> None:
    for table, row in (
        (tables.catalog, {"id": 1}),
        (tables.feed, {"id": 1, "epoch": uuid4().hex, "seq": 0}),
    ):
        connection.execute(upsert(connection, table).values(row).on_conflict_do_nothing())


def _require_schema(connection: Connection, name: str | None) -> None:
    """A schema is the host's: it has an owner and grants."""
    if name is None or name in inspect(connection).get_schema_names():
        return
    if connection.dialect.name == "sqlite":
        raise ConfigurationError("SQLite has no schemas: leave `schema` out of SqlLayout, a prefix tells tables apart")
    raise ConfigurationError(f"there is no schema {name!r} in this database: make it (CREATE SCHEMA), then migrate")


def _take_turns(connection: Connection, tables: Tables) -> None:
    if connection.dialect.name == "postgresql":
        # Ends with the transaction, so that it works behind a connection pooler too.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    else:
        # Takes the write lock before anything is read, also in a transaction that the host began as a reading one.
        connection.execute(CreateTable(tables.schema_version, if_not_exists=True))


def _versions(connection: Connection, tables: Tables) -> list[str]:
    table = tables.schema_version
    if not inspect(connection).has_table(table.name, schema=table.schema):
        return []
    return list(connection.execute(select(table.c.version_num)).scalars())


def _upgrade(connection: Connection, tables: Tables, target: str) -> None:
    # Slow to load, and needed once. The revisions get their operations as an argument: Alembic's usual `op` is one
    # for the whole process, and several stores may be migrated at the same time.
    from alembic.operations import Operations  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    script = ScriptDirectory(str(_REVISIONS))
    table = tables.schema_version
    context = MigrationContext.configure(
        connection,
        opts={
            "script": script,
            "fn": lambda revision, _: script._upgrade_revs(target, revision),  # noqa: SLF001 - as Alembic's own command
            "version_table": table.name,
            "version_table_schema": table.schema,
        },
    )
    context.run_migrations(op=Operations(context), layout=tables.layout)
