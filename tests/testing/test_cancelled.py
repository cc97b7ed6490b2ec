"""A request that is cancelled: what async stores must do then, on real servers, and those that do not."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from datetime import timedelta
from threading import Lock
from typing import Any

import pytest
from tests.conftest import why_no_postgres, why_no_redis

from kuploy_saas_kit.adapters import AsyncRedisStore, AsyncSqlStore, MemoryStore, SqlStore
from kuploy_saas_kit.plans.ports import Claim, CounterKey, GivenBack, Taken, TakeOutcome
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance import (
    AnnouncementStoreTests,
    CancelledTests,
    FromThreads,
    HoldingStoreTests,
    UsageStoreTests,
)
from kuploy_saas_kit.testing.conformance.base import NOW, race
from kuploy_saas_kit.testing.conformance.crashes import Deed, Steps, _cancel, _check, _each_step
from kuploy_saas_kit.testing.conformance.usage import _take_pair
from kuploy_saas_kit.testing.servers import RedisServer, postgres_schema

if reason := why_no_postgres() or why_no_redis():
    pytest.skip(reason, allow_module_level=True)

from kuploy_saas_kit.adapters.sql.waiting import AsyncTimedConnection


class OnlyCancelled(CancelledTests):
    test_killed_at_any_instant: Any = None  # tests/adapters asks the rest
    test_failing_at_each_step: Any = None
    test_dying_at_a_step: Any = None
    test_what_cannot_be_read_is_raised: Any = None


class TestPostgres(OnlyCancelled):
    deeds = (*UsageStoreTests.deeds, *HoldingStoreTests.deeds)

    @pytest.fixture
    def store(self, clock: ManualClock, postgres: str) -> Iterator[FromThreads]:
        with postgres_schema(postgres, "cancelled") as url:
            with closing(SqlStore.from_url(url)) as tables:
                tables.migrate()
            with FromThreads(lambda: AsyncSqlStore.from_url(url, clock=clock)) as store:
                yield store


class TestBusyLoop(TestPostgres):
    @pytest.fixture(autouse=True)
    def _yields_when_done(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What psycopg was asked to do is done, and a loop with more to do has its turn before the caller hears so."""
        wait = AsyncTimedConnection.wait

        async def busy(self: AsyncTimedConnection, *args: Any, **options: Any) -> Any:
            done = await wait(self, *args, **options)
            await asyncio.sleep(0)  # noqa: TID251 - no time passes
            return done

        monkeypatch.setattr(AsyncTimedConnection, "wait", busy)

    def test_whoever_is_cancelled_hears_nothing_else(self, store: FromThreads) -> None:
        """Wherever it waits, also while several rows are sent at once."""
        counters = [("acme", limit) for limit in ("maxApps", "maxProjects")]
        for counter in counters:
            store.seed_usage(counter, 100)
        store.step = steps = Steps(_cancel)
        for at in _each_step():
            steps.arm(at)
            with suppress(CancelledError):
                store.give_back(dict.fromkeys(counters, 1))
            if not steps.disarm():
                break


class TestRedis(OnlyCancelled):
    deeds = (*UsageStoreTests.deeds, *HoldingStoreTests.deeds)

    @pytest.fixture
    def store(self, clock: ManualClock) -> Iterator[FromThreads]:
        with RedisServer() as server, FromThreads(lambda: AsyncRedisStore.from_url(server.url, clock=clock)) as store:
            yield store


class Awaits:
    """The memory store behind a driver that is awaited before and after each verb."""

    def __init__(self) -> None:
        self._store = MemoryStore(ManualClock(NOW))
        self._lock = asyncio.Lock()

    async def _driver(self) -> None:
        await asyncio.to_thread(int)

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        async with self._lock:
            await self._driver()
            return self._store.take(claims, key=key, ttl=ttl)

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        async with self._lock:
            await self._driver()
            return self._store.usage_of(scope)

    async def seed_usage(self, counter: CounterKey, value: int) -> None:
        self._store.seed_usage(counter, value)

    async def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        return self._store.give_back(amounts)


class TakesClaimByClaim(Awaits):
    """Gives back what it took when something goes wrong, and takes a cancellation for nothing that goes wrong."""

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        async with self._lock:
            taken = Taken(TakeOutcome.TAKEN)
            for done, claim in enumerate(claims):
                try:
                    await self._driver()
                    taken = self._store.take([claim])
                except Exception:
                    self._store.give_back({claim.counter: claim.amount for claim in claims[:done]})
                    raise
            return taken


class TakesItForDone(Awaits):
    """Goes on as if nothing were, without the verb."""

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        try:
            return await super().take(claims, key=key, ttl=ttl)
        except asyncio.CancelledError:
            return Taken(TakeOutcome.TAKEN)


class KeepsTheLock(Awaits):
    """Lets go of its lock where it ends as planned."""

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        await asyncio.wait_for(self._lock.acquire(), 0.05)
        await self._driver()
        self._lock.release()
        return self._store.take(claims, key=key, ttl=ttl)

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        await asyncio.wait_for(self._lock.acquire(), 0.05)
        self._lock.release()
        return self._store.usage_of(scope)


class Blocks(Awaits):
    """Calls a driver that blocks: every other request of the process stands still meanwhile."""

    async def _driver(self) -> None:
        pass


class BlocksReaders(Awaits):
    """Reads by a driver that blocks."""

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        return self._store.usage_of(scope)


class GivesUp(Awaits):
    """Waits no longer for its driver."""

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        raise TimeoutError("of the store")


class LocksThreads(Awaits):
    """Holds a lock for threads while it waits: the next request blocks the loop, and with it whoever holds the lock."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = Lock()
        self.has_answered = asyncio.Event()
        self.has_answered.set()

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        with self._threads:
            await self.has_answered.wait()
            return self._store.usage_of(scope)


TAKE = next(deed for deed in UsageStoreTests.deeds if deed.do is _take_pair)


class Taking(CancelledTests):
    deeds = (TAKE,)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (
            TakesClaimByClaim,
            r"take pair: cancelled where it waits for the 2. time: Counted\(org=4, instance=3\) is seen",
        ),
        (
            TakesItForDone,
            r"cancelled where it waits for the 1. time: Counted\(org=3, .*\) is seen, and not Counted\(org=4",
        ),
        (KeepsTheLock, None),
        (Blocks, "take pair never waits"),
    ],
)
def test_the_law_finds_the_mistake(broken: Callable[[], Awaits], told: str | None) -> None:
    """A store with this mistake does not pass, and the same store without it does."""
    with FromThreads(Awaits) as right:
        Taking().test_cancelled_at_each_wait(right)
    with FromThreads(broken) as wrong, pytest.raises((AssertionError, TimeoutError), match=told):
        Taking().test_cancelled_at_each_wait(wrong)


def test_a_read_that_blocks_is_found() -> None:
    """A read that keeps the event loop for itself does not pass, though each write waits."""
    with FromThreads(Awaits) as right:
        Taking().test_a_look_waits(right)
    with FromThreads(BlocksReaders) as wrong:
        Taking().test_cancelled_at_each_wait(wrong)
        with pytest.raises(AssertionError, match="take pair is read without a wait"):
            Taking().test_a_look_waits(wrong)


class Announcing(CancelledTests, AnnouncementStoreTests): ...


def stepping(_: object) -> closing[MemoryStore]:
    """A store of which nothing is asked."""
    return closing(MemoryStore())


@pytest.mark.parametrize(
    ("law", "others"),
    [
        (Announcing.test_cancelled_at_each_wait, []),
        (Announcing.test_a_look_waits, []),
        (Announcing.test_killed_at_any_instant, [None, 1]),
        (Announcing.test_failing_at_each_step, [stepping]),
        (Announcing.test_what_cannot_be_read_is_raised, [stepping]),
        (Announcing.test_dying_at_a_step, [None, 1]),
    ],
)
def test_a_port_without_deeds(law: Callable[..., None], others: Sequence[object]) -> None:
    """What nothing can be seen of is skipped, and says so, before the class of whatever port it stands."""
    with FromThreads(Awaits) as store, pytest.raises(pytest.skip.Exception, match="no deeds"):
        law(Announcing(), store, *others)


def test_what_is_raised_after_a_stop_says_so() -> None:
    """A verb that hangs or raises because of one that was stopped names that one."""
    never = Deed(do=_take_pair, view=lambda store, _: store.usage_of("acme"))
    with FromThreads(GivesUp) as store, pytest.raises(TimeoutError) as caught:
        _check(store, never, 1, [], "take pair: statement 2 failed")
    assert caught.value.__notes__ == ["before this: take pair: statement 2 failed"]


def test_a_store_that_hangs_is_told() -> None:
    """It fails after a while, and lets the rest of the tests run."""
    with FromThreads(LocksThreads) as store:
        assert store.usage_of("acme") == {}
        store._store.has_answered.clear()
        store._patience = 0.2
        with pytest.raises(AssertionError, match=r"usage_of did not answer .* block its event loop.* kept a lock"):
            race(lambda _: store.usage_of("acme"), workers=2)


def test_a_stores_own_timeout() -> None:
    """What the store raises by itself is its answer."""
    with FromThreads(GivesUp) as store, pytest.raises(TimeoutError, match="of the store"):
        store.usage_of("acme")
