"""The Redis store against the suite of its ports, on a real server."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from importlib import import_module
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from tests.conftest import why_no_redis
from tests.kit.world import make_world

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import AsyncRedisStore, MemoryStore, RedisStore
from kuploy_saas_kit.adapters.redis import scripts
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, LimitValue
from kuploy_saas_kit.plans.ports import Claim, GivenBack, MeterEntry
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.crew import Opener
from kuploy_saas_kit.testing.conformance.stateful import usage_machine
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed
from kuploy_saas_kit.testing.servers import RedisServer

if reason := why_no_redis():
    pytest.skip(reason, allow_module_level=True)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A real server for this file."""
    with RedisServer() as server:
        yield server


Step = Callable[[], object]


def stepped(url: str, step: Step) -> RedisStore:
    """A store that tells before each request."""
    store = RedisStore.from_url(url)
    send = store._sent
    store._sent = lambda asked: (step(), send(asked))[1]  # type: ignore[method-assign]
    return store


def stepped_awaited(url: str, step: Step) -> FromThreads:
    """The same, awaited."""

    def make() -> AsyncRedisStore:
        store = AsyncRedisStore.from_url(url)
        send = store._sent

        async def sent(asked: Any) -> Any:
            step()
            return await send(asked)

        store._sent = sent  # type: ignore[method-assign]
        return store

    return FromThreads(make)


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

    @pytest.fixture
    def stepping(self, server: RedisServer) -> Callable[[Step], RedisStore]:
        return partial(stepped, server.url)


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

    @pytest.fixture
    def reopen(self, server: RedisServer) -> Opener:
        return partial(FromThreads, partial(AsyncRedisStore.from_url, server.url))

    @pytest.fixture
    def stepping(self, server: RedisServer) -> Callable[[Step], FromThreads]:
        return partial(stepped_awaited, server.url)


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


def called(url: str, clock: ManualClock) -> RedisStore:
    """An empty store."""
    store = RedisStore.from_url(url, clock=clock)
    store.erase()
    return store


def awaited(url: str, clock: ManualClock) -> FromThreads:
    """An empty store that is awaited."""
    with closing(called(url, clock)):
        return FromThreads(partial(AsyncRedisStore.from_url, url, clock=clock)).__enter__()


@pytest.mark.parametrize("make", [called, awaited])
def test_random_histories(server: RedisServer, make: Callable[[str, ManualClock], Any]) -> None:
    """Whatever is done to it in whatever order, the Redis store answers as the memory store does."""
    brief = settings(max_examples=12, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(usage_machine(partial(make, server.url)), settings=brief)


AT_THE_EDGES = st.sampled_from([0, 1, 10**15 - 1, 10**15, 2**53 - 1, 2**53, 2**53 + 1, MAX_LIMIT - 1, MAX_LIMIT])


@given(AT_THE_EDGES, AT_THE_EDGES, AT_THE_EDGES | st.just(UNLIMITED))
def test_numbers_of_64_bits(server: RedisServer, used: int, amount: int, cap: LimitValue) -> None:
    """What fits and what is used is exact where Lua's own numbers are not."""
    claimed = [Claim("acme", "maxStorageBytes", amount, cap), Claim("", "maxStorageBytes", amount, UNLIMITED)]
    oracle = MemoryStore()
    with closing(called(server.url, ManualClock(NOW))) as store:
        for each in (store, oracle):
            for claim in claimed:
                each.seed_usage(claim.counter, used)
        assert store.take(claimed) == oracle.take(claimed)
        assert store.usage_of("acme") == oracle.usage_of("acme")
        assert store.give_back({("acme", "maxStorageBytes"): 3}) == oracle.give_back({("acme", "maxStorageBytes"): 3})


def test_sums_beyond_64_bits(server: RedisServer) -> None:
    """A sum that cannot be counted is an error, and leaves all counters and meters as they were."""
    with closing(called(server.url, ManualClock(NOW))) as store:
        store.put_usage("acme", "maxStorageBytes", MAX_LIMIT)
        for _ in range(2):
            with pytest.raises(StorageError):
                store.put_usage("umbrella", "maxStorageBytes", 1)
        assert store.put_usage("acme", "maxStorageBytes", MAX_LIMIT).instance == MAX_LIMIT
        assert store.usage_of("umbrella") == {}
        store.seed_usage(("acme", "other"), MAX_LIMIT)
        store.seed_usage(("umbrella", "other"), 1)
        with pytest.raises(StorageError):
            store.put_usage("third", "other", 1)
        assert store.usage_of("") == {"maxStorageBytes": MAX_LIMIT}

        store.add_meter("e1", [MeterEntry("", "build", NOW, MAX_LIMIT)])
        both = [MeterEntry("acme", "build", NOW, 1), MeterEntry("", "build", NOW, 1)]
        with pytest.raises(StorageError):
            store.add_meter("e2", both)
        assert (store.meter_total("acme", "build", NOW), store.meter_total("", "build", NOW)) == (0, MAX_LIMIT)
        assert store.add_meter("e2", both[:1]).is_new


BEYOND = [("usage_of", "x" * 30), ("take", "x" * 30), ("take", "1.5"), ("give_back", "many"), ("meter_total", "x")]


@pytest.mark.parametrize("make", [called, awaited])
@pytest.mark.parametrize(("verb", "value"), BEYOND)
def test_what_is_no_number(server: RedisServer, make: Callable[[str, ManualClock], Any], verb: str, value: str) -> None:
    """Where something else wrote into a counter, the error names the key; once that is deleted, it is counted again."""
    verbs: dict[str, Callable[[], object]] = {
        "usage_of": lambda: store.usage_of("acme"),
        "take": lambda: store.take(claims()),
        "give_back": lambda: store.give_back({("acme", "maxProjects"): 1}),
        "meter_total": lambda: store.meter_total("acme", "build", NOW),
    }
    with closing(called(server.url, ManualClock(NOW))) as direct, closing(make(server.url, ManualClock(NOW))) as store:
        seed(direct)
        direct.add_meter("e1", [MeterEntry("acme", "build", NOW, 5)])
        key = "{kuploy-saas-kit}:" + ("meters" if verb == "meter_total" else "used:acme")
        (field,) = direct._client.hkeys(key)
        direct._client.hset(key, field, value)
        with pytest.raises(StorageError, match=f"Redis holds in .*{key} .*what the kit did not write"):
            verbs[verb]()
        direct._client.hdel(key, field)
        seed(direct)
        verbs[verb]()


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("value", ["1.5", "10x", "many"])
def test_a_second_counter_that_is_no_number(server: RedisServer, value: str, key: str | None) -> None:
    """Where only the last counter of a take is unreadable, the first one is as it was before."""
    with closing(called(server.url, ManualClock(NOW))) as store:
        seed(store)
        store._client.hset("{kuploy-saas-kit}:used:", "maxProjects", value)
        with pytest.raises(StorageError, match="what the kit did not write"):
            store.take([Claim("acme", "maxProjects", 1, MAX_LIMIT), Claim("", "maxProjects", 1, MAX_LIMIT)], key=key)
        assert store.usage_of("acme") == {"maxProjects": 0}


def fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have scripts return two expired holdings in one go."""
    usual = f"at_once = {scripts.SWEPT_AT_ONCE}"
    for name in ("TAKE", "SWEEP"):
        text = getattr(scripts, name).text.decode()
        assert usual in text
        monkeypatch.setattr(scripts, name, scripts.Script(text.replace(usual, "at_once = 2")))


@pytest.mark.parametrize("make", [stepped, stepped_awaited])
def test_more_expired_than_is_returned_in_one_go(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, make: Callable[[str, Step], Any]
) -> None:
    """Nobody waits for a server that returns all of it in one go: a sweep goes on, and a take is asked again."""
    fewer_at_once(monkeypatch)
    with ExitStack() as exits:
        direct = exits.enter_context(closing(RedisStore.from_url(server.url)))
        left: list[int] = []
        made = make(server.url, lambda: left.append(direct._client.zcard(direct._asking._expiry)))
        store = exits.enter_context(made if isinstance(made, FromThreads) else closing(made))

        def expired() -> None:
            left.clear()
            direct.erase()
            seed(direct)
            for number in range(7):
                direct.take(claims(1, 9, 9), key=str(number), ttl=timedelta(microseconds=1))

        expired()
        both = {("acme", "maxProjects"): 7, ("", "maxProjects"): 7}
        assert store.sweep_holdings() == GivenBack(dict.fromkeys(both, 0), both, {})
        assert left == [7, 5, 3, 1]

        expired()
        assert store.take(claims(9, 9, 9)).outcome == "taken"
        assert left == [7, 5, 3, 1]

        expired()
        assert store.take(claims(9, 9, 9), key="6").outcome == "taken"
        assert left == [7, 2]

        expired()
        assert store.take(claims(1, 9, 9), key="6").used == {("acme", "maxProjects"): 5, ("", "maxProjects"): 5}
        store.sweep_holdings()
        assert store.usage_of("acme") == {"maxProjects": 1}
        assert store.take(claims(9, 9, 9)).outcome == "refused"


def test_holdings_that_were_evicted(server: RedisServer) -> None:
    """When they would expire nothing is returned, and nothing is left to look through again."""
    clock = ManualClock(NOW)
    with closing(called(server.url, clock)) as store:
        seed(store)
        store.take(claims(), key="k", ttl=MINUTE)
        store._client.delete(store._asking._holdings)
        clock.advance(MINUTE)
        assert store.sweep_holdings().returned == {}
        assert not store._client.exists(store._asking._expiry)


def test_a_server_that_forgot_the_scripts(server: RedisServer) -> None:
    """After a failover the server has never seen them: they are sent again, and the verb is done once."""
    with closing(called(server.url, ManualClock(NOW))) as store:
        seed(store)
        store._client.script_flush()
        assert store.take(claims()).used["acme", "maxProjects"] == 1
        assert store._client.script_exists(scripts.TAKE.digest.decode()) == [True]


@pytest.mark.anyio
async def test_scripts_that_are_awaited(server: RedisServer) -> None:
    """The same for code that awaits."""
    with closing(called(server.url, ManualClock(NOW))) as store:
        seed(store)
        store._client.script_flush()
        aio = store.async_store()
        assert (await aio.take(claims())).used["acme", "maxProjects"] == 1
        assert store.async_store() is aio
        await aio.close()


@pytest.mark.anyio
async def test_a_kit_that_awaits(server: RedisServer) -> None:
    """The kit's awaited gate counts where the other one does."""
    with closing(called(server.url, ManualClock(NOW))) as store, make_world() as world:
        kit = world.kit(usage_store=store)
        kit.run_once()
        kit.gate.assign("acme", "pro", actor="admin", reason="comp")
        assert kit.gate.acquire("acme", "maxProjects").used == 1
        assert (await kit.async_gate.acquire("acme", "maxProjects")).used == 2
        assert store.usage_of("acme") == {"maxProjects": 2}
        await store.async_store().close()


@pytest.mark.anyio
async def test_a_request_that_is_cancelled(server: RedisServer) -> None:
    """Its answer, which still comes, is not taken for that of the next verb."""
    with closing(called(server.url, ManualClock(NOW))) as store:
        seed(store, org_value=7)
        aio = store.async_store()
        await aio.usage_of("acme")
        store._client.client_pause(60_000, all=False)
        task = asyncio.create_task(aio.take(claims(cap=9)))
        while not store._client.info("clients")["blocked_clients"]:
            await asyncio.to_thread(Event().wait, 0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        store._client.client_unpause()
        assert await aio.usage_of("umbrella") == {"maxProjects": 0}
        await aio.close()


def test_a_client_of_the_hosts(server: RedisServer) -> None:
    """A store over a client answers the same in the newer protocol, and says what it lacks."""
    from redis import Redis  # noqa: PLC0415 - where it is missing these tests are skipped

    with closing(RedisStore(Redis.from_url(server.url, decode_responses=True, protocol=3))) as store:
        store.erase()
        seed(store, org_value=2)
        assert store.usage_of("acme") == {"maxProjects": 2}
        assert store.take(claims()).used["acme", "maxProjects"] == 3
        assert store.load_license() is None
        with pytest.raises(ConfigurationError, match="AsyncRedisStore"):
            store.async_store()


def test_a_client_that_answers_with_bytes(server: RedisServer) -> None:
    """A client without `decode_responses`, as clients are unless they are told, is a mistake of wiring."""
    import redis  # noqa: PLC0415 - where it is missing these tests are skipped

    with pytest.raises(ConfigurationError, match="decode_responses=True"):
        RedisStore(redis.Redis.from_url(server.url))
    with pytest.raises(ConfigurationError, match="decode_responses=True"):
        AsyncRedisStore(redis.asyncio.Redis.from_url(server.url))


@pytest.mark.parametrize("prefix", ["", "}kit"])
@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_prefix_without_a_hash_tag(kind: type[RedisStore], prefix: str) -> None:
    """Under such a prefix a cluster would keep the keys of one take on several nodes."""
    with pytest.raises(ConfigurationError, match="hash tag"):
        kind.from_url("redis://localhost", prefix=prefix)


def test_without_the_client_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, with what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.retry", None)
    with pytest.raises(ConfigurationError, match=r"kuploy-saas-kit\[redis\]"):
        RedisStore.from_url("redis://localhost")


@pytest.mark.parametrize("url", ["http://localhost", "", "redis://user:pa/ss@localhost", "redis://localhost?db=x"])
@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_what_is_no_url(kind: type[RedisStore], url: str) -> None:
    """A URL that will not do is a mistake of wiring, and no part of it is shown."""
    with pytest.raises(ConfigurationError, match="redis://host/0") as caught:
        kind.from_url(url)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_an_option_that_does_not_exist(kind: type[RedisStore], scheme: str) -> None:
    """It is named when the store is made, and nothing else of the URL is."""
    with pytest.raises(ConfigurationError, match="no option 'sslmode'") as caught:
        kind.from_url(f"{scheme}://user:secret@localhost/0?sslmode=require")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "module"),
    [(RedisStore, "redis.asyncio"), (AsyncRedisStore, "redis"), (RedisStore, None), (AsyncRedisStore, None)],
)
def test_what_is_no_client_for_it(kind: type[RedisStore], module: str | None) -> None:
    """A URL, and a client of the other kind, are refused when the store is made."""
    wrong = import_module(module).Redis(decode_responses=True) if module else "redis://localhost"
    with pytest.raises(ConfigurationError, match=r"a URL goes to from_url\(\), a client of redis to RedisStore"):
        kind(wrong)


@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_url_that_is_not_set(kind: type[RedisStore]) -> None:
    """What an environment without the variable gives is named as what it is."""
    unset: Any = None
    with pytest.raises(ConfigurationError, match="a Redis URL is text, and not NoneType: is the variable set"):
        kind.from_url(unset)


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
