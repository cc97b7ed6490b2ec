"""Making the kit's tables, by Alembic. It may run twice, and touches none that is not the kit's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Integer,
    Table,
    collate,
    column,
    exists,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy import table as from_clause
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.schema import CreateTable

from kuploy_saas_kit.adapters.sql.failures import OutdatedTables
from kuploy_saas_kit.adapters.sql.function import has_function, make_function
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, SqlLayout, Tables, tables_of
from kuploy_saas_kit.errors import ConfigurationError

# Any number will do, as long as every runner of every version takes the same one.
_LOCK: Final = 5_839_204_417
_NAMED: Final = 3
_REVISIONS: Final = Path(__file__).parent / "migrations"


def migrate_on(connection: Connection, layout: SqlLayout | None = None) -> None:
    """Bring the kit's tables up to date in the caller's transaction, such as in a revision of the host's own Alembic.

    Which revision they are at is kept in the kit's own version table. No other table is read or written.
    """
    tables = tables_of(layout or SqlLayout())
    if isinstance(connection, Engine):
        raise ConfigurationError("migrate_on takes the connection of your transaction, as op.get_bind(), and no Engine")
    if not isinstance(connection, Connection):
        raise ConfigurationError(
            "migrate_on looks at what is there, and `alembic upgrade --sql` has no database to look at: call it unless "
            f"context.is_offline_mode(), and beside the script {tables.how_to_migrate}"
        )
    make_tables(connection, tables)


def make_tables(connection: Connection, tables: Tables, revision: str = SCHEMA_VERSION) -> None:
    """Make what is missing up to *revision*, in the caller's transaction; one runner at a time.

    At the last one that is also what was lost since: a table, a row that is always there, or PostgreSQL's function,
    which whoever restores the tables alone does not have.
    """
    _require_schema(connection, tables.metadata.schema)
    _take_turns(connection, tables)
    versions = _versions(connection, tables)
    if any(version > SCHEMA_VERSION for version in versions):
        raise ConfigurationError("the tables were made by a newer version of kuploy-saas-kit: upgrade this one")
    if not versions:
        _refuse_others_tables(connection, tables)
    if all(version < revision for version in versions):
        _upgrade(connection, tables, revision)
    if SCHEMA_VERSION in {*versions, revision}:
        _make_what_is_lost(connection, tables)


def require_tables(connection: Connection, tables: Tables) -> None:
    """`OutdatedTables` unless all is there that this version goes by.

    What a newer version made will do: its tables have all that the tables of this one have.
    """
    dialect, version = connection.dialect, tables.schema_version.c.version_num
    first_rows = (exists(select(table)) for table in (tables.catalog, tables.feed))
    present = (_is_there(dialect, table) for table in tables.metadata.tables.values())
    versions = connection.execute(select(version).where(*first_rows, *present)).scalars().all()
    if all(version < SCHEMA_VERSION for version in versions) or not has_function(connection, tables.layout):
        raise OutdatedTables


def _is_there(dialect: Dialect, table: Table) -> ColumnElement[bool]:
    """Whether something has the name of *table*: a table, or what else has names with tables, such as a view."""
    if dialect.name == "postgresql":
        return func.to_regclass(dialect.identifier_preparer.format_table(table)).is_not(None)
    named = from_clause("sqlite_master", column("name"), schema=table.schema)
    return exists(select(named).where(collate(named.c.name, "NOCASE") == table.name))


def _missing_tables(connection: Connection, tables: Tables) -> list[Table]:
    every = tables.metadata.tables.values()
    present = connection.execute(select(*(_is_there(connection.dialect, table) for table in every))).one()
    return [table for table, is_there in zip(every, present, strict=True) if not is_there]


def _make_what_is_lost(connection: Connection, tables: Tables) -> None:
    tables.metadata.create_all(connection, tables=_missing_tables(connection, tables), checkfirst=False)
    last_change = select(func.coalesce(func.max(tables.change.c.seq), 0)).scalar_subquery()
    for table, row in (
        (tables.catalog, {"id": 1}),
        (tables.feed, {"id": 1, "epoch": uuid4().hex, "seq": last_change}),
    ):
        if connection.execute(select(table)).first() is None:
            connection.execute(insert(table).values(row))
    if not has_function(connection, tables.layout):
        make_function(connection, tables.layout)


def _refuse_others_tables(connection: Connection, tables: Tables) -> None:
    """Before the first revision what has a name of the kit's own is another program's: nothing says otherwise."""
    plans, version = tables.cloud_plans, tables.schema_version
    missing = _missing_tables(connection, tables)
    found = [table.name for table in tables.metadata.tables.values() if table not in {plans, version, *missing}]
    if found:
        raise ConfigurationError(_theirs_or_lost(connection, found, version))
    if plans not in missing:
        _refuse_what_nobody_fills(connection, plans)


def _theirs_or_lost(connection: Connection, found: Sequence[str], version: Table) -> str:
    spelled = connection.dialect.identifier_preparer.format_table(version)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    row = f"INSERT INTO {spelled} VALUES ('{SCHEMA_VERSION}')"  # noqa: S608 - the host's own name
    return (
        f"{', '.join(found[:_NAMED])}{more}: there already, and {version.name} names no revision that made it. If it is"
        " another program's, give the kit's tables another prefix, with SqlLayout(prefix=...). If the kit made all of "
        "them and only the revision was lost, put back the one that it was: "
        f"CREATE TABLE IF NOT EXISTS {spelled} (version_num VARCHAR(32) NOT NULL PRIMARY KEY); {row}"
    )


def _refuse_what_nobody_fills(connection: Connection, plans: Table) -> None:
    columns = inspect(connection).get_columns(plans.name, schema=plans.schema)
    unfilled = [column["name"] for column in columns if column["name"] not in plans.c and not _fills_itself(column)]
    if unfilled:
        raise ConfigurationError(
            f"the table {plans.name} is there, and the kit, which would write plans into it, does not know what to put "
            f"into {', '.join(unfilled)}: let these columns be null or give them a default, or give the kit's plans "
            "another name with SqlLayout(plans_table=...)"
        )


def _fills_itself(column: ReflectedColumn) -> bool:
    """Whether a row may come without it. Of SQLite's columns an integer that is the primary key is numbered."""
    is_number = bool(column.get("primary_key")) and isinstance(column["type"], Integer)
    is_made = column["default"] is not None or "identity" in column or "computed" in column
    return column["nullable"] or is_made or is_number


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
        return
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:  # SQLite's driver begins none before it makes a table
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    # Takes the write lock before anything is read, also in a transaction that the host began as a reading one.
    connection.execute(CreateTable(tables.schema_version, if_not_exists=True))


def _versions(connection: Connection, tables: Tables) -> list[str]:
    table, found = tables.schema_version, inspect(connection)
    if not found.has_table(table.name, schema=table.schema):
        return []
    columns = {column["name"] for column in found.get_columns(table.name, schema=table.schema)}
    versions = connection.execute(select(table.c.version_num)).scalars().all() if "version_num" in columns else [""]
    if all(str(version).isdecimal() for version in versions):
        return [str(version) for version in versions]
    raise ConfigurationError(
        f"the table {table.name} is there and holds no revision of the kit's: if it is another program's, give the "
        "kit's tables another prefix, with SqlLayout(prefix=...)"
    )


def _upgrade(connection: Connection, tables: Tables, target: str) -> None:
    # Slow to load, and needed once. The revisions get their operations as an argument: Alembic's usual `op` is one
    # for the whole process, and several stores may be migrated at the same time.
    try:
        from alembic.operations import Operations  # noqa: PLC0415
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigurationError("Making the tables needs an extra: pip install 'kuploy-saas-kit[sql]'") from error
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
