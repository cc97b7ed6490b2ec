"""The tables of the kit, and how its values are columns."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.schema import conv
from sqlalchemy.types import TypeDecorator, TypeEngine

from kuploy_saas_kit.errors import ConfigurationError

SCHEMA_VERSION: Final = "0003"

LIMIT_COLUMNS: Final = (
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
"""The limits that have a column of their own in `cloud_plans`; all others are in its column `limits`."""

_ONLY_ROW: Final = "id = 1"
_MOST_BYTES: Final = 63  # of a name in PostgreSQL
_NOT_IN_STATEMENTS: Final = frozenset("%?:$")  # drivers and SQLAlchemy read them, also within quotes


class Instant(TypeDecorator[datetime]):
    """An aware datetime, to the microsecond: a timestamp in PostgreSQL, text that sorts by time in SQLite."""

    impl = String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(String(32))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime names no instant: pass an aware one")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class SqlLayout:
    """Where the tables are. *prefix* begins the names of the kit's own; *plans_table* keeps its name.

    Names that cannot work in SQLite or in PostgreSQL are `ConfigurationError`.
    """

    prefix: str = "kuploy_saas_"
    schema: str | None = None
    plans_table: str = "cloud_plans"

    def __post_init__(self) -> None:
        if not self.prefix:
            raise ConfigurationError(
                "SqlLayout needs a prefix: without one the kit's tables would be called usage, event or price, and "
                "tables of another program with such a name would be taken for them"
            )
        _require_usable("prefix", self.prefix)
        _require_usable("plans_table", self.plans_table)
        if self.schema is not None:
            _require_usable("schema", self.schema)
        _require_short_and_distinct(self)

    def owns(self, table: str) -> bool:
        """Whether *table* is one of the kit's; a host's own Alembic leaves these out of what it compares."""
        return any(table == one.name for one in tables_of(self).metadata.tables.values())

    @property
    def how_to_migrate(self) -> str:
        """What to do where tables of this layout are missing."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        standard = {field.name: field.default for field in fields(self)}
        options = "".join(
            f" --{name.replace('_', '-')} {shlex.quote(value)}"
            for name, value in chosen.items()
            if value != standard[name]
        )
        command = f"kuploy-saas-kit store migrate{options}"
        return f"call store.migrate(), or run `{command}` with its URL in KUPLOY_STORE"


def _require_usable(argument: str, name: str) -> None:
    if not name or not name.isprintable() or _NOT_IN_STATEMENTS.intersection(name):
        raise ConfigurationError(
            f"SqlLayout({argument}={name!r}): statements take letters, digits, _ and what else can be printed for a "
            f"name, at least one of them, and none of {' '.join(sorted(_NOT_IN_STATEMENTS))}"
        )
    if name.lower().startswith("sqlite_"):
        raise ConfigurationError(f"SqlLayout({argument}={name!r}): SQLite keeps names that begin so for itself")


def _require_short_and_distinct(layout: SqlLayout) -> None:
    """PostgreSQL cuts long names short, and to SQLite those that differ in case are one."""
    try:
        tables = tables_of(layout).metadata.tables.values()
    except InvalidRequestError as error:  # the kit's plans in a table of the kit's
        raise _taken(layout) from error
    relations = [*(table.name for table in tables), *(index.name for table in tables for index in table.indexes)]
    if len({str(name).lower() for name in relations}) < len(relations):
        raise _taken(layout)
    constraints = [constraint.name for table in tables for constraint in table.constraints]
    every = (layout.schema, *relations, *constraints)
    longest = max((_as_made(name) for name in every if isinstance(name, str)), key=len)
    if len(longest) > _MOST_BYTES:
        raise ConfigurationError(
            f"{layout}: a name would be {longest.decode()}, and PostgreSQL's have up to {_MOST_BYTES} bytes: shorten it"
        )


def _taken(layout: SqlLayout) -> ConfigurationError:
    return ConfigurationError(f"SqlLayout(plans_table={layout.plans_table!r}): another table of the kit's is called so")


def _as_made(name: str) -> bytes:
    """The bytes of a name in PostgreSQL: SQLAlchemy shortens those that it made up itself, by characters."""
    if isinstance(name, conv) and len(name) > _MOST_BYTES:
        name = name[: _MOST_BYTES - 8] + "_0000"
    return name.encode()


class Tables:
    """The tables of one layout."""

    def __init__(self, layout: SqlLayout) -> None:
        self.layout = layout
        self.how_to_migrate = layout.how_to_migrate
        self.metadata = MetaData(schema=layout.schema)
        self._prefix = layout.prefix
        self.cloud_plans = _cloud_plans(layout.plans_table, self.metadata)
        self._make_plan_tables()
        self._make_usage_tables()
        self._make_license_tables()
        self._make_billing_tables()

    def _table(self, name: str, *columns: Any) -> Table:
        return Table(self._prefix + name, self.metadata, *columns)

    def _only_row(self, name: str, *columns: Any) -> Table:
        identity = Column("id", Integer, primary_key=True, autoincrement=False)
        return self._table(name, identity, *columns, CheckConstraint(_ONLY_ROW))

    def _make_plan_tables(self) -> None:
        # Alembic makes it, so named, and writes it.
        version = Column("version_num", String(32), nullable=False)
        key = PrimaryKeyConstraint(version, name=f"{self._prefix}schema_version_pkc")
        self.schema_version = self._table("schema_version", version, key)
        self.catalog = self._only_row(
            "catalog",
            Column("revision", BigInteger),
            Column("source", Text, nullable=False, server_default=""),
            Column("account_id", Text),
            Column("livemode", Boolean),
            Column("digest", Text),  # of the plans, where they are a catalog that was stored as a whole
        )
        self.plan_version = self._table(
            "plan_version",
            Column("slug", Text, primary_key=True),
            Column("version", BigInteger, nullable=False),
            Column("position", Integer, nullable=False),
        )
        self.standing = self._table(
            "standing", Column("org_id", Text, primary_key=True), Column("version", BigInteger, nullable=False)
        )
        self.assignment = self._table("assignment", Column("org_id", Text, primary_key=True), *_assignment_columns())
        self.assignment_trail = self._table(
            "assignment_trail",
            Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
            Column("kind", Text, nullable=False),
            Column("org_id", Text, nullable=False, index=True),
            *_assignment_columns(),
        )
        self.feed = self._only_row("feed", Column("epoch", Text, nullable=False), _count("seq"))
        self.change = self._table(
            "change",
            Column("seq", BigInteger, primary_key=True, autoincrement=False),
            Column("org_id", Text),  # null is everyone
        )

    def _make_usage_tables(self) -> None:
        self.usage = self._table("usage", *_key("scope", "limit_key"), _count("used"), CheckConstraint("used >= 0"))
        self.holding = self._table(
            "holding", *_key("scope", "key"), _json("amounts"), Column("expires_at", Instant, index=True)
        )
        self.meter = self._table(
            "meter", *_key("scope", "limit_key"), Column("period", Instant, primary_key=True), _count("total")
        )
        self.meter_event = self._table("meter_event", *_key("event_key"))
        self.announcement = self._table("announcement", *_key("name"))

    def _make_license_tables(self) -> None:
        self.license = self._only_row(
            "license",
            Column("body", LargeBinary, nullable=False),
            Column("trust", Text, nullable=False),
            _count("epoch"),
            _count("revision"),
            Column("received_at", Instant, nullable=False),
            Column("mark", Instant, nullable=False),
        )
        self.identity = self._only_row(
            "identity", Column("instance_id", Text), Column("license_key", Text), _json("claim", nullable=True)
        )
        self.lease = self._table(
            "lease",
            *_key("name"),
            Column("holder", Text, nullable=False),
            Column("until", Instant, nullable=False),
        )

    def _make_billing_tables(self) -> None:
        self.price = self._table(
            "price", *_space(), *_key("price_id"), _text("slug"), _text("product_id"), _text("lookup_key")
        )
        self.mapping = self._table(
            "mapping",
            *_space(),
            *_key("slug"),
            _text("product_id"),
            _text("price_id"),
            _text("fingerprint"),
            _count("revision"),
        )
        self.fingerprint = self._table("fingerprint", *_space(), _text("fingerprint"))
        self.customer = self._table(
            "customer", *_space(), *_key("org_id"), Column("customer_id", Text, nullable=False, index=True)
        )
        self.event = self._table("event", *_key("event_id"))
        self.subscription = self._table("subscription", *_subscription_columns())


@cache
def tables_of(layout: SqlLayout) -> Tables:
    """The tables of *layout*, which all stores share: describing them takes longer than a verb."""
    return Tables(layout)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"), nullable=nullable)


def _key(*names: str) -> tuple[Column[str], ...]:
    return tuple(Column(name, Text, primary_key=True) for name in names)


def _space() -> tuple[Column[Any], ...]:
    return Column("account_id", Text, primary_key=True), Column("livemode", Boolean, primary_key=True)


def _assignment_columns() -> tuple[Column[Any], ...]:
    return (
        _text("plan"),
        _text("actor"),
        _text("reason"),
        Column("assigned_at", Instant, nullable=False),
        Column("until", Instant),
    )


def _subscription_columns() -> tuple[Column[Any], ...]:
    return (
        Column("subscription_id", Text, primary_key=True),
        _text("account_id"),
        Column("livemode", Boolean, nullable=False),
        Column("org_id", Text, index=True),
        _text("customer_id"),
        Column("plan", Text),
        Column("price_id", Text),
        _text("status"),
        _text("known_status"),
        Column("created", Instant, nullable=False),
        Column("period_start", Instant),
        Column("period_end", Instant),
        Column("cancel_at", Instant),
        Column("past_due_since", Instant),
        _count("version"),
    )


def _cloud_plans(name: str, metadata: MetaData) -> Table:
    """Kuploy's own table, as its page "Setting Up Billing for Your Users" lists it, and one column for other limits."""
    table = Table(
        name,
        metadata,
        Column("planId", Text, primary_key=True),
        _text("name"),
        Column("stripeProductId", Text),
        Column("stripePriceId", Text),
        Column("price", Integer),
        Column("currency", Text),
        Column("billingCycle", Text),
        *(Column(limit, BigInteger, nullable=False, default=0) for limit in LIMIT_COLUMNS),
        _json("features"),
        Column("isDefault", Boolean, nullable=False),
        Column("isActive", Boolean, nullable=False),
        Column("description", Text),
        _json("limits", nullable=True),
        CheckConstraint('NOT "isDefault" OR "isActive"', name=f"{name}_default_is_active"),
    )
    is_default = table.c.isDefault
    Index(f"{name}_one_default", is_default, unique=True, sqlite_where=is_default, postgresql_where=is_default)
    return table
