"""PostgreSQL: a take that waited for somebody else's counts from what that one left."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event

import pytest
from sqlalchemy import Connection, create_engine, text
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.plans.ports import Taken
from kuploy_saas_kit.testing.conformance.usage import claims, seed

pytestmark = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))

BLOCKED = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY (pg_blocking_pids(pid))")


@pytest.fixture
def store(schemas: Schemas) -> Iterator[SqlStore]:
    """The tables, with an org and the instance at 0."""
    with closing(SqlStore.from_url(schemas.new(migrated=True))) as store:
        seed(store)
        yield store


def while_locked(connection: Connection, take: Callable[[], Taken]) -> Taken:
    """The answer of a take that had to wait until somebody else's 2 units were committed."""
    connection.execute(text("UPDATE kuploy_saas_usage SET used = used + 2 WHERE scope = ''"))
    mine = {"pid": connection.execute(text("SELECT pg_backend_pid()")).scalar_one()}
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(take)
        with connection.engine.connect() as other:
            while not other.execute(BLOCKED, mine).scalar_one():
                other.rollback()
                Event().wait(0.01)
        connection.commit()
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
