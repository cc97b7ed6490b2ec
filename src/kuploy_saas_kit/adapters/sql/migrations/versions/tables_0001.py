"""The first tables. What is here stays as it is: a later change is a revision of its own."""

from __future__ import annotations

from typing import Any, Final

from alembic.operations import Operations
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from kuploy_saas_kit.adapters.sql.layout import SqlLayout
from kuploy_saas_kit.errors import ConfigurationError

revision = "0001"
down_revision = None

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
    """Make the tables; a `cloud_plans` that is there already gets the one column that it lacks."""
    metadata = MetaData(schema=layout.schema)
    plans = _plans_table(layout.plans_table, metadata)
    for name, columns in {**_plans(), **_usage(), **_license(), **_billing()}.items():
        Table(layout.prefix + name, metadata, *columns)
    connection = op.get_bind()
    if inspect(connection).has_table(plans.name, schema=plans.schema):
        _take_over(op, plans)
    metadata.create_all(connection, checkfirst=True)


def _take_over(op: Operations, plans: Table) -> None:
    held = inspect(op.get_bind()).get_columns(plans.name, schema=plans.schema)
    present = {column["name"] for column in held}
    missing = [column.name for column in plans.c if column.name not in present]
    if missing == ["limits"]:
        op.add_column(plans.name, Column("limits", _json_type()), schema=plans.schema)
    elif missing:
        raise ConfigurationError(
            f"the table {plans.name} is there and lacks {', '.join(missing)}: is it another program's? "
            "Give the kit's plans another name with SqlLayout(plans_table=...)"
        )


def _plans_table(name: str, metadata: MetaData) -> Table:
    table = Table(
        name,
        metadata,
        *_key("planId"),
        _text("name"),
        *(Column(column, Text) for column in ("stripeProductId", "stripePriceId")),
        Column("price", Integer),
        *(Column(column, Text) for column in ("currency", "billingCycle")),
        *(_count(limit) for limit in _LIMITS),
        _json("features"),
        *(Column(column, Boolean, nullable=False) for column in ("isDefault", "isActive")),
        Column("description", Text),
        Column("limits", _json_type()),
        CheckConstraint('NOT "isDefault" OR "isActive"', name=f"{name}_default_is_active"),
    )
    only = table.c.isDefault
    Index(f"{name}_one_default", only, unique=True, sqlite_where=only, postgresql_where=only)
    return table


def _plans() -> dict[str, tuple[Any, ...]]:
    number = Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    kind, org_id = _text("kind"), Column("org_id", Text, nullable=False, index=True)
    position = Column("position", Integer, nullable=False)
    return {
        "catalog": (
            *_only_row(),
            Column("revision", BigInteger),
            Column("source", Text, nullable=False, server_default=""),
            Column("account_id", Text),
            Column("livemode", Boolean),
        ),
        "plan_version": (*_key("slug"), _count("version"), position),
        "standing": (*_key("org_id"), _count("version")),
        "assignment": (*_key("org_id"), *_assignment()),
        "assignment_trail": (number, kind, org_id, *_assignment()),
        "feed": (*_only_row(), _text("epoch"), _count("seq")),
        "change": (Column("seq", BigInteger, primary_key=True, autoincrement=False), Column("org_id", Text)),
    }


def _usage() -> dict[str, tuple[Any, ...]]:
    until = Column("expires_at", _instant_type(), index=True)
    period = Column("period", _instant_type(), primary_key=True)
    return {
        "usage": (*_key("scope", "limit_key"), _count("used"), CheckConstraint("used >= 0")),
        "holding": (*_key("scope", "key"), _json("amounts"), until),
        "meter": (*_key("scope", "limit_key"), period, _count("total")),
        "meter_event": _key("event_key"),
        "announcement": _key("name"),
    }


def _license() -> dict[str, tuple[Any, ...]]:
    return {
        "license": (
            *_only_row(),
            Column("body", LargeBinary, nullable=False),
            _text("trust"),
            _count("epoch"),
            _count("revision"),
            *_instants("received_at", "mark"),
        ),
        "identity": (
            *_only_row(),
            Column("instance_id", Text),
            Column("license_key", Text),
            Column("claim", _json_type()),
        ),
        "lease": (*_key("name"), _text("holder"), *_instants("until")),
    }


def _billing() -> dict[str, tuple[Any, ...]]:
    customer = Column("customer_id", Text, nullable=False, index=True)
    sold = (_text("product_id"), _text("price_id"), _text("fingerprint"), _count("revision"))
    return {
        "price": (*_space(), *_key("price_id"), _text("slug"), _text("product_id"), _text("lookup_key")),
        "mapping": (*_space(), *_key("slug"), *sold),
        "fingerprint": (*_space(), _text("fingerprint")),
        "customer": (*_space(), *_key("org_id"), customer),
        "event": _key("event_id"),
        "subscription": (
            *_key("subscription_id"),
            _text("account_id"),
            Column("livemode", Boolean, nullable=False),
            Column("org_id", Text, index=True),
            _text("customer_id"),
            *(Column(name, Text) for name in ("plan", "price_id")),
            *(_text(name) for name in ("status", "known_status")),
            *_instants("created"),
            *(Column(name, _instant_type()) for name in ("period_start", "period_end", "cancel_at", "past_due_since")),
            _count("version"),
        ),
    }


def _only_row() -> tuple[Any, ...]:
    return Column("id", Integer, primary_key=True, autoincrement=False), CheckConstraint("id = 1")


def _space() -> tuple[Column[Any], ...]:
    return Column("account_id", Text, primary_key=True), Column("livemode", Boolean, primary_key=True)


def _assignment() -> tuple[Column[Any], ...]:
    return (
        *(_text(name) for name in ("plan", "actor", "reason")),
        *_instants("assigned_at"),
        Column("until", _instant_type()),
    )


def _key(*names: str) -> tuple[Column[str], ...]:
    return tuple(Column(name, Text, primary_key=True) for name in names)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _json(name: str) -> Column[Any]:
    return Column(name, _json_type(), nullable=False)


def _json_type() -> Any:
    return JSON().with_variant(JSONB(), "postgresql")


def _instants(*names: str) -> tuple[Column[Any], ...]:
    return tuple(Column(name, _instant_type(), nullable=False) for name in names)


def _instant_type() -> Any:
    return String(32).with_variant(TIMESTAMP(timezone=True), "postgresql")
