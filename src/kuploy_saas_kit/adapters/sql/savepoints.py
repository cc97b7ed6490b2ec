"""Savepoints of the host's on SQLite: one outside of a transaction is committed when it is released.

Python's driver, in the mode that it has by default, begins a transaction for what writes, and for no savepoint.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, RootTransaction, event

from kuploy_saas_kit.adapters.sql.direct import LEGACY, owner_of_pool
from kuploy_saas_kit.errors import ConfigurationError

_BEGUN: Final[WeakSet[RootTransaction]] = WeakSet()
"""Those of which it is known that SQLite is in a transaction, and was before any savepoint in them."""


def begin_before_savepoints(engine: Engine) -> None:
    """Have each savepoint on *engine*, whoever asks for it, be part of a transaction."""
    if engine.dialect.name == "sqlite":
        event.listen(owner_of_pool(engine), "savepoint", _begin)


def refuse_lone_savepoint(connection: Connection) -> None:
    """`ConfigurationError` in a savepoint that may be outside of a transaction."""
    if (
        connection.dialect.name == "sqlite"
        and connection.in_nested_transaction()
        and connection.get_transaction() not in _BEGUN
        and _begins_late(connection.connection.driver_connection)
    ):
        raise ConfigurationError(
            "Python's SQLite driver begins no transaction for a savepoint, and then what is released is committed, "
            "whatever you roll back: give your engine to the store, as in SqlStore(engine) or AsyncSqlStore(engine), "
            "or have it send BEGIN as SQLAlchemy's page on SQLite says under 'Enabling Non-Legacy SQLite "
            "Transactional Modes'"
        )


def note_begun(connection: Connection) -> None:
    """Something was written outside of savepoints: those that follow in this transaction are part of it."""
    transaction = connection.get_transaction()
    if transaction is not None and not connection.in_nested_transaction():
        _BEGUN.add(transaction)


def _begin(connection: Connection, _name: object) -> None:
    driver: Any = connection.connection.driver_connection
    if _begins_late(driver) and not driver.in_transaction:
        connection.exec_driver_sql(f"BEGIN {driver.isolation_level}")
    note_begun(connection)


def _begins_late(driver: Any) -> bool:
    connection = getattr(driver, "_conn", driver)  # aiosqlite's own does not tell of `autocommit`
    return driver.isolation_level is not None and getattr(connection, "autocommit", LEGACY) == LEGACY
