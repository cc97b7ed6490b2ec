"""The connections of a Redis store: how many there are, who waits for one, and whose they are after a fork."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Event

import pytest
from tests.conftest import why_no_redis

from kuploy_saas_kit.adapters import AsyncRedisStore, RedisStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed
from kuploy_saas_kit.testing.servers import RedisServer

if reason := why_no_redis():
    pytest.skip(reason, allow_module_level=True)

CONNECTIONS = 50
"""What a store opens at most for code that awaits."""

MANY = 4 * CONNECTIONS


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A real server for this file."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    """A store with counters at 0."""
    with closing(RedisStore.from_url(server.url)) as store:
        store.erase()
        seed(store)
        yield store


def test_many_threads(store: RedisStore, server: RedisServer) -> None:
    """Each of many threads that ask at the same time has a connection of its own."""
    patient = f"{server.url}?socket_timeout=60&socket_connect_timeout=60"
    with closing(RedisStore.from_url(patient)) as busy, ThreadPoolExecutor(MANY) as threads:
        store._client.client_pause(60_000, all=False)
        takes = [threads.submit(busy.take, claims(1, MANY, MANY)) for _ in range(MANY)]
        while store._client.info("clients")["blocked_clients"] + sum(take.done() for take in takes) < MANY:
            Event().wait(0.01)
        store._client.client_unpause()
        assert {take.result().outcome for take in takes} == {TakeOutcome.TAKEN}


def opened(store: RedisStore) -> int:
    """How many connections the server has seen, from its start."""
    return int(store._client.info("stats")["total_connections_received"])


@pytest.fixture
def _takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in vain where a machine is slow."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.redis.client._WAIT_SECONDS", 100)


@pytest.mark.anyio
@pytest.mark.usefixtures("_takes_its_time")
async def test_more_tasks_than_connections(store: RedisStore, server: RedisServer) -> None:
    """Code that awaits and finds all connections in use waits for one, also with a client of the host's."""
    from redis.asyncio import Redis  # noqa: PLC0415 - where it is missing these tests are skipped

    before = opened(store)
    for aio in (
        store.async_store(),
        AsyncRedisStore(Redis.from_url(server.url, decode_responses=True, max_connections=3)),
    ):
        await asyncio.gather(*(aio.take(claims(1, 2 * MANY, 2 * MANY)) for _ in range(MANY)))
        await aio.close()
    assert store.usage_of("acme") == {"maxProjects": 2 * MANY}
    assert opened(store) - before <= CONNECTIONS + 3


@pytest.mark.anyio
async def test_a_pool_that_waits(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of the host's that waits by itself does so as long as the host said."""
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - where it is missing these are skipped

    monkeypatch.setattr("kuploy_saas_kit.adapters.redis.client._WAIT_SECONDS", 0)
    pool = BlockingConnectionPool.from_url(server.url, decode_responses=True, max_connections=3, timeout=None)
    aio = AsyncRedisStore(Redis.from_pool(pool))
    await asyncio.gather(*(aio.usage_of("acme") for _ in range(MANY)))
    await aio.close()


@pytest.mark.usefixtures("_takes_its_time")
def test_one_store_in_two_event_loops(store: RedisStore) -> None:
    """Once it was closed in the first, a store is used in the next one, where its callers wait again."""
    aio = store.async_store()

    async def many() -> None:
        await asyncio.gather(*(aio.usage_of("acme") for _ in range(MANY)))
        await aio.close()

    asyncio.run(many())
    asyncio.run(many())


OF_ONE = "?max_connections=1"
WHY = "not asked: all connections are in use.*max_connections.*Nothing was done"


def waiting(url: str) -> RedisStore:
    """A store over a client of the host's that waits for a connection, for a moment."""
    from redis import BlockingConnectionPool, Redis  # noqa: PLC0415 - where it is missing these tests are skipped

    pool = BlockingConnectionPool.from_url(url, decode_responses=True, max_connections=1, timeout=0.01)
    return RedisStore(Redis.from_pool(pool))


@pytest.mark.parametrize("make", [lambda url: RedisStore.from_url(url + OF_ONE), waiting])
def test_all_connections_in_use(store: RedisStore, server: RedisServer, make: Callable[[str], RedisStore]) -> None:
    """A pool that has no connection left is no trouble of the server's, and the error does not say so."""
    with closing(make(server.url)) as busy:
        pool = busy._client.connection_pool
        connection = pool.get_connection()
        with pytest.raises(StorageError, match=WHY):
            busy.take(claims())
        pool.release(connection)
        assert busy.take(claims(cap=9)).outcome == "taken"


@pytest.mark.anyio
async def test_awaiting_in_vain(store: RedisStore, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for code that has waited long enough."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.redis.client._WAIT_SECONDS", 0.01)
    aio = AsyncRedisStore.from_url(server.url + OF_ONE)
    await aio.usage_of("acme")
    store._client.client_pause(60_000, all=False)
    slow = asyncio.create_task(aio.take(claims()))
    with pytest.raises(StorageError, match=WHY):
        await asyncio.gather(*(aio.usage_of("acme") for _ in range(2)))
    store._client.client_unpause()
    assert (await slow).outcome == "taken"
    assert await aio.usage_of("acme") == {"maxProjects": 1}
    await aio.close()


@pytest.mark.anyio
async def test_what_is_left_to_the_parent(store: RedisStore, server: RedisServer) -> None:
    """Whoever is told of a fork leaves what is open as it is, and opens its own."""
    aio = AsyncRedisStore.from_url(server.url)
    await aio.usage_of("acme")
    before = opened(store)
    aio.after_fork()
    await aio.usage_of("acme")
    assert opened(store) - before == 1
    await aio.close()
    (left,) = aio._left
    (connection,) = left._get_free_connections()  # type: ignore[attr-defined]
    assert connection.is_connected
    await left.disconnect()  # type: ignore[attr-defined]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_shares_no_connection(store: RedisStore, server: RedisServer) -> None:
    """A child awaits on connections of its own, and the parent's go on to be heard, also when the child cleans up."""

    async def take() -> bool:
        gc.collect()
        return (await aio.take(claims(1, 9, 9))).outcome is TakeOutcome.TAKEN

    with FromThreads(partial(AsyncRedisStore.from_url, server.url)) as parent:
        aio = parent._store
        parent.take(claims(1, 9, 9))
        child = os.fork()
        if child == 0:  # pragma: no cover - it ends here, and coverage with it
            signal.alarm(60)
            os._exit(0 if asyncio.run(take()) else 1)
        assert os.waitpid(child, 0)[1] == 0
        parent.take(claims(1, 9, 9))
    assert store.usage_of("acme") == {"maxProjects": 3}
