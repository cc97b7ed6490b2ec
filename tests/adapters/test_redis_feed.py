"""The change feed in Redis, for hosts whose standings are in tables of their own."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from threading import Event

import pytest
from tests.conftest import why_no_redis
from tests.kit.world import make_world

from kuploy_saas_kit.adapters import MemoryStore, RedisStore
from kuploy_saas_kit.adapters.redis import feed, listening, scripts
from kuploy_saas_kit.adapters.redis.feed import LOOK_AT_ALL
from kuploy_saas_kit.adapters.redis.listening import ChangeListener
from kuploy_saas_kit.plans.ports import ChangeSignal, Everyone
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.crew import Opener
from kuploy_saas_kit.testing.servers import RedisServer

if reason := why_no_redis():
    pytest.skip(reason, allow_module_level=True)

from tests.adapters.test_redis_dies import Durable

PATIENCE = 60
"""Seconds after which something that should happen at once has not."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A real server for this file."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    """The clock that `store` goes by."""
    return ManualClock(NOW)


@pytest.fixture
def store(server: RedisServer, clock: ManualClock) -> Iterator[RedisStore]:
    """A new store on the server."""
    with closing(RedisStore.from_url(server.url, clock=clock)) as store:
        store.erase()
        yield store


class Host(MemoryStore):
    """A host's own tables, of which Redis tells other processes that they changed."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._redis = RedisStore.from_url(url)
        self.changes = self._redis.changes  # type: ignore[method-assign]
        self.watch_changes = self._redis.watch_changes
        self.close = self._redis.close  # type: ignore[method-assign]

    def _changed(self, org_id: str | None) -> None:
        super()._changed(org_id)
        self._redis.publish_change(org_id)


class TestFeed(conformance.ChangeFeedTests):
    @pytest.fixture
    def store(self, server: RedisServer) -> Iterator[Host]:
        with closing(Host(server.url)) as store:
            store._redis.erase()
            yield store

    @pytest.fixture
    def reopen(self, server: RedisServer) -> Opener:
        return partial(Host, server.url)


def test_a_feed_that_was_lost(store: RedisStore) -> None:
    """After everything was flushed every reader looks at everyone, and goes on from there."""
    store.publish_change("acme")
    cursor = store.changes(None).cursor
    store.erase()
    store.publish_change("umbrella")
    lost = store.changes(cursor)
    assert lost.org_ids is Everyone.ALL
    store.publish_change("acme")
    assert store.changes(lost.cursor).org_ids == frozenset({"acme"})


@pytest.mark.parametrize(
    ("evicted", "told"), [("feed", Everyone.ALL), ("feed_log", Everyone.ALL), ("other", frozenset({"acme"}))]
)
def test_a_part_that_was_evicted(store: RedisStore, evicted: str, told: object) -> None:
    """A server that lacks memory may drop one key of the feed: whoever would miss something looks at everyone."""
    cursor = store.changes(None).cursor
    store.publish_change("acme")
    store._client.delete(store._asking._key(evicted))
    news = store.changes(cursor)
    assert news.org_ids == told
    store.publish_change("umbrella")
    assert store.changes(news.cursor).org_ids == frozenset({"umbrella"})


def test_a_reader_far_behind(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is bounded; whoever is further behind than it reaches looks at everyone."""
    monkeypatch.setattr(feed, "KEPT_CHANGES", 3)
    cursor = store.changes(None).cursor
    for org_id in ("a", "b", "c"):
        store.publish_change(org_id)
    assert store.changes(cursor).org_ids == frozenset({"a", "b", "c"})
    store.publish_change("d")
    assert store.changes(cursor).org_ids is Everyone.ALL
    assert store._client.llen(store._asking._key("feed_log")) == 3


def test_a_server_that_was_started_again() -> None:
    """Another run of the server may have lost the last changes of the one before: every reader looks at everyone."""
    with Durable() as server, closing(RedisStore.from_url(server.url)) as store:
        store.publish_change("acme")
        cursor = store.changes(None).cursor
        server.kill()
        server.start()
        assert int(store._client.hget(store._asking._key("feed"), "end")) == 1
        news = store.changes(cursor)
        assert news.org_ids is Everyone.ALL
        assert store.changes(news.cursor).org_ids == frozenset()


def without_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server's `INFO` lack what tells its runs apart."""
    told, asked = scripts.CHANGES.text.decode(), "redis.call('INFO', 'server')"
    assert asked in told
    monkeypatch.setattr(scripts, "CHANGES", scripts.Script(told.replace(asked, "'redis_version:7.2'")))


def test_a_server_that_names_no_run(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compatible server whose `INFO` lacks `run_id` has a feed all the same."""
    without_a_run(monkeypatch)
    cursor = store.changes(None).cursor
    store.publish_change("acme")
    assert store.changes(cursor).org_ids == frozenset({"acme"})


def test_a_failover_that_nothing_tells(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has read further than a server that took over, and names no run of its own, looks at everyone."""
    without_a_run(monkeypatch)
    store.publish_change("acme")
    store.publish_change("acme")
    ahead = store.changes(None).cursor
    store._client.hincrby(store._asking._key("feed"), "end", -1)
    store._client.rpop(store._asking._key("feed_log"))
    news = store.changes(ahead)
    assert news.org_ids is Everyone.ALL
    assert store.changes(news.cursor).org_ids == frozenset()


def test_everyone_is_looked_at_now_and_then(store: RedisStore, clock: ManualClock) -> None:
    """A change that was committed and never announced is seen all the same, ten minutes later at most."""
    cursor = store.changes(None).cursor
    clock.advance(LOOK_AT_ALL - MINUTE)
    assert store.changes(cursor).org_ids == frozenset()
    clock.advance(MINUTE)
    assert store.changes(cursor).org_ids is Everyone.ALL
    cursor = store.changes(cursor).cursor
    clock.jump(-MINUTE)  # a clock that is set back
    assert store.changes(cursor).org_ids is Everyone.ALL


def test_who_waits_is_woken(store: RedisStore) -> None:
    """A change wakes whoever watches, once at the start too, until it is stopped."""
    woken = Event()
    watch = store.watch_changes(woken.set)
    assert woken.wait(PATIENCE)
    woken.clear()
    store.publish_change("acme")
    assert woken.wait(PATIENCE)
    watch.stop()
    channel = store._asking.channel
    while store._client.pubsub_numsub(channel) != [(channel.decode(), 0)]:
        Event().wait(0.01)  # until the server has seen it leave


def test_one_look_for_all_that_was_said(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many changes wake once, and silence never; a moment passes before the next call."""
    monkeypatch.setattr(listening, "_LISTEN_SECONDS", 0.01)
    calls: list[None] = []
    listener = ChangeListener(store._client, store._asking.channel, lambda: calls.append(None))
    listener.stop()  # before it began
    assert (listener._listen(), len(calls)) == (listening._AFTER_A_WORD, 1)
    for org_id in ("a", "b", "c"):
        store.publish_change(org_id)
    assert (listener._listen(), len(calls)) == (listening._AFTER_A_WORD, 2)
    assert (listener._listen(), len(calls)) == (timedelta(), 2)
    listener.stop()


def test_a_subscription_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server is away nothing is raised; when it is back the watcher is woken for what it may have missed."""
    monkeypatch.setattr(listening, "_AFTER_A_LOSS", MINUTE / 600)
    with RedisServer() as server, closing(RedisStore.from_url(server.url)) as store:
        woken = Event()
        watch = store.watch_changes(woken.set)
        assert woken.wait(PATIENCE)
        server.kill()
        woken.clear()
        server.start()
        assert woken.wait(PATIENCE)
        woken.clear()
        store.publish_change("acme")
        assert woken.wait(PATIENCE)
        watch.stop()


def test_a_kit_over_a_feed_in_redis(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process commits and announces is dropped from memory here; the kit watches while it is started."""
    host = Host(server.url)
    assert isinstance(host, ChangeSignal)
    with closing(host), make_world(host) as world:
        kit, seen = world.kit(), {"acme": Event()}
        with kit:
            while kit._cursor is None:
                Event().wait(0.01)  # until it has looked at everyone
            monkeypatch.setattr(kit.gate, "forget", lambda org_id: seen[org_id].set())
            with closing(RedisStore.from_url(server.url)) as other:
                # A change of everyone at the same moment, as the kit's own first run makes one, hides that of one org.
                for _ in range(PATIENCE):
                    other.publish_change("acme")
                    if seen["acme"].wait(1):
                        break
            assert seen["acme"].is_set()
            assert kit._watch is not None
        assert kit._watch is None


@pytest.mark.anyio
async def test_a_request_that_announces(store: RedisStore) -> None:
    """Code that awaits enters a change as code that does not."""
    cursor = store.changes(None).cursor
    aio = store.async_store()
    await aio.publish_change("acme")
    assert store.changes(cursor).org_ids == frozenset({"acme"})
    await aio.publish_change(None)
    await aio.close()
    assert store.changes(cursor).org_ids is Everyone.ALL
