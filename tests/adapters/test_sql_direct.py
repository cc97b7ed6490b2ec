"""Statements that go below SQLAlchemy, straight to the driver: as safe as those that do not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.conformance.crashes import Steps
from kuploy_saas_kit.testing.conformance.statements import before_each_statement
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store with an org and the instance at 0."""
    with closing(SqlStore.from_url(url)) as store:
        seed(store)
        yield store


def direct(store: SqlStore) -> Any:
    """What sends its single statements."""
    assert store._direct is not None
    return store._direct


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (claims(), TakeOutcome.TAKEN),
        (claims(cap=0), TakeOutcome.REFUSED),
        (claims(instance_cap=0), TakeOutcome.REFUSED),
        (claims(org="nobody"), TakeOutcome.UNSEEDED),
    ],
)
def test_whatever_the_answer_no_transaction_is_opened(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, asked: Any, outcome: TakeOutcome
) -> None:
    """A take, a refusal and its reason are single statements; SQLAlchemy's connections are not asked."""
    for opens in ("_writing", "_reading"):
        monkeypatch.setattr(store, opens, None)
    assert store.take(asked).outcome is outcome


def test_a_single_statement_is_a_step(store: SqlStore) -> None:
    """Crash tests stop a take before it is sent, and it has taken nothing then."""
    steps = Steps(partial(pytest.fail, "stopped"))
    before_each_statement(store._engine, steps)
    steps.arm(1)
    with pytest.raises(pytest.fail.Exception, match="stopped"):
        store.take(claims())
    assert used(store) == (0, 0)
    assert store.take(claims()).outcome is TakeOutcome.TAKEN


def test_a_refusal_writes_nothing(store: SqlStore) -> None:
    """Rows of a full instance stay the very rows that they were: no version of them is left for a vacuum."""
    if store.is_embedded:
        pytest.skip("SQLite keeps no versions of rows")
    with store._engine.connect() as connection:
        query = text("SELECT scope, ctid, xmin FROM kuploy_saas_usage ORDER BY scope")
        before = connection.execute(query).all()
        assert store.take(claims(instance_cap=0)).outcome is TakeOutcome.REFUSED
        assert store.take(claims(cap=0)).outcome is TakeOutcome.REFUSED
        connection.rollback()
        assert connection.execute(query).all() == before


@pytest.mark.parametrize(
    "options", [{}, {"pool_size": 1, "max_overflow": 0, "pool_timeout": 5}, {"poolclass": NullPool}]
)
def test_an_engine_of_the_hosts(url: str, options: dict[str, Any]) -> None:
    """However small its pool is all verbs get a connection, and the host's transactions stay transactions."""
    engine = create_engine(url, **options)
    store = SqlStore(engine)
    seed(store)
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda _: store.take(claims(cap=100)).outcome, range(20)))
    assert taken == [TakeOutcome.TAKEN] * 20
    assert used(store) == (20, 20)
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM kuploy_saas_usage"))
        connection.rollback()
    direct(store).close()
    with engine.connect() as connection:
        connection.execute(text("DELETE FROM kuploy_saas_usage"))
        connection.rollback()
    assert used(store) == (20, 20)
    store.close()


def test_connections_that_are_lost(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first verb that meets one says so, and those that were kept with it go too; after a while none is met."""
    if store.is_embedded:
        pytest.skip("a file is not lost")
    together, spelled = Barrier(3), direct(store)._spelled
    monkeypatch.setattr(direct(store), "_spelled", lambda statement: (together.wait(), spelled(statement))[1])
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: store.take(claims()), range(3)))
    monkeypatch.undo()
    assert len(direct(store)._kept) == 3
    _terminate(store)
    with pytest.raises(StorageError, match="was lost; nothing is half-written"):
        store.take(claims())
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    _terminate(store)
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.connection.PING_AFTER", timedelta())
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (5, 5)


def _terminate(store: SqlStore) -> None:
    """End all connections of the store's own engine, as an operator or a load balancer does."""
    processes = [kept.driver.info.backend_pid for kept in direct(store)._kept]
    other = create_engine(store._engine.url)
    with other.connect() as connection:
        for process in processes:
            connection.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
    other.dispose()


def test_an_interrupt(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose statement was interrupted is not used again, and none is missing afterwards."""

    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(direct(store), "_spelled", interrupted)
    for _ in range(40):
        with pytest.raises(KeyboardInterrupt):
            store.take(claims())
    monkeypatch.undo()
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (1, 1)


def test_no_value_is_shown(store: SqlStore) -> None:
    """What the database complains about is a `StorageError` without the values that it was about."""
    with store._engine.begin() as connection:
        connection.execute(text("ALTER TABLE kuploy_saas_usage RENAME TO elsewhere"))
    try:
        with pytest.raises(StorageError, match=r"store migrate") as caught:
            store.take(claims(org="org_secret"))
        assert "org_secret" not in f"{caught.value}{caught.value.__cause__}{caught.value.__cause__!r}"
    finally:
        with store._engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO kuploy_saas_usage"))


def test_a_turn_that_never_comes(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers of one file wait for each other, and not for ever; the one whose turn it is may go on."""
    if not store.is_embedded:
        pytest.skip("a server has many writers")
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.connection._PATIENCE", timedelta(seconds=0.01))
    with store._in_turn, ThreadPoolExecutor(1) as thread:
        for verb in (lambda: store.take(claims()), lambda: store.seed_usage(("third", "maxProjects"), 0)):
            with pytest.raises(StorageError, match="locked by another process"):
                thread.submit(verb).result()
        assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (1, 1)
