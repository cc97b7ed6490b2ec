"""What the page on operating says of rows that are kept for good, and of how they are pruned."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text
from tests.docs.pages import ROOT, blocks_of

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.plans import Gate, Plan, PlanCatalog
from kuploy_saas_kit.plans.ports import MeterEntry
from kuploy_saas_kit.testing import FixedLicense
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.plans import assignment

(SQL,) = (block.text for block in blocks_of(ROOT / "docs/how-to/operate.md") if block.language == "sql")
OLD, NEW = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 10, 1, tzinfo=UTC)
FREE = Plan("free", "Free", limits={"maxProjects": 5}, is_default=True)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store with plans."""
    with closing(SqlStore.from_url(url)) as store:
        store.replace_plans(PlanCatalog([FREE]), revision=1)
        yield store


def prune(store: SqlStore) -> None:
    """What the page says."""
    with store._engine.begin() as connection:
        for statement in SQL.split(";")[:-1]:
            connection.execute(text(statement))


def rows(store: SqlStore) -> dict[str, int]:
    """How many rows each table has that only grows."""
    tables: Any = store._tables
    grows = (tables.event, tables.meter, tables.announcement, tables.holding, tables.assignment_trail)
    with store._engine.connect() as connection:
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in grows
        }
    return {name.removeprefix("kuploy_saas_"): number for name, number in counted.items()}


def test_pruning_takes_what_nobody_needs(store: SqlStore) -> None:
    """Old periods, events and committed reservations go; keys of the host, what is open and what is counted stay."""
    gate = Gate(license=FixedLicense(), plans=store, subscriptions=store, usage=store)
    store.put_subscription(ROW, expected_version=0, event_id="evt_1")
    store.put_assignment(assignment("acme", "free"))
    for period in (OLD, NEW):
        store.add_meter(f"build-{period:%m}", [MeterEntry("acme", "buildMinutesPerMonth", period, 60)])
        store.announce_once(f"acme/maxProjects/warning/{period:%Y-%m-%dT%H:%M:%SZ}")
    store.announce_once("something of the host's")
    for key in ("project:blog", "reservation-of-a-room", None):
        gate.acquire("acme", "maxProjects", key=key)
    with gate.reserve("acme", "maxProjects"):
        pass
    is_open = gate.reserve("acme", "maxProjects")
    assert rows(store) == {"event": 1, "meter": 2, "announcement": 3, "holding": 4, "assignment_trail": 1}
    prune(store)
    assert rows(store) == {"event": 0, "meter": 1, "announcement": 2, "holding": 3, "assignment_trail": 1}
    assert store.usage_of("acme") == {"maxProjects": 5}
    assert store.meter_total("acme", "buildMinutesPerMonth", NEW) == 60
    is_open.release()
    assert gate.release("acme", "maxProjects", key="project:blog").returned == {"maxProjects": 1}
    assert store.usage_of("acme") == {"maxProjects": 3}


def test_names_of_announcements_are_those_that_are_pruned(store: SqlStore) -> None:
    """A level that a gate announces in an old period has a name that the statement knows."""
    clock = ManualClock(OLD)
    gate = Gate(license=FixedLicense(), plans=store, subscriptions=store, usage=store, clock=clock)
    gate.acquire("acme", "maxProjects", 5)
    assert rows(store)["announcement"] > 0
    prune(store)
    assert rows(store)["announcement"] == 0
