"""Single statements on the driver's own connections: SQLAlchemy's share would cost more than such a statement."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from operator import methodcaller
from threading import Lock
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, Pool, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters.sql import connection as sql
from kuploy_saas_kit.adapters.sql.connection import NUMBERED, Ask, Rows, Turns, database_name
from kuploy_saas_kit.adapters.sql.failures import storage_error
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.forks import mend_after_fork

T = TypeVar("T")

_OF_ENGINE: Final = "kuploy_saas_direct"
_MODE: Final = "kuploy_saas_mode"
LEGACY: Final = -1  # sqlite3.LEGACY_TRANSACTION_CONTROL; Python 3.11 knows no other

STEP: Final = "kuploy_saas_step"
"""The execution option of an engine for what is called before each statement: those here reach no listener of it."""


def direct_of(engine: Engine) -> DirectStatements:
    """The engine's: one for all stores over it. An engine with another driver is `ConfigurationError`."""
    if engine.driver not in {"pysqlite", "psycopg"}:
        raise ConfigurationError(
            f"there is no SQL store over the driver {engine.driver!r}: make the engine with sqlite+pysqlite:/// or "
            "postgresql+psycopg:// URLs"
        )
    of_pool = vars(owner_of_pool(engine))
    found: DirectStatements | None = of_pool.get(_OF_ENGINE)
    return found or of_pool.setdefault(_OF_ENGINE, DirectStatements(engine))


@dataclass(slots=True)
class Borrowed:
    """A connection out of the engine's pool, on which each statement is a transaction by itself."""

    connection: PoolProxiedConnection
    driver: Any
    cursor: Any  # one for all statements: making one is a good part of their cost
    looked_at: timedelta


class DirectStatements:
    """Sends statements that are transactions by themselves. It keeps up to half of the pool's connections for them.

    Whatever the driver raises is `StorageError`. A connection that was lost, or interrupted, is not used again, and
    where it was lost none of the pool is. While somebody waits for a connection of the pool, none is kept. *in_turn* is
    held while somebody writes.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._half = engine.pool.size() // 2 if isinstance(engine.pool, QueuePool) else 0
        self._most = self._half
        self._waiting = 0
        self._counting = Lock()
        # The last one is the one that was used last. What threads put here at once beyond its length falls out at the
        # other end, into the pool.
        self._kept: deque[Borrowed] = deque(maxlen=self._half)
        self._of_parents: list[Borrowed | Pool] = []
        self._is_file = engine.dialect.name == "sqlite"
        self._execute = _in_sqlite if self._is_file else _in_postgresql
        dbapi: Any = engine.dialect.loaded_dbapi
        self._cursor = methodcaller("cursor") if self._is_file else dbapi.RawCursor
        self._elapsed = SystemClock().elapsed
        self.in_turn = self._turns()
        owner = owner_of_pool(engine)
        event.listen(owner, "reset", self._restore_mode)
        event.listen(owner, "invalidate", self._invalidated)
        event.listen(owner, "engine_disposed", self._forget)
        mend_after_fork(self)

    def asking(self, migrate: str) -> Ask:
        """How a store asks; *migrate* says how its tables are made."""
        return Ask(self._engine.dialect, partial(self._rows, migrate))

    def opened(self, connect: Callable[[], T]) -> T:
        """What *connect* gets from the pool. Where that has nothing left to give, whatever is kept goes there first."""
        if not _is_used_up(self._engine.pool):
            return connect()
        self._count_waiting(1)
        try:
            self.close()
            return connect()
        finally:
            self._count_waiting(-1)

    def _count_waiting(self, more: int) -> None:
        with self._counting:
            self._waiting += more
            self._most = 0 if self._waiting else self._half

    def close(self) -> None:
        """Give the connections back to the pool."""
        for kept in self._no_longer_kept():
            kept.connection.close()

    def after_fork(self) -> None:
        """The connections are the parent's, and so is whatever turn was taken there.

        They are held here: the garbage collector would end what the parent still uses.
        """
        self._of_parents += [*self._kept, self._engine.pool]
        self._kept.clear()
        self._most, self._waiting, self._counting = self._half, 0, Lock()
        self.in_turn = self._turns()
        self._engine.dispose(close=False)

    def _turns(self) -> AbstractContextManager[object]:
        if not self._is_file:
            return nullcontext()
        turns = Turns()
        _, options = self._engine.dialect.create_connect_args(self._engine.url)
        turns.patience = max(turns.patience, options.get("timeout", 0))
        return turns

    def _rows(self, migrate: str, statement: str, parameters: Sequence[object]) -> Rows:
        try:
            with self.in_turn:
                return self._sent(statement, parameters)
        except SQLAlchemyError as error:
            raise storage_error(error, self._engine.dialect, database_name(self._engine.url), migrate) from error

    def _sent(self, statement: str, parameters: Sequence[object]) -> Rows:
        step = self._engine.get_execution_options().get(STEP)
        if step is not None:
            step()
        borrowed = self._borrow()
        try:
            rows: Rows = self._execute(borrowed.cursor, statement, parameters).fetchall()
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise self._failed(borrowed, statement, error) from error
        except BaseException:
            borrowed.connection.invalidate()  # nobody knows what it was interrupted in
            raise
        self._keep(borrowed)
        return rows

    def _keep(self, borrowed: Borrowed) -> None:
        if len(self._kept) < self._most:
            self._kept.append(borrowed)
        else:
            borrowed.connection.close()

    def _no_longer_kept(self) -> Iterator[Borrowed]:
        with suppress(IndexError):
            while True:
                yield self._kept.pop()

    def _borrow(self) -> Borrowed:
        try:
            kept = self._kept.pop()
        except IndexError:
            return self._from_pool()
        if self._is_file:
            return kept
        if self._elapsed() - kept.looked_at < sql.PING_AFTER:
            return kept
        if self._lives(kept):
            kept.connection.close()  # how old one may become is for the pool to know
        return self._from_pool()

    def _from_pool(self) -> Borrowed:
        """A connection that ends no transaction of others: whoever drops it gives it back as it was."""
        dbapi_error = self._engine.dialect.loaded_dbapi.Error
        try:
            connection = self.opened(self._engine.raw_connection)
        except dbapi_error as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error
        driver: Any = connection.driver_connection
        attribute, value = _single_statements(driver)
        connection.info[_MODE] = attribute, getattr(driver, attribute)
        try:
            setattr(driver, attribute, value)
            cursor = self._cursor(driver)
        except dbapi_error as error:
            connection.invalidate(error)
            raise DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=True) from error
        return Borrowed(connection, driver, cursor, self._elapsed())

    @staticmethod
    def _restore_mode(driver: Any, record: ConnectionPoolEntry | None, _state: object) -> None:
        """The pool gets a connection back, from here or from the garbage collector after an interrupt.

        One that the host detached from the pool has no record.
        """
        if record is not None and _MODE in record.info:
            setattr(driver, *record.info.pop(_MODE))

    def _invalidated(self, _driver: object, _record: object, error: BaseException | None) -> None:
        """Where one connection of the engine was lost, here or in SQLAlchemy, those that are kept may be lost too."""
        if error is not None:
            self._forget()

    def _forget(self, *_: object) -> None:
        for kept in self._no_longer_kept():
            kept.connection.invalidate()

    def _lives(self, kept: Borrowed) -> bool:
        try:
            self._engine.dialect.do_ping(kept.driver)
        except self._engine.dialect.loaded_dbapi.Error as error:
            self._lost(kept, error)
            return False
        return True

    def _failed(self, borrowed: Borrowed, statement: str, error: Any) -> DBAPIError:
        """The error as SQLAlchemy would raise it. A connection that was not lost is as it was before the statement."""
        is_lost = self._engine.dialect.is_disconnect(error, borrowed.driver, None)
        if is_lost:
            self._lost(borrowed, error)
        else:
            self._keep(borrowed)
        return DBAPIError(statement, None, error, hide_parameters=True, connection_invalidated=is_lost)

    def _lost(self, borrowed: Borrowed, error: BaseException) -> None:
        borrowed.connection.invalidate(error)
        self._engine.dispose()


def _is_used_up(pool: Pool) -> bool:
    """Whether whoever wants a connection has to wait until somebody gives one back."""
    if not isinstance(pool, QueuePool) or pool._max_overflow < 0:  # noqa: SLF001 - nothing else tells
        return False
    return pool.checkedout() >= pool.size() + pool._max_overflow  # noqa: SLF001 - as above


def owner_of_pool(engine: Engine) -> Engine:
    """One that `Engine.execution_options` made has the pool, and the events, of the engine that it was made from."""
    while (proxied := getattr(engine, "_proxied", None)) is not None:
        engine = proxied
    return engine


def _single_statements(driver: Any) -> tuple[str, object]:
    """The attribute of a driver's connection, and its value, with which each statement is a transaction by itself."""
    if getattr(driver, "autocommit", LEGACY) == LEGACY:
        return "isolation_level", None
    return "autocommit", True


def _by_number(cursor: Any, statement: str, parameters: Sequence[object]) -> Any:
    return cursor.execute(statement, parameters)


def _by_name(cursor: Any, statement: str, parameters: Sequence[object]) -> Any:
    return cursor.execute(statement, {str(number): value for number, value in enumerate(parameters, start=1)})


# The first releases of Python 3.12 take a parameter's number for its name (python/cpython#117995).
_in_sqlite: Final = _by_name if (3, 12) <= sys.version_info < (3, 12, 4) else _by_number


def _in_postgresql(cursor: Any, statement: str, parameters: Sequence[object]) -> Any:
    return cursor.execute(_for_postgresql(statement), parameters)


@lru_cache(maxsize=64)
def _for_postgresql(statement: str) -> str:
    return NUMBERED.sub(r"$\1", statement)
