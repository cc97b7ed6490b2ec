"""The SQL stores against the suite of every port, on SQLite and on PostgreSQL, called and awaited."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.adapters.conftest import some_threads
from tests.conftest import examples

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crashes import Stepping
from kuploy_saas_kit.testing.conformance.crew import PROCESSES, Crew, Opener
from kuploy_saas_kit.testing.conformance.statements import before_each_statement
from kuploy_saas_kit.testing.conformance.threads import FromThreads


def stepped(url: str, step: Callable[[], object]) -> SqlStore:
    """A store that tells before each statement."""
    store = SqlStore.from_url(url)
    before_each_statement(store._engine, step)
    return store


class SqlTests:
    kills = 2  # each opens two databases
    processes = max(2, examples(PROCESSES))

    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[SqlStore]:
        store = SqlStore.from_url(url, clock=clock)
        yield store
        store.close()

    @pytest.fixture
    def reopen(self, url: str) -> Opener:
        return partial(SqlStore.from_url, url)

    @pytest.fixture
    def stepping(self, url: str) -> Stepping:
        return partial(stepped, url)


class TestPlans(SqlTests, conformance.PlanStoreTests): ...


class TestStandings(SqlTests, conformance.StandingStoreTests): ...


class TestAudit(SqlTests, conformance.AuditStoreTests): ...


class TestFeed(SqlTests, conformance.ChangeFeedTests): ...


class TestUsage(SqlTests, conformance.UsageStoreTests): ...


class TestHoldings(SqlTests, conformance.HoldingStoreTests): ...


class TestMeters(SqlTests, conformance.MeterStoreTests): ...


class TestAnnouncements(SqlTests, conformance.AnnouncementStoreTests): ...


class TestLicense(SqlTests, conformance.LicenseStoreTests): ...


class TestIdentity(SqlTests, conformance.IdentityStoreTests): ...


class TestLeases(SqlTests, conformance.LeaseStoreTests): ...


class TestProvisioning(SqlTests, conformance.ProvisioningStoreTests): ...


class TestFingerprints(SqlTests, conformance.FingerprintStoreTests): ...


class TestSpaces(SqlTests, conformance.CurrentSpaceTests): ...


class TestSubscriptions(SqlTests, conformance.SubscriptionStoreTests): ...


class TestCustomers(SqlTests, conformance.CustomerStoreTests): ...


class AsyncSqlTests:
    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[FromThreads]:
        with FromThreads(lambda: AsyncSqlStore.from_url(url, clock=clock)) as store:
            yield store

    @pytest.fixture
    def crew(self, store: FromThreads) -> Crew:
        return some_threads(store)  # processes race for the same statements of the sync store


class TestAsyncPlans(AsyncSqlTests, conformance.PlanStoreTests): ...


class TestAsyncStandings(AsyncSqlTests, conformance.StandingStoreTests): ...


class TestAsyncUsage(AsyncSqlTests, conformance.UsageStoreTests): ...


class TestAsyncHoldings(AsyncSqlTests, conformance.HoldingStoreTests): ...


class TestAsyncMeters(AsyncSqlTests, conformance.MeterStoreTests): ...


class TestAsyncAnnouncements(AsyncSqlTests, conformance.AnnouncementStoreTests): ...
