"""What counting costs where there is much of it, and sweeps that return what expired in portions."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path
from shutil import copy
from sqlite3 import SQLITE_LIMIT_VARIABLE_NUMBER
from typing import Any

import pytest
from sqlalchemy import event, insert

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import GivenBack, TakeOutcome
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE
from kuploy_saas_kit.testing.conformance.usage import INSTANCE_COUNTER, LIMIT, ORG_COUNTER, claims, seed, used

MANY, ORGS = 10_000, 2_500


@pytest.fixture
def clock() -> ManualClock:
    """What expiry goes by."""
    return ManualClock()


@pytest.fixture
def store(url: str, clock: ManualClock) -> Iterator[SqlStore]:
    """The tables, with an org and the instance at 0."""
    with closing(SqlStore.from_url(url, clock=clock)) as store:
        seed(store)
        yield store


def hold(store: SqlStore, many: int, *, ttl: timedelta) -> None:
    """Take one unit under each of so many keys."""
    for number in range(many):
        assert store.take(claims(cap=many), key=f"k{number}", ttl=ttl).outcome is TakeOutcome.TAKEN


def test_a_sweep_of_many(store: SqlStore, clock: ManualClock) -> None:
    """However many expired, of however many orgs, they are returned: what one statement may be given is bounded."""
    if store._engine.dialect.name == "sqlite":
        event.listen(store._engine, "checkout", _few_variables)
    orgs = [f"org{number % ORGS}" for number in range(MANY)]
    counters = [{"scope": org, "limit_key": LIMIT, "used": MANY // ORGS} for org in orgs[:ORGS]]
    holdings = [
        {"scope": org, "key": f"k{number}", "amounts": [["", LIMIT, 1], [org, LIMIT, 1]], "expires_at": clock.now()}
        for number, org in enumerate(orgs)
    ]
    store.put_usage(*ORG_COUNTER, MANY)
    with store._engine.begin() as connection:
        connection.execute(insert(store._tables.usage), counters)
        connection.execute(insert(store._tables.holding), holdings)
    swept = store.sweep_holdings()
    assert swept.returned == {(org, LIMIT): MANY // ORGS for org in orgs} | {INSTANCE_COUNTER: MANY}
    assert swept.drift == {}
    assert (store.usage_of(""), store.usage_of("org77")) == ({LIMIT: 0}, {LIMIT: 0})


def _few_variables(connection: Any, *_: object) -> None:
    connection.setlimit(SQLITE_LIMIT_VARIABLE_NUMBER, 250)


def test_takes_sweep_all_portions(store: SqlStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A take that fits only once all is returned, and one whose own key expired last, are taken."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.usage._PORTION", 2)
    hold(store, 5, ttl=MINUTE)
    clock.advance(MINUTE)
    assert store.take(claims(5)).outcome is TakeOutcome.TAKEN
    store.give_back({ORG_COUNTER: 5, INSTANCE_COUNTER: 5})
    hold(store, 5, ttl=MINUTE)
    clock.advance(MINUTE)
    assert store.take(claims(5), key="k4").outcome is TakeOutcome.TAKEN
    assert used(store) == (5, 5)
    assert store.sweep_holdings().returned == {}


def test_portions_are_one_sweep(store: SqlStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is that of one step, also where less is there than expired holdings held."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.usage._PORTION", 2)
    hold(store, 5, ttl=MINUTE)
    clock.advance(MINUTE)
    store.put_usage(*ORG_COUNTER, 3)
    both = (ORG_COUNTER, INSTANCE_COUNTER)
    swept = GivenBack(used=dict.fromkeys(both, 0), returned=dict.fromkeys(both, 3), drift=dict.fromkeys(both, 2))
    assert store.sweep_holdings() == swept


def test_portions_that_were_returned_stay(store: SqlStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep that fails in the middle has returned each portion before, and the next one goes on from there."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.usage._PORTION", 2)
    hold(store, 5, ttl=MINUTE)
    clock.advance(MINUTE)
    deletes = count(1)

    def fail_at_the_second(*args: Any) -> None:
        if "DELETE" in args[2] and next(deletes) == 2:
            raise StorageError("the disk is full")

    event.listen(store._engine, "before_cursor_execute", fail_at_the_second)
    with pytest.raises(StorageError, match="the disk is full"):
        store.sweep_holdings()
    assert used(store) == (3, 3)
    assert store.sweep_holdings().returned == {ORG_COUNTER: 3, INSTANCE_COUNTER: 3}


def test_no_table_is_read_as_a_whole(clock: ManualClock, tmp_path: Path, sqlite_template: Path) -> None:
    """In SQLite, whose other writers wait meanwhile, each verb finds the rows of its own by an index."""
    url, said = f"sqlite:///{copy(sqlite_template, tmp_path / 'kit.db')}", list[tuple[str, Any]]()
    with closing(SqlStore.from_url(url, clock=clock)) as store:
        seed(store, org_value=3)
        event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2:4]))
        store.take(claims(), key="settled")
        store.settle_holding("acme", "settled")
        store.release_holding("acme", "settled")
        store.take(claims(), key="late", ttl=timedelta())
        store.take(claims(9))
        store.give_back({ORG_COUNTER: 1, INSTANCE_COUNTER: 1})
        store.put_usage(*ORG_COUNTER, 2)
        store.put_usage("new", LIMIT, 2)
        store.sweep_holdings()
        asked = [
            (statement, given[0] if isinstance(given, list) else given)  # of a statement that was sent for many rows
            for statement, given in said
            if not statement.startswith(("BEGIN", "PRAGMA"))
        ]
        with store._engine.connect() as connection:
            plans = {
                statement: [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
                for statement, given in asked
            }
    assert len(plans) > 8
    whole = ("SCAN kuploy_saas_usage", "SCAN kuploy_saas_holding")
    assert not {statement: plan for statement, plan in plans.items() for step in plan if step.startswith(whole)}
