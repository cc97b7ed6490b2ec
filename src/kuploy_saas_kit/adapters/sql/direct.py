"""Single statements on the driver's own connections: SQLAlchemy's share would cost more than such a statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from threading import Lock
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters.sql import connection as sql
from kuploy_saas_kit.adapters.sql.connection import Ask, Rows, database_name, storage_error

_NAME: Final = re.compile(r":(\w+)")
# The attribute of a driver's connection, and its value, with which each statement is a transaction by itself.
_AUTOCOMMIT: Final = {"pysqlite": ("isolation_level", None), "psycopg": ("autocommit", True)}

STEP: Final = "kuploy_saas_step"
"""The execution option of an engine for what is called before each statement: those here reach no listener of it."""


@dataclass(slots=True)
class Borrowed:
    """A connection out of the engine's pool, and how the pool had it."""

    connection: PoolProxiedConnection
    driver: Any
    mode: object
    idle_since: timedelta


class DirectStatements:
    """Sends statements that are transactions by themselves. It keeps up to half of the pool's connections for them.

    Whatever the driver raises is `StorageError`. A connection is not used again after that, and where it was lost none
    of the pool is. *in_turn* is held while a statement is sent.
    """

    def __init__(self, engine: Engine, in_turn: AbstractContextManager[object]) -> None:
        self._engine = engine
        self._in_turn = in_turn
        self._lock = Lock()
        self._kept: list[Borrowed] = []  # the last one is the one that was used last
        self._most = engine.pool.size() // 2 if isinstance(engine.pool, QueuePool) else 0
        self._attribute, self._value = _AUTOCOMMIT[engine.driver]
        self._spelled = _pyformat if engine.driver == "psycopg" else str
        self._elapsed = SystemClock().elapsed
        self.ask = Ask(engine.dialect, self._rows)
        # Where one connection of the engine was lost, here or in SQLAlchemy, those that are kept may be lost too.
        event.listen(engine, "invalidate", self._invalidate_kept)

    @staticmethod
    def knows(engine: Engine) -> bool:
        """Whether the engine's driver is one whose connections can be used like this."""
        return engine.driver in _AUTOCOMMIT

    def close(self) -> None:
        """Give the connections back to the pool."""
        for kept in self.keep_none():
            self._give_back(kept)

    def keep_none(self) -> list[Borrowed]:
        """Keep none any more; returns those that were."""
        with self._lock:
            kept, self._kept = self._kept, []
        return kept

    def _rows(self, statement: str, parameters: Mapping[str, object]) -> Rows:
        try:
            with self._in_turn:
                return self._sent(statement, parameters)
        except SQLAlchemyError as error:
            raise storage_error(error, self._engine.dialect, database_name(self._engine.url)) from error

    def _sent(self, statement: str, parameters: Mapping[str, object]) -> Rows:
        step = self._engine.get_execution_options().get(STEP)
        if step is not None:
            step()
        borrowed = self._borrow()
        try:
            rows: Rows = borrowed.driver.execute(self._spelled(statement), parameters).fetchall()
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise self._given_up(borrowed, error) from error
        except BaseException:
            borrowed.connection.invalidate()  # nobody knows what it was interrupted in
            raise
        if not self._keeps(borrowed):
            self._give_back(borrowed)
        return rows

    def _keeps(self, borrowed: Borrowed) -> bool:
        borrowed.idle_since = self._elapsed()
        with self._lock:
            has_room = len(self._kept) < self._most
            if has_room:
                self._kept.append(borrowed)
        return has_room

    def _borrow(self) -> Borrowed:
        with self._lock:
            kept = self._kept.pop() if self._kept else None
        if kept is None:
            return self._from_pool()
        if self._elapsed() - kept.idle_since < sql.PING_AFTER or self._lives(kept):
            return kept
        return self._from_pool()

    def _from_pool(self) -> Borrowed:
        try:
            connection = self._engine.raw_connection()
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error
        driver: Any = connection.driver_connection
        borrowed = Borrowed(connection, driver, getattr(driver, self._attribute), self._elapsed())
        try:
            setattr(driver, self._attribute, self._value)
        except self._engine.dialect.loaded_dbapi.Error as error:
            raise self._given_up(borrowed, error) from error
        return borrowed

    def _give_back(self, borrowed: Borrowed) -> None:
        try:
            setattr(borrowed.driver, self._attribute, borrowed.mode)
        except self._engine.dialect.loaded_dbapi.Error:
            borrowed.connection.invalidate()
        else:
            borrowed.connection.close()

    def _invalidate_kept(self, *_: object) -> None:
        for kept in self.keep_none():
            kept.connection.invalidate()

    def _lives(self, kept: Borrowed) -> bool:
        try:
            self._engine.dialect.do_ping(kept.driver)
        except self._engine.dialect.loaded_dbapi.Error as error:
            self._given_up(kept, error)
            return False
        return True

    def _given_up(self, borrowed: Borrowed, error: Any) -> DBAPIError:
        """The error as SQLAlchemy would raise it."""
        is_lost = self._engine.dialect.is_disconnect(error, borrowed.driver, None)
        borrowed.connection.invalidate()
        if is_lost:
            self._engine.dispose()
        return DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=is_lost)


@lru_cache(maxsize=64)
def _pyformat(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement)
