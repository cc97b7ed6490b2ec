"""One statement on the driver's own connection, where SQLAlchemy's share would cost more than the statement.

Statements are text with their parameters spelled `:name`, as SQLAlchemy and SQLite spell them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, Dialect, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

Rows: TypeAlias = Sequence[Sequence[Any]]

_DRIVERS: Final = frozenset({"pysqlite", "psycopg"})
_NAME: Final = re.compile(r":(\w+)")


@dataclass(frozen=True, slots=True)
class Ask:
    """How one statement is sent to a database of this *dialect*: *rows* returns all that it answers."""

    dialect: Dialect
    rows: Callable[[str, Mapping[str, object]], Rows]


def asked_through(connection: Connection) -> Ask:
    """By SQLAlchemy, in the transaction that the connection is in."""
    return Ask(
        connection.dialect,
        lambda statement, parameters: connection.execute(_clause(statement), dict(parameters)).all(),
    )


@lru_cache(maxsize=64)
def _clause(statement: str) -> TextClause:
    return text(statement)


def has_known_driver(engine: Engine) -> bool:
    """Whether the engine's driver is one that `asked_directly` knows."""
    return engine.driver in _DRIVERS


@contextmanager
def asked_directly(engine: Engine) -> Iterator[Ask]:
    """By the driver, on a connection of the engine's pool; each statement is a transaction by itself.

    What the driver raises is a `DBAPIError`, as SQLAlchemy would raise it.
    """
    ask = _on_sqlite if engine.dialect.name == "sqlite" else _on_postgresql
    try:
        with _borrowed(engine) as driver:
            yield Ask(engine.dialect, lambda statement, parameters: ask(driver, statement, parameters))
    except engine.dialect.loaded_dbapi.Error as error:
        raise DBAPIError(None, None, error, hide_parameters=True) from error


@contextmanager
def _borrowed(engine: Engine) -> Iterator[Any]:
    """The driver's connection. After an exception it is not used again; where it was lost none of the pool is."""
    borrowed = engine.raw_connection()
    driver: Any = borrowed.driver_connection
    try:
        yield driver
    except engine.dialect.loaded_dbapi.Error as error:
        is_lost = engine.dialect.is_disconnect(error, driver, None)
        borrowed.invalidate()
        if is_lost:
            engine.dispose()
        raise DBAPIError(None, None, error, hide_parameters=True, connection_invalidated=is_lost) from error
    except BaseException:
        borrowed.invalidate()  # nobody knows what it was interrupted in
        raise
    finally:
        borrowed.close()


def _on_sqlite(driver: Any, statement: str, parameters: Mapping[str, object]) -> Rows:
    rows: Rows = driver.execute(statement, parameters).fetchall()
    driver.commit()  # an engine of the host's may let the driver begin transactions
    return rows


def _on_postgresql(driver: Any, statement: str, parameters: Mapping[str, object]) -> Rows:
    driver.autocommit = True  # else a BEGIN and a COMMIT would be sent, too
    rows: Rows = driver.execute(_pyformat(statement), parameters).fetchall()
    driver.autocommit = False
    return rows


@lru_cache(maxsize=64)
def _pyformat(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement)
