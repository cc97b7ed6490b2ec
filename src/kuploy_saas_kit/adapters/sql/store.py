"""The SQL store: one class over an engine, one over a host's connection, one that is awaited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Dialect, Engine, create_engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters.sql.billing import CustomerVerbs, ProvisioningVerbs, SpaceVerbs, SubscriptionVerbs
from kuploy_saas_kit.adapters.sql.connection import (
    Ask,
    bound_waits,
    checked_url,
    database_name,
    driver_needed,
    lock_out_writers,
    ping_when_idle,
    pool_options,
    prepare_sqlite,
    transaction,
    wait_as_long_as_it_takes,
)
from kuploy_saas_kit.adapters.sql.direct import direct_of
from kuploy_saas_kit.adapters.sql.failures import storage_errors
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, Tables, tables_of
from kuploy_saas_kit.adapters.sql.license import IdentityVerbs, LeaseVerbs, LicenseVerbs
from kuploy_saas_kit.adapters.sql.meters import AnnouncementVerbs, MeterVerbs
from kuploy_saas_kit.adapters.sql.migration import make_tables, require_tables
from kuploy_saas_kit.adapters.sql.plans import PlanVerbs
from kuploy_saas_kit.adapters.sql.savepoints import begin_before_savepoints, note_begun, refuse_lone_savepoint
from kuploy_saas_kit.adapters.sql.standings import StandingVerbs
from kuploy_saas_kit.adapters.sql.usage import UsageVerbs
from kuploy_saas_kit.errors import ConfigurationError

if TYPE_CHECKING:
    from kuploy_saas_kit.adapters.sql.aio import AsyncSqlStore

_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}


def refuse_no_engine(given: object, kind: type) -> None:
    """`ConfigurationError` for what is no engine of this *kind*, such as a URL."""
    if not isinstance(given, kind):
        raise ConfigurationError(
            f"this store is made over an {kind.__name__}, not {type(given).__name__}: a URL goes to from_url(), what "
            "create_engine() makes to SqlStore, what create_async_engine() makes to AsyncSqlStore"
        )


def refuse_autocommit(engine: Engine) -> None:
    """`ConfigurationError` for an engine that was made to begin no transactions."""
    made_with = getattr(engine.dialect, "_on_connect_isolation_level", None)  # nothing else tells before it connects
    if engine.get_execution_options().get("isolation_level", made_with) == "AUTOCOMMIT":
        raise _autocommit(engine.dialect)


def begin_writing(connection: Connection, tables: Tables) -> None:
    """Lock writers out where that is due; `ConfigurationError` where that began no transaction, whoever is to blame."""
    lock_out_writers(connection, tables)
    pooled: Any = connection.connection
    if connection.dialect.name == "sqlite":
        in_transaction = pooled.driver_connection.in_transaction
    else:
        in_transaction = not connection.dialect.detect_autocommit_setting(pooled.dbapi_connection)
    if not in_transaction:
        raise _autocommit(connection.dialect)


def _autocommit(dialect: Dialect) -> ConfigurationError:
    level = "SERIALIZABLE" if dialect.name == "sqlite" else "READ COMMITTED"
    return ConfigurationError(
        "in AUTOCOMMIT each statement is committed by itself, so a verb could end half done: use an engine without it; "
        f'of one that create_engine made with it that is engine.execution_options(isolation_level="{level}")'
    )


def refuse_no_transaction(given: object, *kinds: type) -> None:
    """`ConfigurationError` for what carries no transaction of the host's, such as its engine."""
    if not isinstance(given, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigurationError(
            f"on() takes the {wanted} that your transaction runs on, not {type(given).__name__}: open one with "
            "engine.begin(), or call your sessionmaker. What is awaited goes to AsyncSqlStore, all else to SqlStore"
        )
    if not hasattr(given, "get_bind"):  # a connection, which has its engine
        return
    try:
        given.get_bind()
    except UnboundExecutionError as error:
        kind = type(given).__name__
        raise ConfigurationError(f"the {kind} has no engine: make it with one, such as {kind}(engine)") from error


class AllVerbs(
    PlanVerbs,
    StandingVerbs,
    UsageVerbs,
    MeterVerbs,
    AnnouncementVerbs,
    LicenseVerbs,
    IdentityVerbs,
    LeaseVerbs,
    SpaceVerbs,
    ProvisioningVerbs,
    SubscriptionVerbs,
    CustomerVerbs,
):
    """The verbs of every port."""


class BoundStore(AllVerbs):
    """Every verb inside a transaction of the host's. It never commits; what the host rolls back never was.

    Counters that a verb changes stay locked until the host commits, so take last.
    """

    def __init__(self, connection: Connection | Session, tables: Tables, clock: Clock | None = None) -> None:
        self._connection = connection
        self._tables = tables
        self._clock = clock

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        found = self._connection
        connection = found.connection() if isinstance(found, Session) else found
        with storage_errors(connection.dialect, "the host's database", migrate=self._tables.how_to_migrate):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A savepoint: a verb that raises has changed nothing, whatever the host does with its transaction then."""
        with self._reading() as connection:
            refuse_lone_savepoint(connection)
            begin_writing(connection, self._tables)
            note_begun(connection)
            with connection.begin_nested():
                yield connection


class SqlStore(AllVerbs):
    """Implements every port of the kit in SQLite or PostgreSQL.

    `SqlStore.from_url("sqlite:///kit.db")` or `("postgresql://user@host/name")`; `migrate()` makes the tables once.
    Whatever the database does is `StorageError`. Expiry and leases go by the database server's clock, or by *clock*.
    """

    def __init__(self, engine: Engine, *, layout: SqlLayout | None = None, clock: Clock | None = None) -> None:
        refuse_no_engine(engine, Engine)
        refuse_autocommit(engine)
        begin_before_savepoints(engine)
        self._engine = engine
        self._layout = layout or SqlLayout()
        self._tables = tables_of(self._layout)
        self._clock = clock
        self._direct = direct_of(engine)
        self._asks = nullcontext(self._direct.asking(self._tables.how_to_migrate))

    @classmethod
    def from_url(cls, url: str, *, layout: SqlLayout | None = None, clock: Clock | None = None) -> SqlStore:
        """A store over a database URL; a driver that is not installed is a `ConfigurationError` naming the extra.

        With PostgreSQL each wait ends after ten seconds, or what `connect_timeout` and `command_timeout` in it say.
        """
        parsed = checked_url(url, _DRIVERS)
        with driver_needed(parsed):
            engine = create_engine(parsed, hide_parameters=True, **pool_options(parsed))
            bound_waits(engine)
        prepare_sqlite(engine)
        ping_when_idle(engine)
        return cls(engine, layout=layout, clock=clock)

    def __repr__(self) -> str:
        return f"SqlStore({database_name(self._engine.url)})"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is this host's own file, which `SaasKit` migrates by itself."""
        return self._engine.dialect.name == "sqlite"

    def migrate(self) -> None:
        """Make the tables that are missing. It may run at each start, and in several processes at once."""
        with self._transaction(writes=True) as connection:
            wait_as_long_as_it_takes(connection)
            make_tables(connection, self._tables)

    def require_tables(self) -> None:
        """`StorageError` that says what to do unless the tables are as this version needs them; reads only."""
        with self._reading() as connection:
            require_tables(connection, self._tables)

    def on(self, connection: Connection | Session) -> BoundStore:
        """The same verbs inside the host's own transaction on the same database; nothing is committed."""
        refuse_no_transaction(connection, Connection, Session)
        return BoundStore(connection, self._tables, self._clock)

    @cached_property
    def _awaited(self) -> AsyncSqlStore:
        from kuploy_saas_kit.adapters.sql.aio import AsyncSqlStore  # noqa: PLC0415 - it is built from this module

        url = self._engine.url.render_as_string(hide_password=False)
        return AsyncSqlStore.from_url(url, layout=self._layout, clock=self._clock)

    def async_store(self) -> AsyncSqlStore:
        """The same tables for code that awaits: one store with connections of its own, made when first asked for.

        Close it (`await store.async_store().close()`) in the event loop that used it. An engine that was made with
        more than a URL has no such twin: make the `AsyncSqlStore` over an engine of your own.
        """
        return self._awaited

    def close(self) -> None:
        """Let go of all connections; the next verb opens new ones."""
        self._direct.close()
        self._engine.dispose()

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._transaction(writes=False)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._transaction(writes=True) as connection:
            begin_writing(connection, self._tables)
            yield connection

    def _asking(self) -> AbstractContextManager[Ask]:
        return self._asks

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        in_turn = self._direct.in_turn if writes else nullcontext()
        with (
            storage_errors(self._engine.dialect, database_name(self._engine.url), migrate=self._tables.how_to_migrate),
            in_turn,
            self._direct.opened(self._engine.connect) as connection,
            transaction(connection, writes=writes) as ready,
        ):
            yield ready
