"""Where the hub keeps its rows: in memory, or in one SQLite file.

A transaction sees no half of another, and all that it put is kept, or nothing when it raises.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, cast

from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.hub.records import ROW_KINDS, Row
from kuploy_saas_kit.hub.rowcodec import dump_row, load_row

_R = TypeVar("_R", bound=Row)


class HubRows(Protocol):
    """The rows within one transaction."""

    def get(self, kind: type[_R], *key: str) -> _R | None:
        """The row of *kind* with this key (its fields named in `KEY`), or None."""

    def find(self, kind: type[_R], **lookups: str) -> tuple[_R, ...]:
        """The rows of *kind* whose fields named in `KEY` or `LOOKUPS` have these values, ordered by key."""

    def put(self, row: Row) -> None:
        """Keep *row* in place of the one with its key."""

    def drop(self, row: Row) -> None:
        """Forget the row with the key of *row*; nothing happens where there is none."""


class HubStore(Protocol):
    """Keeps all that a hub knows. Whatever goes wrong is a `StorageError`."""

    def transaction(self) -> AbstractContextManager[HubRows]:
        """Begin to read and write, alone; the end of the block keeps what was put."""

    def close(self) -> None:
        """Let go of what is held open."""


class MemoryHubStore:
    """Keeps the rows until the process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[type[Row], dict[tuple[str, ...], Row]] = {kind: {} for kind in ROW_KINDS}

    @contextmanager
    def transaction(self) -> Iterator[HubRows]:
        with self._lock:
            rows = _MemoryRows({kind: dict(kept) for kind, kept in self._rows.items()})
            yield rows
            self._rows = rows.rows

    def close(self) -> None:
        """Nothing is held open."""


class _MemoryRows:
    def __init__(self, rows: dict[type[Row], dict[tuple[str, ...], Row]]) -> None:
        self.rows = rows

    def get(self, kind: type[_R], *key: str) -> _R | None:
        return cast("_R | None", self.rows[kind].get(key))

    def find(self, kind: type[_R], **lookups: str) -> tuple[_R, ...]:
        _check_lookups(kind, lookups)
        kept = (row for _, row in sorted(self.rows[kind].items()))
        found = [row for row in kept if all(getattr(row, name) == value for name, value in lookups.items())]
        return cast("tuple[_R, ...]", tuple(found))

    def put(self, row: Row) -> None:
        self.rows[type(row)][_key_of(row)] = row

    def drop(self, row: Row) -> None:
        self.rows[type(row)].pop(_key_of(row), None)


class SqliteHubStore:
    """Keeps the rows in one SQLite file that several processes may use. `migrate` makes the file and its tables."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def migrate(self) -> None:
        """Make the file, readable by its owner only, and the tables that it lacks."""
        try:
            self._path.touch(mode=0o600)
        except OSError as error:
            raise StorageError(f"the hub's file {self._path} cannot be made: {error.strerror}") from error
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            for kind in ROW_KINDS:
                for statement in _ddl(kind):
                    connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[HubRows]:
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield _SqliteRows(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def close(self) -> None:
        """Nothing is held open between transactions."""

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as connection:
                # A claim's license key is gone from the file once the claim is.
                connection.execute("PRAGMA secure_delete = ON")
                yield connection
        except sqlite3.Error as error:
            raise StorageError(f"the hub's file {self._path} cannot be used: {error}") from error


class _SqliteRows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, kind: type[_R], *key: str) -> _R | None:
        found = self.find(kind, **dict(zip(kind.KEY, key, strict=True)))
        return found[0] if found else None

    def find(self, kind: type[_R], **lookups: str) -> tuple[_R, ...]:
        _check_lookups(kind, lookups)
        where = " AND ".join(f"{name} = ?" for name in lookups) or "1"
        query = f"SELECT row FROM {_table(kind)} WHERE {where} ORDER BY {', '.join(kind.KEY)}"  # noqa: S608 - our names
        return tuple(load_row(kind, row) for (row,) in self._connection.execute(query, tuple(lookups.values())))

    def put(self, row: Row) -> None:
        columns = (*row.KEY, *row.LOOKUPS)
        marks = ", ".join("?" * (len(columns) + 1))
        names = ", ".join((*columns, "row"))
        statement = f"INSERT OR REPLACE INTO {_table(type(row))} ({names}) VALUES ({marks})"  # noqa: S608 - our names
        self._connection.execute(statement, (*(getattr(row, name) for name in columns), dump_row(row)))

    def drop(self, row: Row) -> None:
        where = " AND ".join(f"{name} = ?" for name in row.KEY)
        self._connection.execute(f"DELETE FROM {_table(type(row))} WHERE {where}", _key_of(row))  # noqa: S608 - our names


def _check_lookups(kind: type[Row], lookups: Iterable[str]) -> None:
    unknown = set(lookups) - {*kind.KEY, *kind.LOOKUPS}
    if unknown:
        raise TypeError(f"{kind.__name__} is not looked up by {', '.join(sorted(unknown))}")


def _key_of(row: Row) -> tuple[str, ...]:
    return tuple(getattr(row, name) for name in row.KEY)


def _table(kind: type[Row]) -> str:
    return f"hub_{kind.__name__.lower()}"


def _ddl(kind: type[Row]) -> Iterator[str]:
    columns = ", ".join(f"{name} TEXT NOT NULL" for name in (*kind.KEY, *kind.LOOKUPS))
    table = _table(kind)
    yield (
        f"CREATE TABLE IF NOT EXISTS {table} "
        f"({columns}, row TEXT NOT NULL, PRIMARY KEY ({', '.join(kind.KEY)})) WITHOUT ROWID"
    )
    for name in kind.LOOKUPS:
        yield f"CREATE INDEX IF NOT EXISTS {table}_{name} ON {table} ({name})"
