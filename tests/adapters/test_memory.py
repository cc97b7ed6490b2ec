"""The memory store against the suite of every port."""

import pytest

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock


class MemoryTests:
    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryStore:
        return MemoryStore(clock)


class TestPlans(MemoryTests, conformance.PlanStoreTests): ...


class TestStandings(MemoryTests, conformance.StandingStoreTests): ...


class TestFeed(MemoryTests, conformance.ChangeFeedTests): ...


class TestUsage(MemoryTests, conformance.UsageStoreTests): ...


class TestHoldings(MemoryTests, conformance.HoldingStoreTests): ...


class TestMeters(MemoryTests, conformance.MeterStoreTests): ...


class TestAnnouncements(MemoryTests, conformance.AnnouncementStoreTests): ...


class TestLicense(MemoryTests, conformance.LicenseStoreTests): ...


class TestIdentity(MemoryTests, conformance.IdentityStoreTests): ...


class TestLeases(MemoryTests, conformance.LeaseStoreTests): ...


class TestProvisioning(MemoryTests, conformance.ProvisioningStoreTests): ...


class TestSpaces(MemoryTests, conformance.CurrentSpaceTests): ...


class TestSubscriptions(MemoryTests, conformance.SubscriptionStoreTests): ...


class TestCustomers(MemoryTests, conformance.CustomerStoreTests): ...
