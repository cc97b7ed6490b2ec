"""Making the tables. It may run twice, and touches none that is not the kit's."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, inspect, select, text

from kuploy_saas_kit.adapters.sql.connection import upsert
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, Tables
from kuploy_saas_kit.errors import ConfigurationError

# Any number will do, as long as every runner of every version takes the same one.
_LOCK = 5_839_204_417


def make_tables(connection: Connection, tables: Tables) -> None:
    """Make what is missing, in the caller's transaction; one runner at a time."""
    if connection.dialect.name == "postgresql":
        # Ends with the transaction, so that it works behind a connection pooler too.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _check_version(connection, tables)
    _add_limits_column(connection, tables)
    tables.metadata.create_all(connection, checkfirst=True)
    for table, row in (
        (tables.schema_version, {"version_num": SCHEMA_VERSION}),
        (tables.catalog, {"id": 1}),
        (tables.feed, {"id": 1, "epoch": uuid4().hex, "seq": 0}),
    ):
        connection.execute(upsert(connection, table).values(row).on_conflict_do_nothing())


def _check_version(connection: Connection, tables: Tables) -> None:
    table = tables.schema_version
    if not inspect(connection).has_table(table.name, schema=table.schema):
        return
    found = connection.execute(select(table.c.version_num)).scalars().all()
    if any(version > SCHEMA_VERSION for version in found):
        raise ConfigurationError("the tables were made by a newer version of kuploy-saas-kit: upgrade this one")


def _add_limits_column(connection: Connection, tables: Tables) -> None:
    """Take over a `cloud_plans` that is there already: it lacks no column but the one that the kit adds."""
    plans = tables.cloud_plans
    inspector = inspect(connection)
    if not inspector.has_table(plans.name, schema=plans.schema):
        return
    present = {column["name"] for column in inspector.get_columns(plans.name, schema=plans.schema)}
    missing = [column.name for column in plans.c if column.name not in present]
    if missing == ["limits"]:
        kind = plans.c.limits.type.compile(connection.dialect)
        name = connection.dialect.identifier_preparer.format_table(plans)
        connection.execute(text(f"ALTER TABLE {name} ADD COLUMN limits {kind}"))
    elif missing:
        raise ConfigurationError(
            f"the table {plans.name} is there and lacks {', '.join(missing)}: is it another program's? "
            "Give the kit's plans another name with SqlLayout(plans_table=...)"
        )
