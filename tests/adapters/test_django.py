"""The Django store against the suite of every port, on SQLite and on PostgreSQL, called and awaited."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from tests.adapters.conftest import DATABASES, Schemas, empty, some_threads
from tests.adapters.django_host import database, reopened

from kuploy_saas_kit.adapters import DjangoStore
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crashes import Stepping
from kuploy_saas_kit.testing.conformance.crew import Crew, ProcessCrew
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used


@pytest.fixture(scope="module")
def schema(schemas: Schemas) -> str:
    """The schema in PostgreSQL for the tests of this file, which leave it empty."""
    return schemas.new(migrated=True)


class SteppedStore(DjangoStore):
    """Calls *step* before each statement, and before each commit."""

    def __init__(self, using: str, step: Callable[[], object]) -> None:
        super().__init__(using)
        self._step = step

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with super()._reading() as connection:
            event.listen(connection, "before_cursor_execute", lambda *_: self._step())
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with super()._writing() as connection:
            event.listen(connection, "before_cursor_execute", lambda *_: self._step())
            yield connection
            self._step()


class DjangoTests:
    # Processes that import Django take a second each: there is one race of them below. What the end of a process does
    # to a transaction is up to the driver and the database, which are those of the SQL store.
    test_killed_at_any_instant: Any = None
    test_dying_at_a_step: Any = None

    @pytest.fixture(params=DATABASES)
    def url(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        """A database of each kind. One schema serves all: they are the same statements as `SqlStore`'s."""
        if request.param == "sqlite":
            shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "kit.db")
            return f"sqlite:///{tmp_path / 'kit.db'}"
        shared: str = request.getfixturevalue("schema")
        return shared

    @pytest.fixture
    def store(self, clock: ManualClock, url: str) -> Iterator[DjangoStore]:
        with database(url) as alias:
            store = DjangoStore(alias, clock=clock)
            yield store
            if url.startswith("postgresql"):
                empty(store)

    @pytest.fixture
    def crew(self, store: DjangoStore) -> Crew:
        return some_threads(store)

    @pytest.fixture
    def stepping(self, store: DjangoStore) -> Stepping:
        return partial(SteppedStore, store._using)


class TestPlans(DjangoTests, conformance.PlanStoreTests): ...


class TestStandings(DjangoTests, conformance.StandingStoreTests): ...


class TestFeed(DjangoTests, conformance.ChangeFeedTests): ...


class TestUsage(DjangoTests, conformance.UsageStoreTests): ...


class TestHoldings(DjangoTests, conformance.HoldingStoreTests): ...


class TestMeters(DjangoTests, conformance.MeterStoreTests): ...


class TestAnnouncements(DjangoTests, conformance.AnnouncementStoreTests): ...


class TestLicense(DjangoTests, conformance.LicenseStoreTests): ...


class TestIdentity(DjangoTests, conformance.IdentityStoreTests): ...


class TestLeases(DjangoTests, conformance.LeaseStoreTests): ...


class TestAudit(DjangoTests, conformance.AuditStoreTests): ...


class TestFingerprints(DjangoTests, conformance.FingerprintStoreTests): ...


class TestProvisioning(DjangoTests, conformance.ProvisioningStoreTests): ...


class TestSpaces(DjangoTests, conformance.CurrentSpaceTests): ...


class TestSubscriptions(DjangoTests, conformance.SubscriptionStoreTests): ...


class TestCustomers(DjangoTests, conformance.CustomerStoreTests): ...


def test_processes_share_a_cap(tmp_path: Path, sqlite_template: Path) -> None:
    """Of the processes of a server no more take than there is room for; SQLite knows processes from threads."""
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'kit.db')}"
    with database(url) as alias, ProcessCrew(partial(reopened, url), workers=3) as crew:
        seed(DjangoStore(alias))
        assert sum(crew.race(takes)) == 50
        assert used(DjangoStore(alias)) == (50, 50)


def takes(store: DjangoStore, _: int) -> int:
    """How many of 20 tries succeed."""
    return sum(store.take(claims(cap=50)).outcome is TakeOutcome.TAKEN for _ in range(20))
