"""Connections and transactions."""

from __future__ import annotations

import math
import os
import re
import sqlite3
from _thread import RLock
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Dialect, Engine, TextClause, event, func, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    NoSuchModuleError,
)
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.adapters.sql.layout import Instant, Tables
from kuploy_saas_kit.errors import ConfigurationError

Rows: TypeAlias = Sequence[Sequence[Any]]

_WRITES: Final = "kuploy_saas_writes"
_PREPARED: Final = "kuploy_saas_prepared"
_IDLE_SINCE: Final = "kuploy_saas_idle_since"
NUMBERED: Final = re.compile(r"\?(\d+)")
"""A parameter in a statement of `Ask`."""

AT_ONCE: Final = "kuploy_saas_at_once"
"""The execution option of a connection on which each statement is a transaction by itself."""

PING_AFTER: Final = timedelta(seconds=10)
"""A connection that was idle for longer is looked at before it is used."""

_PATIENCE: Final = 5.0  # seconds, as long as SQLite's driver waits where the URL does not say otherwise
_POOL_SECONDS: Final = 10
_CONNECT_SECONDS: Final = 10
_COMMAND_SECONDS: Final = 10.0
_COMMAND_TIMEOUT: Final = "command_timeout"


@dataclass(frozen=True, slots=True)
class Ask:
    """How one statement is sent to a database of this *dialect*: *rows* returns all that it answers.

    Statements are text with their parameters spelled `?1`, `?2` and so on, as SQLite spells them.
    """

    dialect: Dialect
    rows: Callable[[str, Sequence[object]], Rows]


def asked_through(connection: Connection) -> Ask:
    """By SQLAlchemy, in the transaction that the connection is in."""

    def rows(statement: str, parameters: Sequence[object]) -> Rows:
        named = {f"p{number}": value for number, value in enumerate(parameters, start=1)}
        return connection.execute(_clause(statement), named).all()

    return Ask(connection.dialect, rows)


@lru_cache(maxsize=64)
def _clause(statement: str) -> TextClause:
    return text(NUMBERED.sub(r":p\1", statement))


class SqlVerbs(ABC):
    """What the verbs of all ports stand on: tables, a clock, and transactions.

    How a transaction begins and ends is for the subclass: the store's own are committed, the host's never.
    """

    _tables: Tables
    _clock: Clock | None

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Connection]:
        """A transaction that reads."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes; an exception undoes it with all its locks."""

    def _asking(self) -> AbstractContextManager[Ask]:
        """For one statement that is all there is to do. A store with connections of its own has a shorter way."""
        return self._asking_in_transaction()

    @contextmanager
    def _asking_in_transaction(self) -> Iterator[Ask]:
        with self._writing() as connection:
            yield asked_through(connection)

    def _now(self, connection: Connection) -> datetime:
        """The present instant, by the database server's clock; SQLite's server is this machine."""
        if self._clock is not None:
            return self._clock.now()
        if connection.dialect.name == "sqlite":
            return SystemClock().now()
        return connection.execute(select(func.clock_timestamp(type_=Instant()))).scalar_one()

    def _moment(self, dialect: Dialect) -> str | None:
        """The present instant as text, as `Instant` spells it; None is the database server's own."""
        if self._clock is None and dialect.name != "sqlite":
            return None
        now = (self._clock or SystemClock()).now()
        return now.astimezone(UTC).isoformat(timespec="microseconds")


def upsert(connection: Connection, table: Table) -> Any:
    """An `INSERT` into *table* that may say `ON CONFLICT`, for the connection's dialect."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table)


def checked_url(url: str, drivers: dict[str, str]) -> URL:
    """*url* with the kit's driver for its database; `ConfigurationError` for a database that is not supported."""
    if not isinstance(url, str):
        raise ConfigurationError(f"a database URL is text, and not {type(url).__name__}: is the variable set?")
    parsed = _parsed(url.replace("postgres://", "postgresql://", 1))
    backend = parsed.get_backend_name()
    if backend not in drivers:
        raise ConfigurationError(f"there is no SQL store for {backend!r}: use a sqlite:/// or postgresql:// URL")
    if backend == "sqlite" and (parsed.host or parsed.database in {None, "", ":memory:"}):
        raise ConfigurationError("an SQL store needs an SQLite file, such as sqlite:///kit.db; or use MemoryStore()")
    return parsed.set(drivername=drivers[backend])


def _parsed(url: str) -> URL:
    refused = ConfigurationError(
        "this is no database URL; examples: sqlite:///kit.db, postgresql://user:password@host/name; special characters "
        "of a password are written as in `%40`"
    )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise refused from None  # the cause may show a part of the password, taken for a port
    # So may what is called by these names, after an `@` in a password.
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise refused
    return parsed


def pool_options(url: URL) -> dict[str, int | bool]:
    """How many connections are kept; the one that was used last, whose caches are warm, is used next.

    Threads that find none in the pool of a server open one for each verb, which costs more than the verb. SQLite has
    one writer at a time, and the more connections wait for their turn the longer the unlucky ones do.
    """
    if url.get_backend_name() == "sqlite":
        return {"pool_use_lifo": True}
    return {"pool_size": 20, "max_overflow": 10, "pool_use_lifo": True, "pool_timeout": _POOL_SECONDS}


def bound_waits(engine: Engine) -> None:
    """Wait for PostgreSQL no longer than its URL says: `connect_timeout` and `command_timeout`, ten seconds each.

    Neither is sent to the server, so connection poolers may stand in between. The first is libpq's, the second the
    kit's: how long a statement may take, 0 for any time.
    """
    if engine.dialect.name != "postgresql":
        return
    from kuploy_saas_kit.adapters.sql.waiting import connected, connected_async  # noqa: PLC0415 - it needs the driver

    timeout = _command_timeout(engine.url)

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Dialect, _record: object, _args: object, parameters: dict[str, Any]) -> object:
        parameters.pop(_COMMAND_TIMEOUT, None)
        if "PGCONNECT_TIMEOUT" not in os.environ:
            parameters.setdefault("connect_timeout", _CONNECT_SECONDS)
        if not dialect.is_async:
            return connected(timeout, **parameters)
        parameters["async_creator_fn"] = partial(connected_async, timeout)
        return None  # SQLAlchemy calls it

    @event.listens_for(engine, "checkin")
    def _kept(_connection: object, record: ConnectionPoolEntry) -> None:
        if record.driver_connection is not None:
            setattr(record.driver_connection, _COMMAND_TIMEOUT, timeout)


def _command_timeout(url: URL) -> timedelta | None:
    given = url.query.get(_COMMAND_TIMEOUT, _COMMAND_SECONDS)
    try:
        seconds = float(str(given))
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ConfigurationError(f"{_COMMAND_TIMEOUT} in the URL of a database is a number of seconds, 0 for no limit")
    return timedelta(seconds=seconds) or None


def wait_as_long_as_it_takes(connection: Connection) -> None:
    """Wait for all that follows on this connection, until the pool has it again."""
    driver = connection.connection.driver_connection
    if hasattr(driver, _COMMAND_TIMEOUT):
        setattr(driver, _COMMAND_TIMEOUT, None)


def database_name(url: URL) -> str:
    """How messages call the database; user names and passwords are no part of it."""
    if url.get_backend_name() == "sqlite":
        return f"the SQLite file {url.database}"
    host = url.host or url.query.get("host", "localhost")
    return f"the database {url.database} at {host if isinstance(host, str) else ', '.join(host)}"


@contextmanager
def driver_needed(url: URL) -> Iterator[None]:
    """Turn a missing driver into a `ConfigurationError` that names the extra."""
    extra = "postgres" if url.get_backend_name() == "postgresql" else "sql"
    try:
        yield
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigurationError(
            f"the driver for {url.drivername} is missing: pip install 'kuploy-saas-kit[{extra}]'"
        ) from error


def prepare_sqlite(engine: Engine) -> None:
    """Write-ahead logging, and transactions that take the write lock when they begin instead of failing later.

    A file that is not there is made for its owner only: the license key is in it. What SQLite puts beside it follows.
    """
    if engine.dialect.name != "sqlite":
        return
    engine.update_execution_options(**{_PREPARED: True})

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Dialect, _record: object, args: Sequence[str], parameters: dict[str, Any]) -> None:
        if not parameters.get("uri", False):
            with suppress(OSError):  # it is there, or SQLite says why it cannot be
                Path(args[0]).touch(mode=0o600, exist_ok=False)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `_begin` does
        cursor = connection.cursor()
        # The mode is the file's. A connection that makes the same switch at this moment locks this one out at once,
        # without the wait that other statements have, and does it for both.
        with suppress(sqlite3.OperationalError):
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get(AT_ONCE, False):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES, False) else "BEGIN")


def ping_when_idle(engine: Engine) -> None:
    """Look whether a connection still lives before it is used again after a while; each time would double the cost."""
    if engine.dialect.name == "sqlite":
        return
    clock = SystemClock()

    @event.listens_for(engine, "checkin")
    def _kept(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = clock.elapsed()

    @event.listens_for(engine, "checkout")
    def _used_again(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if clock.elapsed() - record.info.get(_IDLE_SINCE, clock.elapsed()) < PING_AFTER:
            return
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            raise DisconnectionError from error  # the pool opens another one


class Turns(RLock):  # type: ignore[misc]  # it is final for type checkers only
    """Writers of one file take turns here: the lock of SQLite makes whoever finds it taken sleep for a while.

    Other processes still meet at that lock. Whoever waited too long here hears what SQLite would have said.
    """

    patience = _PATIENCE

    # Only entering is code that a signal can interrupt; leaving is the lock's own.
    def __enter__(self) -> bool:  # type: ignore[override]  # the lock's own takes arguments
        try:
            in_turn = self.acquire(timeout=self.patience)
        except BaseException:
            with suppress(RuntimeError):  # not taken: it was waited for
                self.release()
            raise
        if not in_turn:
            busy = sqlite3.OperationalError("database is locked")
            raise DBAPIError(None, None, busy)
        return in_turn


@contextmanager
def transaction(connection: Connection, *, writes: bool) -> Iterator[Connection]:
    """A transaction of the store's own, committed at the end."""
    ready = connection.execution_options(**{_WRITES: writes, AT_ONCE: False})
    with ready.begin():
        yield ready


def lock_out_writers(connection: Connection, tables: Tables) -> None:
    """In a transaction that SQLite began as a reading one, take the write lock: what is read after it stays true."""
    options = connection.get_execution_options()
    has_lock = options.get(_PREPARED, False) and options.get(_WRITES, False)
    if connection.dialect.name == "sqlite" and not has_lock:
        table = tables.feed
        connection.execute(table.update().where(table.c.id != table.c.id).values(seq=table.c.seq))
