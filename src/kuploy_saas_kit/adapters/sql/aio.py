"""The SQL store for code that awaits: the same verbs over SQLAlchemy's asyncio engines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters.awaited import AwaitedCounting, AwaitedPlans
from kuploy_saas_kit.adapters.sql.connection import (
    AT_ONCE,
    Ask,
    asked_through,
    bound_waits,
    checked_url,
    database_name,
    driver_needed,
    ping_when_idle,
    pool_options,
    prepare_sqlite,
    transaction,
    wait_as_long_as_it_takes,
)
from kuploy_saas_kit.adapters.sql.failures import storage_errors
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, Tables, tables_of
from kuploy_saas_kit.adapters.sql.migration import make_tables
from kuploy_saas_kit.adapters.sql.savepoints import begin_before_savepoints
from kuploy_saas_kit.adapters.sql.store import (
    AllVerbs,
    BoundStore,
    begin_writing,
    refuse_autocommit,
    refuse_no_engine,
    refuse_no_transaction,
)
from kuploy_saas_kit.errors import KitError

T = TypeVar("T")

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg"}


class _OneConnection(AllVerbs):
    """The verbs over one connection, each in a transaction of its own."""

    def __init__(self, connection: Connection, tables: Tables, clock: Clock | None) -> None:
        self._connection = connection
        self._tables = tables
        self._clock = clock

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._transaction(writes=False)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._transaction(writes=True) as connection:
            begin_writing(connection, self._tables)
            yield connection

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with transaction(self._connection, writes=writes) as connection:
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[Ask]:
        with _at_once(self._connection) as connection:
            yield asked_through(connection)

    def migrate(self) -> None:
        with self._transaction(writes=True) as connection:
            wait_as_long_as_it_takes(connection)
            make_tables(connection, self._tables)


@contextmanager
def _at_once(connection: Connection) -> Iterator[Connection]:
    """A connection for one statement that is a transaction by itself: one round trip in place of three.

    Afterwards it has transactions again: the next verb may be given the same connection.
    """
    if connection.dialect.name != "postgresql":
        ready = connection.execution_options(**{AT_ONCE: True})
        with ready.begin():
            yield ready
        return
    ready = connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        with ready.begin():
            yield ready
    finally:
        if not ready.invalidated:
            ready.execution_options(isolation_level=ready.default_isolation_level)


@asynccontextmanager
async def _dropped_where_interrupted(connection: AsyncConnection) -> AsyncIterator[None]:
    """Nobody knows what a connection was interrupted in: it may be in a mode that its pool knows nothing of.

    Whoever is cancelled hears of that, and not of what psycopg makes of it where it sends several rows at once.
    """
    before = _cancellations()
    try:
        yield
    except (SQLAlchemyError, KitError):
        raise
    except BaseException as error:
        await connection.invalidate()
        if isinstance(error, Exception) and _cancellations() > before:
            raise asyncio.CancelledError from error
        raise


def _cancellations() -> int:
    """How often whoever calls was asked to go away."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


class AsyncBoundStore(AwaitedPlans, AwaitedCounting):
    """Every awaited verb inside a transaction of the host's. It never commits; take last, as with `BoundStore`."""

    def __init__(self, connection: AsyncConnection | AsyncSession, tables: Tables, clock: Clock | None = None) -> None:
        self._connection = connection
        self._tables = tables
        self._clock = clock

    async def _run(self, verb: Callable[[AllVerbs], T]) -> T:
        found = self._connection
        connection = await found.connection() if isinstance(found, AsyncSession) else found
        return await connection.run_sync(lambda sync: verb(BoundStore(sync, self._tables, self._clock)))


class AsyncSqlStore(AwaitedPlans, AwaitedCounting):
    """Implements the async ports in SQLite (aiosqlite) or PostgreSQL (psycopg), on the tables of `SqlStore`.

    `AsyncSqlStore.from_url` takes the same URLs. Close it in the event loop that used it. With SQLite a verb whose
    caller is cancelled comes to its end all the same.
    """

    def __init__(self, engine: AsyncEngine, *, layout: SqlLayout | None = None, clock: Clock | None = None) -> None:
        refuse_no_engine(engine, AsyncEngine)
        refuse_autocommit(engine.sync_engine)
        begin_before_savepoints(engine.sync_engine)
        self._engine = engine
        self._tables = tables_of(layout or SqlLayout())
        self._clock = clock
        self._pid = os.getpid()
        self._unended: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_url(cls, url: str, *, layout: SqlLayout | None = None, clock: Clock | None = None) -> AsyncSqlStore:
        """A store over a database URL; a driver that is not installed is a `ConfigurationError` naming the extra."""
        parsed = checked_url(url, _DRIVERS)
        with driver_needed(parsed):
            engine = create_async_engine(parsed, hide_parameters=True, **pool_options(parsed))
            bound_waits(engine.sync_engine)
        prepare_sqlite(engine.sync_engine)
        ping_when_idle(engine.sync_engine)
        return cls(engine, layout=layout, clock=clock)

    def __repr__(self) -> str:
        return f"AsyncSqlStore({database_name(self._engine.url)})"

    async def migrate(self) -> None:
        """Make the tables that are missing. It may run at each start, and in several processes at once."""
        await self._with_connection(lambda store: store.migrate())

    def on(self, connection: AsyncConnection | AsyncSession) -> AsyncBoundStore:
        """The same verbs inside the host's own transaction on the same database; nothing is committed."""
        refuse_no_transaction(connection, AsyncConnection, AsyncSession)
        return AsyncBoundStore(connection, self._tables, self._clock)

    async def close(self) -> None:
        """Let go of all connections, once verbs whose callers went away have ended; the next verb opens new ones."""
        loop = asyncio.get_running_loop()  # after a fork there are the parent's too
        unended = [task for task in self._unended if task.get_loop() is loop]
        if unended:
            await asyncio.wait(unended)
        await self._engine.dispose()

    async def _run(self, verb: Callable[[AllVerbs], T]) -> T:
        return await self._with_connection(verb)

    async def _with_connection(self, verb: Callable[[_OneConnection], T]) -> T:
        if self._engine.dialect.name != "sqlite":
            return await self._connected(verb)
        return await self._to_its_end(self._connected(verb))

    async def _to_its_end(self, verb: Coroutine[Any, Any, T]) -> T:
        """Whoever waits may be cancelled, the verb goes on: SQLite's lock outlives a statement that nobody fetches."""
        task = asyncio.create_task(verb)
        self._unended.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task])
        return task.result()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._unended.discard(task)
        if not task.cancelled():
            task.exception()  # where its caller went away nobody else asks for it, and asyncio would report that

    async def _connected(self, verb: Callable[[_OneConnection], T]) -> T:
        if self._pid != os.getpid():  # after a fork the parent's connections are left to the parent
            self._engine.sync_engine.dispose(close=False)
            self._pid = os.getpid()
        name, migrate = database_name(self._engine.url), self._tables.how_to_migrate
        with storage_errors(self._engine.dialect, name, migrate=migrate):
            async with self._engine.connect() as connection, _dropped_where_interrupted(connection):
                return await connection.run_sync(lambda sync: verb(_OneConnection(sync, self._tables, self._clock)))
