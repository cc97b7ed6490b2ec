"""What a store is made of, and what `on()` takes: for anything else there is an error that says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError


@pytest.fixture
def url(sqlite_template: Path) -> str:
    """A file that is only looked at."""
    return f"sqlite:///{sqlite_template}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The host's engine."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def awaited(engine: Engine) -> AsyncEngine:
    """An engine of the host's that is awaited; it never connects."""
    return AsyncEngine(create_engine("sqlite+aiosqlite://"))


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """The kit's store in the same file."""
    store = SqlStore.from_url(url)
    yield store
    store.close()


def test_what_is_no_engine_is_refused(url: str, engine: Engine, awaited: AsyncEngine) -> None:
    """A store is made over the engine of its kind; all else is told where it goes, before anything is asked of it."""
    sync: Any = SqlStore
    aio: Any = AsyncSqlStore
    for make, wanted, wrong in (
        (sync, "Engine", (awaited, url, engine.url, sessionmaker(engine), None)),
        (aio, "AsyncEngine", (engine, url, async_sessionmaker(awaited), None)),
    ):
        for one in wrong:
            message = rf"made over an? {wanted}, not {type(one).__name__}: .*from_url.*SqlStore.*AsyncSqlStore"
            with pytest.raises(ConfigurationError, match=message):
                make(one)


def test_what_is_no_connection_is_refused(store: SqlStore, engine: Engine, awaited: AsyncEngine) -> None:
    """An engine, a maker of sessions, a URL and whatever is awaited are refused by name, with what to pass."""
    wrong: list[Any] = [engine, sessionmaker(engine), scoped_session(sessionmaker(engine)), "sqlite://", None]
    wrong += [awaited, AsyncConnection(awaited), AsyncSession(awaited), async_sessionmaker(awaited)]
    for one in wrong:
        message = rf"on\(\) takes the Connection or Session .*, not {type(one).__name__}: .*AsyncSqlStore"
        with pytest.raises(ConfigurationError, match=message):
            store.on(one)


@pytest.mark.anyio
async def test_what_is_not_awaited_is_refused(url: str, engine: Engine, awaited: AsyncEngine) -> None:
    """The awaited store refuses what is not awaited, and engines and makers alike."""
    store = AsyncSqlStore.from_url(url)
    with Session(engine) as session, engine.connect() as connection:
        wrong: list[Any] = [session, connection, awaited, async_sessionmaker(awaited), None]
        for one in wrong:
            message = rf"on\(\) takes the AsyncConnection or AsyncSession .*, not {type(one).__name__}: .*SqlStore"
            with pytest.raises(ConfigurationError, match=message):
                store.on(one)
    await store.close()


@pytest.mark.anyio
async def test_a_session_without_an_engine_is_refused(store: SqlStore, url: str) -> None:
    """A session that was made without an engine is told to have one, with SQLAlchemy's own words as the cause."""
    with pytest.raises(ConfigurationError, match=r"Session\(engine\)") as caught:
        store.on(Session())
    assert isinstance(caught.value.__cause__, UnboundExecutionError)
    other = AsyncSqlStore.from_url(url)
    with pytest.raises(ConfigurationError, match=r"AsyncSession\(engine\)"):
        other.on(AsyncSession())
    await other.close()


@pytest.mark.anyio
async def test_an_open_one_is_taken(store: SqlStore, url: str, engine: Engine, awaited: AsyncEngine) -> None:
    """Connections and sessions are taken, of subclasses too, and nothing is opened by taking them."""

    class Ours(Session):
        """A session class of the host's."""

    with engine.connect() as connection, Session(engine) as session, Ours(engine) as ours:
        for one in (connection, session, ours):
            store.on(one)
        assert not session.in_transaction()
    other = AsyncSqlStore.from_url(url)
    async with AsyncSession(awaited) as awaited_session:
        other.on(awaited_session)
        other.on(AsyncConnection(awaited))
    await other.close()
