"""Savepoints of the host's around verbs: what it rolls back never was, also where its transaction begins with one."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

COUNT = text("SELECT count(*) FROM project")
INSERT = text("INSERT INTO project VALUES ('one')")


@pytest.fixture
def kits(url: str) -> Iterator[SqlStore]:
    """The kit's own store on the database, with counters and a table of the host's."""
    with closing(SqlStore.from_url(url)) as store:
        seed(store)
        with store._engine.begin() as connection:
            connection.execute(text("CREATE TABLE project (name TEXT)"))
        yield store


def of_a_store(url: str) -> Engine:
    """As SQLAlchemy makes it by itself, and a store has it."""
    engine = create_engine(url)
    SqlStore(engine)
    return engine


def of_two_stores(url: str) -> Engine:
    """With other options than those that the stores have it with."""
    engine = create_engine(url)
    copy = engine.execution_options(isolation_level="SERIALIZABLE")
    SqlStore(copy)
    SqlStore(copy)
    return engine


def impatient(url: str) -> Engine:
    """One that begins with the write lock."""
    engine = create_engine(url, connect_args={"isolation_level": "IMMEDIATE"} if "sqlite" in url else {})
    SqlStore(engine)
    return engine


def begun_by_sqlalchemy(url: str) -> Engine:
    """As SQLAlchemy's page on SQLite says; no store has it."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def begun_by_the_driver(url: str) -> Engine:
    """The same for newer versions of Python."""
    new = "sqlite" in url and sys.version_info >= (3, 12)
    return create_engine(url, connect_args={"autocommit": False}) if new else begun_by_sqlalchemy(url)


@pytest.mark.parametrize("kind", [Connection, Session])
@pytest.mark.parametrize("make", [of_a_store, of_two_stores, impatient, begun_by_sqlalchemy, begun_by_the_driver])
def test_an_engine_that_begins(url: str, kits: SqlStore, make: Callable[[str], Engine], kind: type) -> None:
    """Project and take share their fate, whether the savepoint comes first or not, at the first time and later."""
    engine, committed = make(url), 0
    for commits, writes_first in ((False, False), (True, False), (False, True), (True, True), (False, False)):
        with kind(engine) as found:
            if writes_first:
                found.execute(INSERT)
            with found.begin_nested(), found.begin_nested():
                assert kits.on(found).take(claims(), key=str(committed)).outcome is TakeOutcome.TAKEN
            if not writes_first:
                found.execute(INSERT)
            found.commit() if commits else found.rollback()
            committed += commits
            assert found.execute(COUNT).scalar() == committed
        assert used(kits) == (committed, committed)
    engine.dispose()


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    """An SQLite file with the kit's tables, and counters."""
    file = Path(shutil.copy(sqlite_template, tmp_path / "kit.db"))
    with closing(SqlStore.from_url(f"sqlite:///{file}")) as store:
        seed(store)
    return file


@pytest.fixture
def lone(file: Path) -> Iterator[Engine]:
    """The host's, as SQLAlchemy makes it by itself; no store has it."""
    engine = create_engine(f"sqlite:///{file}")
    yield engine
    engine.dispose()


@pytest.fixture
def store(file: Path) -> Iterator[SqlStore]:
    """The kit's store in the same file."""
    with closing(SqlStore.from_url(f"sqlite:///{file}")) as store:
        yield store


@pytest.mark.parametrize("kind", [Connection, Session])
def test_an_engine_that_begins_too_late(store: SqlStore, lone: Engine, kind: type) -> None:
    """In a savepoint of it a verb writes nothing and says what to do; it reads, and outside of one all is well."""
    for _ in range(2):
        with kind(lone) as found:
            with found.begin_nested():
                with pytest.raises(ConfigurationError, match=r"SqlStore\(engine\).*Non-Legacy"):
                    store.on(found).take(claims(), key="one")
                assert store.on(found).usage_of("acme") == {"maxProjects": 0}
            assert store.on(found).take(claims(), key="one").outcome is TakeOutcome.TAKEN
            found.rollback()
    assert used(store) == (0, 0)


def test_a_store_that_comes_too_late(store: SqlStore, lone: Engine) -> None:
    """A savepoint that is there already stays outside of a transaction, and the next one does not."""
    with lone.connect() as connection:
        with connection.begin_nested():
            SqlStore(lone)
            with pytest.raises(ConfigurationError):
                store.on(connection).take(claims())
        connection.rollback()
        with connection.begin_nested():
            assert store.on(connection).take(claims()).outcome is TakeOutcome.TAKEN
        connection.rollback()
    assert used(store) == (0, 0)


def test_a_savepoint_after_a_verb(store: SqlStore, lone: Engine) -> None:
    """A verb that wrote has begun the transaction, for a savepoint of the host's and for what a callback does."""

    def take_along(_: object, connection: Connection) -> None:
        store.on(connection).take(claims())

    with lone.connect() as connection:
        store.on(connection).put_subscription(ROW, expected_version=0, on_change=take_along)
        with connection.begin_nested():
            assert store.on(connection).take(claims()).outcome is TakeOutcome.TAKEN
        assert used(store.on(connection)) == (2, 2)
        connection.rollback()
        with connection.begin_nested(), pytest.raises(ConfigurationError):
            store.on(connection).take(claims())
    assert used(store) == (0, 0)


@pytest.fixture
def awaited(file: Path) -> AsyncEngine:
    """The host's engine that is awaited; no store has it."""
    return create_async_engine(f"sqlite+aiosqlite:///{file}")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [AsyncConnection, AsyncSession])
async def test_what_is_awaited(store: SqlStore, file: Path, awaited: AsyncEngine, kind: Any) -> None:
    """The same holds for a store that is awaited: it refuses, until a store has the engine."""
    aio = AsyncSqlStore.from_url(f"sqlite:///{file}")
    async with kind(awaited) as found:
        async with found.begin_nested():
            with pytest.raises(ConfigurationError, match=r"AsyncSqlStore\(engine\)"):
                await aio.on(found).take(claims())
        await found.rollback()
        AsyncSqlStore(awaited)
        async with found.begin_nested():
            assert (await aio.on(found).take(claims())).outcome is TakeOutcome.TAKEN
        await found.rollback()
        assert used(store) == (0, 0)
        async with found.begin_nested():
            await aio.on(found).take(claims())
        await found.commit()
    assert used(store) == (1, 1)
    await awaited.dispose()
    await aio.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the driver has no `autocommit` before Python 3.12")
@pytest.mark.anyio
async def test_an_awaited_driver_that_begins(store: SqlStore, file: Path) -> None:
    """Nothing is refused where the driver below aiosqlite begins by itself."""
    awaited = create_async_engine(f"sqlite+aiosqlite:///{file}", connect_args={"autocommit": False})
    aio = AsyncSqlStore.from_url(f"sqlite:///{file}")
    async with awaited.connect() as connection:
        async with connection.begin_nested():
            assert (await aio.on(connection).take(claims())).outcome is TakeOutcome.TAKEN
        await connection.rollback()
    assert used(store) == (0, 0)
    await awaited.dispose()
    await aio.close()
