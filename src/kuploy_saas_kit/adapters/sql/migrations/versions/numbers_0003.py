"""In PostgreSQL 64 bits for the limits of a `cloud_plans` that was there before, and a trail that numbers itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alembic.operations import Operations
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Integer,
    MetaData,
    Table,
    Text,
    cast,
    func,
    inspect,
    select,
)
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.exc import NoSuchTableError, NotSupportedError

from kuploy_saas_kit.adapters.sql.layout import SqlLayout
from kuploy_saas_kit.errors import ConfigurationError

revision = "0003"
down_revision = "0002"

_LIMITS: Final = (
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
)


def upgrade(op: Operations, layout: SqlLayout) -> None:
    """Widen what is narrower, and let an identity column number the trail: its sequence needs no grant of its own."""
    if op.get_bind().dialect.name == "postgresql":
        _widen(op, layout)
        _number(op, layout)


def _widen(op: Operations, layout: SqlLayout) -> None:
    held = _columns(op.get_bind(), layout.plans_table, layout.schema)
    try:
        for limit in _LIMITS:
            if limit in held and _is_narrow(held[limit]["type"]):
                op.alter_column(layout.plans_table, limit, type_=BigInteger(), schema=layout.schema)
    except NotSupportedError as error:
        raise ConfigurationError(
            f"the limits in {layout.plans_table} have 32 bits, and a view or rule of yours keeps them from having 64: "
            "drop it, migrate, and make it again"
        ) from error


def _is_narrow(kind: object) -> bool:
    return isinstance(kind, Integer) and not isinstance(kind, BigInteger)


def _number(op: Operations, layout: SqlLayout) -> None:
    connection, name = op.get_bind(), f"{layout.prefix}assignment_trail"
    number = _columns(connection, name, layout.schema).get("id")
    if number is None or "identity" in number:
        return
    op.alter_column(name, "id", server_default=None, schema=layout.schema)  # from here on nobody else writes
    trail = Table(name, MetaData(schema=layout.schema), Column("id", BigInteger))
    spelled = connection.dialect.identifier_preparer.format_table(trail)
    held = cast(func.pg_get_serial_sequence(spelled, "id"), REGCLASS)
    following = func.greatest(func.nextval(held), func.max(trail.c.id) + 1, 1)
    sequence, first = connection.execute(select(cast(held, Text), following)).one()
    if sequence is not None:
        op.execute(f"DROP SEQUENCE {sequence}")
    op.alter_column(name, "id", server_default=Identity(start=first), schema=layout.schema)


def _columns(connection: Connection, table: str, schema: str | None) -> Mapping[str, Any]:
    """Those of a table by name; none where somebody dropped it, as then it is made anew after the last revision."""
    try:
        return {column["name"]: column for column in inspect(connection).get_columns(table, schema=schema)}
    except NoSuchTableError:
        return {}
