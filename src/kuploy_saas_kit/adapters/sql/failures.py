"""What goes wrong with a database: a `StorageError` that says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from kuploy_saas_kit.errors import StorageError

_ROLLED_BACK: Final = "40"  # the class of SQLSTATE for deadlocks and for what other isolation levels refuse
_NO_TABLE: Final = (
    "no such table",
    "no such column",
    "UndefinedTable",
    "UndefinedColumn",
    "UndefinedFunction",
    "InvalidSchemaName",
)
_CROWDED: Final = "53300"  # whoever is not let in hears no SQLSTATE, but one of these
_FORBIDDEN: Final = "42501"
_SIGNS_OF_CROWD: Final = ("too many clients", "too many connections", "remaining connection slots")

_TROUBLES: Final = {
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "is its folder there, and may this process write to folder and file?",
    ),
    sqlite3.SQLITE_READONLY: (
        "cannot be written to",
        "this process must be allowed to write the file, and its folder, in which SQLite keeps two more",
    ),
    sqlite3.SQLITE_FULL: ("has no room", "make some on its disk, then try again"),
    sqlite3.SQLITE_IOERR: (
        "was failed by its disk",
        "see the system's log; the disk must be a local one, with room on it",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "stop all that use it, and put a backup in its place"),
    sqlite3.SQLITE_NOTADB: ("is no SQLite database", "name another file, or put a backup in its place"),
    _FORBIDDEN: (
        "does not let this user do what was asked",
        "grant it that right; whoever migrates needs CREATE on the schema too",
    ),
    "25006": (
        "takes no writes, as a replica or a read-only transaction",
        "after a failover try again, else give the kit the URL of the primary",
    ),
    "53100": ("has no room", "make some on the server's disk, then try again"),
    _CROWDED: (
        "lets no more connections in",
        "make pools smaller, end what keeps connections for nothing, or raise max_connections",
    ),
}
"""What SQLite's error codes and SQLSTATEs mean, and what to do."""


class OutdatedTables(SQLAlchemyError):  # noqa: N818 - whoever asks gets the `StorageError` that it becomes
    """The kit's tables, or PostgreSQL's function, are not as this version knows them."""


@contextmanager
def storage_errors(dialect: Dialect, name: str, *, migrate: str) -> Iterator[None]:
    """Turn whatever SQLAlchemy or a driver raises into `StorageError` that says what to do; the cause is kept.

    *migrate* says how the tables are made.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise storage_error(error, dialect, name, migrate) from error


def storage_error(error: SQLAlchemyError, dialect: Dialect, name: str, migrate: str) -> StorageError:
    """What happened to the database of this *name*, and what to do."""
    if isinstance(error, StatementError):
        error.hide_parameters = True  # they may hold the license key
    return StorageError(_explained(error, dialect, name, migrate))


def _explained(error: SQLAlchemyError, dialect: Dialect, name: str, migrate: str) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else None
    said = f"{type(cause).__name__} {cause}"
    passing = _passing(error, cause, said, name)
    if passing is not None:
        return passing
    if (code := _code(cause, said)) in _TROUBLES:
        is_so, do = _TROUBLES[code]
        return f"{name} {is_so}{_forbidden(cause, code)}; nothing is half-written: {do}"
    if isinstance(error, OutdatedTables) or any(sign in said for sign in _NO_TABLE):
        return f"{name} does not have the kit's tables as this version knows them: {migrate}"
    if isinstance(error, PoolTimeoutError):
        return (
            f"all connections to {name} that the engine's pool may open are in use; nothing is half-written: try "
            "again; if it stays so, look for code that keeps connections, or raise pool_size and max_overflow"
        )
    if cause is not None and _is_outside(error, cause, dialect):
        return (
            f"{name} could not be entered; nothing is half-written: is the server running, and are host, user, "
            "password, options and name of the database right?"
        )
    return (
        f"{name} could not do what was asked ({type(cause or error).__name__}, {dialect.name}); nothing is half-written"
    )


def _passing(error: SQLAlchemyError, cause: BaseException | None, said: str, name: str) -> str | None:
    """What to say where the same verb may succeed the next time; None for all else."""
    if _is_busy(cause, said):
        return (
            f"{name} is locked by another process: try again; if it stays locked, look for a program that keeps a "
            "transaction open, or move to PostgreSQL"
        )
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        unanswered = f" ({cause})" if type(cause).__name__ == "_UnansweredError" else ""
        return (
            f"the connection to {name} was lost{unanswered}; nothing is half-written, but whether it was done is not "
            "known: ask again under the same key; without a key look first"
        )
    if (getattr(cause, "sqlstate", None) or "").startswith(_ROLLED_BACK):
        return (
            f"{name} undid this because of another transaction at the same moment ({type(cause).__name__}); nothing is "
            "half-written: try again, a transaction of your own from its beginning"
        )
    return None


def _code(cause: BaseException | None, said: str) -> int | str | None:
    """A key of `_TROUBLES`, if there is one for what happened."""
    if any(sign in said for sign in _SIGNS_OF_CROWD):
        return _CROWDED
    of_sqlite: int | None = getattr(cause, "sqlite_errorcode", None)
    of_postgresql: str | None = getattr(cause, "sqlstate", None)
    return of_postgresql if of_sqlite is None else _primary(of_sqlite)


def _forbidden(cause: BaseException | None, code: int | str | None) -> str:
    """Where it was a right that lacked, what PostgreSQL says of it: that names things of the schema, and no value."""
    diagnosed = getattr(cause, "diag", None)
    return f" ({diagnosed.message_primary})" if code == _FORBIDDEN and diagnosed is not None else ""


def _is_outside(error: SQLAlchemyError, cause: BaseException, dialect: Dialect) -> bool:
    """Whether no connection was made: then there is no statement, and PostgreSQL did not say what was wrong with it."""
    unasked = isinstance(error, DBAPIError) and error.statement is None
    return dialect.name == "postgresql" and unasked and getattr(cause, "sqlstate", None) is None


def _is_busy(cause: BaseException | None, said: str) -> bool:
    code = _primary(getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_OK))
    return code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} or "database is locked" in said


def _primary(extended: int) -> int:
    return extended & 0xFF
