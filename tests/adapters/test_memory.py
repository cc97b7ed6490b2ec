"""The memory store against the suite of every port."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.plans.ports import Everyone
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crew import Crew, ThreadCrew
from kuploy_saas_kit.testing.conformance.threads import FromThreads


class MemoryTests:
    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock)

    @pytest.fixture
    def crew(self, store: object) -> Crew:
        return ThreadCrew(store)  # what is in memory is in one process


class TestPlans(MemoryTests, conformance.PlanStoreTests): ...


class TestStandings(MemoryTests, conformance.StandingStoreTests): ...


class TestAudit(MemoryTests, conformance.AuditStoreTests): ...


class TestFeed(MemoryTests, conformance.ChangeFeedTests): ...


class TestUsage(MemoryTests, conformance.UsageStoreTests): ...


class TestHoldings(MemoryTests, conformance.HoldingStoreTests): ...


class TestMeters(MemoryTests, conformance.MeterStoreTests): ...


class TestAnnouncements(MemoryTests, conformance.AnnouncementStoreTests): ...


class TestLicense(MemoryTests, conformance.LicenseStoreTests): ...


class TestIdentity(MemoryTests, conformance.IdentityStoreTests): ...


class TestLeases(MemoryTests, conformance.LeaseStoreTests): ...


class TestProvisioning(MemoryTests, conformance.ProvisioningStoreTests): ...


class TestFingerprints(MemoryTests, conformance.FingerprintStoreTests): ...


class TestSpaces(MemoryTests, conformance.CurrentSpaceTests): ...


class TestSubscriptions(MemoryTests, conformance.SubscriptionStoreTests): ...


class TestCustomers(MemoryTests, conformance.CustomerStoreTests): ...


class AwaitedMemoryTests:
    @pytest.fixture
    def store(self, clock: ManualClock) -> Iterator[FromThreads]:
        with FromThreads(MemoryStore(clock).async_store) as store:
            yield store

    @pytest.fixture
    def crew(self, store: object) -> Crew:
        return ThreadCrew(store)  # what is in memory is in one process


class TestAwaitedPlans(AwaitedMemoryTests, conformance.PlanStoreTests): ...


class TestAwaitedStandings(AwaitedMemoryTests, conformance.StandingStoreTests): ...


class TestAwaitedUsage(AwaitedMemoryTests, conformance.UsageStoreTests): ...


class TestAwaitedHoldings(AwaitedMemoryTests, conformance.HoldingStoreTests): ...


class TestAwaitedMeters(AwaitedMemoryTests, conformance.MeterStoreTests): ...


class TestAwaitedAnnouncements(AwaitedMemoryTests, conformance.AnnouncementStoreTests): ...


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_amid_a_verb() -> None:
    """Whatever a thread of the parent was doing with the store, its child goes on at once."""
    store = MemoryStore()
    is_within, may_end = Event(), Event()

    def hold() -> None:
        with store._lock:
            is_within.set()
            may_end.wait()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(hold)
        is_within.wait()
        child = os.fork()
        if child == 0:  # pragma: no cover - it ends here, and coverage with it
            signal.alarm(60)
            store.standing("acme")
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        may_end.set()
    assert status == 0


def test_cursors_of_another_life() -> None:
    """No store takes a cursor for its own that one before it gave, even one that was kept in the same place."""
    assert len({MemoryStore().changes(None).cursor for _ in range(100)}) == 100


def test_a_cursor_beyond_the_end() -> None:
    """Whoever has read further than the feed goes looks at everyone."""
    store = MemoryStore()
    name, _, end = store.changes(None).cursor.partition(".")
    assert store.changes(f"{name}.{end}").org_ids == frozenset()
    assert store.changes(f"{name}.{int(end) + 1}").org_ids is Everyone.ALL
