"""PostgreSQL: who waits for somebody else's rows goes on from what that one left, and keeps nobody else waiting."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Event
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, create_engine, event, text
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, HoldingState, MeterEntry, Taken, TakeOutcome, UsagePut
from kuploy_saas_kit.stripe_provision.ports import PutOutcome, SubscriptionPut
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.usage import (
    INSTANCE_COUNTER,
    LIMIT,
    ORG,
    ORG_COUNTER,
    claims,
    seed,
    used,
)
from kuploy_saas_kit.testing.conformance.values import INSTANT

pytestmark = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))

T = TypeVar("T")

BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY (pg_blocking_pids(pid))")


@pytest.fixture
def store(schemas: Schemas) -> Iterator[SqlStore]:
    """The tables, with an org and the instance at 0."""
    with closing(SqlStore.from_url(schemas.new(migrated=True))) as store:
        seed(store)
        yield store


def wait_until_blocked(connection: Connection, answer: Future[Any]) -> None:
    """Until the answer waits for what the connection's transaction has locked."""
    mine = {"pid": connection.execute(text("SELECT pg_backend_pid()")).scalar_one()}
    with connection.engine.connect() as other:
        while not other.execute(BLOCKED, mine).scalar_one():
            assert not answer.done(), "it did not wait"
            other.rollback()
            Event().wait(0.01)


@contextmanager
def waiting(connection: Connection, action: Callable[[], T]) -> Iterator[Future[T]]:
    """In a thread the action waits for what the connection's transaction has locked, which is committed at the end."""
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(action)
        try:
            wait_until_blocked(connection, answer)
            yield answer
        finally:
            connection.commit()


def while_locked(connection: Connection, take: Callable[[], Taken]) -> Taken:
    """The answer of a take that had to wait until somebody else's 2 units were committed."""
    connection.execute(text("UPDATE kuploy_saas_usage SET used = used + 2 WHERE scope = ''"))
    with waiting(connection, take) as answer:
        pass
    return answer.result()


def test_one_round_trip_suffices(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Having waited is no reason to begin again: the one statement takes, on top of what was committed."""
    monkeypatch.setattr(store, "_writing", None)  # what a second attempt would need
    with store._engine.connect() as connection:
        taken = while_locked(connection, lambda: store.take(claims(instance_cap=5)))
    monkeypatch.undo()
    assert taken.outcome == "taken"
    assert (store.usage_of("acme"), store.usage_of("")) == ({"maxProjects": 1}, {"maxProjects": 3})


@pytest.mark.parametrize(("cap", "outcome", "used"), [(3, "taken", (1, 3)), (2, "refused", (0, 2))])
def test_the_last_unit(store: SqlStore, cap: int, outcome: str, used: tuple[int, int]) -> None:
    """What somebody else took meanwhile counts, and a refusal leaves the org's own counter as it was."""
    with store._engine.connect() as connection:
        assert while_locked(connection, lambda: store.take(claims(instance_cap=cap))).outcome == outcome
    assert (store.usage_of("acme")["maxProjects"], store.usage_of("")["maxProjects"]) == used


@pytest.mark.parametrize("key", [None, "k"])
def test_inside_the_hosts_transaction(store: SqlStore, key: str | None) -> None:
    """The same holds in a transaction of the host's, with a key and without."""
    engine = create_engine(store._engine.url)

    def take() -> Taken:
        with engine.begin() as connection:
            return store.on(connection).take(claims(instance_cap=3), key=key)

    with store._engine.connect() as connection:
        assert while_locked(connection, take).outcome == "taken"
    assert store.usage_of("") == {"maxProjects": 3}
    engine.dispose()


@pytest.mark.parametrize(
    "verb",
    [
        lambda store: store.take(claims()),
        lambda store: store.take(claims(), key="k"),
        lambda store: store.give_back({INSTANCE_COUNTER: 1, ORG_COUNTER: 1}),
        lambda store: store.put_usage(*ORG_COUNTER, 3),
        lambda store: store.release_holding(ORG, "held"),
        lambda store: store.sweep_holdings(),
        lambda store: store.add_meter("e2", [MeterEntry(scope, LIMIT, INSTANT, 1) for scope in (INSTANCE, ORG)]),
    ],
    ids=["take", "keyed take", "give back", "put", "release", "sweep", "meter"],
)
def test_the_hottest_row_is_locked_last(store: SqlStore, verb: Callable[[SqlStore], object]) -> None:
    """Whoever waits for an org's row has not locked the instance's, for which everybody else would wait too."""
    store.take(claims(), key="held")
    store.take(claims(), key="late", ttl=timedelta())
    store.add_meter("e1", [MeterEntry(scope, LIMIT, INSTANT, 1) for scope in (INSTANCE, ORG)])
    with store._engine.connect() as connection, store._engine.connect() as other:
        for table in ("usage", "meter"):
            connection.execute(text(f"SELECT FROM kuploy_saas_{table} WHERE scope = 'acme' FOR UPDATE"))
        with waiting(connection, lambda: verb(store)) as answer:
            for table in ("usage", "meter"):
                other.execute(text(f"SELECT FROM kuploy_saas_{table} WHERE scope = '' FOR UPDATE NOWAIT"))
            other.rollback()
    assert answer.exception() is None


def test_the_hottest_row_is_locked_last_of_many(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds where there are more counters than one statement asks for."""
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.counters._CHUNK", 1)
    test_the_hottest_row_is_locked_last(store, lambda store: store.give_back({INSTANCE_COUNTER: 1, ORG_COUNTER: 1}))


def test_sweeps_meet_in_one_order(store: SqlStore) -> None:
    """Whoever sweeps locks what expired at one instant by its key, so that no two wait for each other."""
    store = SqlStore(store._engine, clock=ManualClock())
    for key in ("second", "first"):
        store.take(claims(), key=key, ttl=timedelta())
    lock = "SELECT FROM kuploy_saas_holding WHERE key = :key FOR UPDATE"
    with store._engine.connect() as connection, store._engine.connect() as other:
        connection.execute(text(lock), {"key": "first"})
        with waiting(connection, store.sweep_holdings) as answer:
            other.execute(text(f"{lock} NOWAIT"), {"key": "second"})
            other.rollback()
    assert answer.result().returned == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}


def test_nothing_comes_between_an_org_and_the_first_sum(store: SqlStore) -> None:
    """A measured value that makes the instance's counter holds up those who take from the org until it is written."""
    apps = (ORG, "maxApps")
    store.seed_usage(apps, 3)
    takes: list[Future[Taken]] = []
    with ThreadPoolExecutor(1) as thread, store._engine.connect() as connection:

        @event.listens_for(connection, "after_cursor_execute")
        def _summed(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
            if "sum(" in statement:
                takes.append(thread.submit(lambda: store.take([Claim(*apps, 2, UNLIMITED)])))
                wait_until_blocked(connection, takes[0])

        assert store.on(connection).put_usage(*apps, 10) == UsagePut(previous=3, instance=10)
        connection.commit()
    assert takes[0].result().used == {apps: 12}


@pytest.mark.parametrize(("before", "after"), [("acme", "umbrella"), ("umbrella", "acme")])
def test_standings_are_locked_in_one_order(store: SqlStore, before: str, after: str) -> None:
    """Of two subscriptions that change places between two orgs none waits for the other."""
    for org in (before, after):
        store.put_subscription(replace(ROW, subscription_id=f"sub_{org}", org_id=org), expected_version=0)
    held = store.load_subscription(f"sub_{before}")
    assert held.row is not None
    moved = replace(held.row, org_id=after)
    lock = "SELECT FROM kuploy_saas_standing WHERE org_id = :org FOR UPDATE"
    with store._engine.connect() as connection, store._engine.connect() as other:
        connection.execute(text(lock), {"org": "acme"})
        with waiting(connection, lambda: store.put_subscription(moved, expected_version=held.version)) as answer:
            other.execute(text(f"{lock} NOWAIT"), {"org": "umbrella"})
            other.rollback()
    assert answer.result().outcome is PutOutcome.SAVED


def test_a_first_row_that_lost_keeps_no_event(store: SqlStore) -> None:
    """Where somebody else's first row was committed meanwhile, the event counts as unhandled: it is to be retried."""
    ours = replace(ROW, plan="business")
    with store._engine.connect() as connection:
        store.on(connection).put_subscription(ROW, expected_version=0, event_id="evt_theirs")
        with waiting(connection, lambda: store.put_subscription(ours, expected_version=0, event_id="evt_ours")) as put:
            pass
    assert put.result() == SubscriptionPut(PutOutcome.CONFLICT, ROW)
    assert not store.look_up_event("evt_ours").is_handled


def test_a_long_transaction_of_the_hosts(store: SqlStore) -> None:
    """Time passes in it: what expired since it began is gone, and leases are as long as they were asked for."""
    with store._engine.connect() as connection:
        connection.execute(text("SELECT"))
        store.take(claims(), key="late", ttl=timedelta())
        late = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        in_it = store.on(connection)
        assert in_it.settle_holding(ORG, "late").state is HoldingState.GONE
        assert in_it.take_lease("sync", "a", MINUTE).until > late + MINUTE
        assert in_it.take(claims(cap=1)).outcome is TakeOutcome.TAKEN
        connection.commit()
    assert used(store) == (1, 1)
