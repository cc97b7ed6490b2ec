"""Where each statement is committed by itself a verb could end half done: the stores refuse that and say what to do."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Session

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

DRIVERS = {"sqlite": {"isolation_level": None}, "postgresql": {"autocommit": True}}
LEVELS = {"sqlite": "SERIALIZABLE", "postgresql": "READ COMMITTED"}

callback = conformance.SubscriptionStoreTests().test_the_callback_is_part_of_the_write


Engines = tuple[Engine, Engine]
"""One without transactions, and what the message tells to use in its place."""


def made_so(url: str) -> Engines:
    """As one reads in SQLAlchemy's handbook."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    return engine, engine.execution_options(isolation_level=level(url))


def told_so(url: str) -> Engines:
    """The same pool for code of both kinds."""
    engine = create_engine(url)
    return engine.execution_options(isolation_level="AUTOCOMMIT"), engine


def told_again(url: str) -> Engines:
    """SQLAlchemy goes by what was said first, and says what was said last."""
    engine = create_engine(url)
    first = engine.execution_options(isolation_level="AUTOCOMMIT")
    return first.execution_options(isolation_level=level(url)), engine


def by_the_driver(url: str) -> Engines:
    """Past SQLAlchemy, which does not know."""
    engine = create_engine(url, connect_args=DRIVERS[url.partition(":")[0]])
    return engine, engine.execution_options(isolation_level=level(url))


def level(url: str) -> str:
    """The level of transactions that the message names."""
    return LEVELS[url.partition(":")[0]]


def awaited(url: str, **options: Any) -> AsyncEngine:
    """An engine for code that awaits."""
    return create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"), **options)


@pytest.fixture
def kits(url: str) -> Iterator[SqlStore]:
    """The kit's own store on the database, with counters."""
    with closing(SqlStore.from_url(url)) as store:
        seed(store)
        yield store


@pytest.mark.parametrize("make", [made_so, told_so])
def test_an_engine_that_says_so(url: str, make: Callable[[str], Engines]) -> None:
    """No store is made over it, and one is over what the message tells to use."""
    engine, other = make(url)
    with pytest.raises(ConfigurationError, match=rf"execution_options\(isolation_level=\"{level(url)}\""):
        SqlStore(engine)
    with closing(SqlStore(other)) as store:
        callback(store)


def test_an_awaited_engine_that_says_so(url: str) -> None:
    """Nor is a store that is awaited."""
    engine = awaited(url, isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigurationError, match=level(url)):
        AsyncSqlStore(engine)
    AsyncSqlStore(engine.execution_options(isolation_level=level(url)))


@pytest.mark.parametrize("make", [told_again, by_the_driver])
def test_an_engine_that_does_not_say_so(url: str, make: Callable[[str], Engines]) -> None:
    """It shows with the first write, before anything was written."""
    engine, other = make(url)
    with closing(SqlStore(engine)) as store, pytest.raises(ConfigurationError, match=level(url)):
        store.put_subscription(ROW, expected_version=0)
    with closing(SqlStore(other)) as store:
        assert store.load_subscription(ROW.subscription_id).version == 0
        callback(store)


@pytest.mark.anyio
async def test_an_awaited_engine_that_does_not_say_so(url: str, kits: SqlStore) -> None:
    """Nor is anything where the store is awaited; a take is one statement, and right in any case."""
    store = AsyncSqlStore(awaited(url, connect_args=DRIVERS[url.partition(":")[0]]))
    with pytest.raises(ConfigurationError):
        await store.put_usage("acme", "maxProjects", 3)
    assert (await store.take(claims())).outcome is TakeOutcome.TAKEN
    await store.close()
    assert used(kits) == (1, 1)


@pytest.mark.parametrize("kind", [Connection, Session])
@pytest.mark.parametrize("make", [made_so, told_so, told_again, by_the_driver])
def test_a_connection_of_the_hosts(url: str, kits: SqlStore, make: Callable[[str], Engines], kind: type) -> None:
    """Where the host has no transaction no verb writes into it; over what the message tells to use it does."""
    engine, other = make(url)
    with kind(engine) as found:
        with pytest.raises(ConfigurationError, match=level(url)):
            kits.on(found).take(claims(), key="one")
        found.rollback()
    assert used(kits) == (0, 0)
    with kind(other) as found:
        assert kits.on(found).take(claims()).outcome is TakeOutcome.TAKEN
        found.rollback()
        assert kits.on(found).take(claims(2)).outcome is TakeOutcome.TAKEN
        found.commit()
    assert used(kits) == (2, 2)
    engine.dispose()


@pytest.mark.anyio
async def test_an_awaited_connection_of_the_hosts(url: str, kits: SqlStore) -> None:
    """Neither does one that is awaited."""
    engine = awaited(url)
    store = AsyncSqlStore.from_url(url)
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(ConfigurationError):
            await store.on(connection).take(claims())
    await engine.dispose()
    await store.close()
    assert used(kits) == (0, 0)
