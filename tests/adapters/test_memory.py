"""The memory store against the suite of every port."""

from collections.abc import Iterator

import pytest

from kuploy_saas_kit.adapters import MemoryStore
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
