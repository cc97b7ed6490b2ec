"""A request that goes away while it waits for SQLite: its verb comes to an end, and no lock outlives it."""

import asyncio
import gc
import shutil
import sqlite3
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, event
from sqlalchemy.ext.asyncio import create_async_engine

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance import CancelledTests, FromThreads, HoldingStoreTests, UsageStoreTests


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    """A file with the kit's tables, which are empty."""
    return Path(shutil.copy(sqlite_template, tmp_path / "kit.db"))


class TestCancelled(CancelledTests):
    deeds = (*UsageStoreTests.deeds, *HoldingStoreTests.deeds)
    test_killed_at_any_instant: Any = None  # asked of the store that is not awaited
    test_failing_at_each_step: Any = None
    test_dying_at_a_step: Any = None
    test_what_cannot_be_read_is_raised: Any = None

    @pytest.fixture
    def store(self, clock: ManualClock, file: Path) -> Iterator[FromThreads]:
        with FromThreads(lambda: AsyncSqlStore.from_url(f"sqlite:///{file}", clock=clock)) as store:
            yield store


async def cancelled_at_a_statement(store: AsyncSqlStore) -> None:
    """Have a request put 3 projects for acme, and go away while SQLite is at work for it."""
    request = asyncio.create_task(store.put_usage("acme", "maxProjects", 3))
    event.listen(store._engine.sync_engine, "before_cursor_execute", lambda *_: request.cancel())
    with pytest.raises(asyncio.CancelledError):
        await request


def left_in(file: Path) -> dict[str, int]:
    """What acme uses, as seen by another process that takes the write lock at once or not at all."""
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
    with closing(SqlStore.from_url(f"sqlite:///{file}")) as store:
        return dict(store.usage_of("acme"))


@pytest.mark.anyio
async def test_no_lock_is_left(file: Path) -> None:
    """The caller hears of its cancellation, closing waits for what it began, and then the file is free."""
    store = AsyncSqlStore.from_url(f"sqlite:///{file}")
    await cancelled_at_a_statement(store)
    await store.close()
    assert left_in(file) == {"maxProjects": 3}


@pytest.mark.anyio
async def test_nobody_hears_of_an_error_that_nobody_waits_for(tmp_path: Path) -> None:
    """A verb that fails when its caller has gone away is no report of asyncio's."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
    store = AsyncSqlStore.from_url(f"sqlite:///{tmp_path / 'without_tables.db'}")
    await cancelled_at_a_statement(store)
    await store.close()
    gc.collect()
    assert reports == []


@pytest.fixture
def stopped_loop() -> Iterator[AbstractEventLoop]:
    """An event loop that runs when it is told to."""
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


def test_closing_waits_for_no_other_event_loop(file: Path, stopped_loop: AbstractEventLoop) -> None:
    """A verb of a loop that runs no longer, such as the parent's after a fork, holds up nobody."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{file}", poolclass=NullPool)
    store = AsyncSqlStore(engine)
    stopped_loop.run_until_complete(cancelled_at_a_statement(store))
    asyncio.run(asyncio.wait_for(store.close(), timeout=30))
    stopped_loop.run_until_complete(store.close())
    assert left_in(file) == {"maxProjects": 3}
