"""Statements that go below SQLAlchemy, straight to the driver: as safe as those that do not."""

import asyncio
import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import Any
from weakref import ref

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.adapters.sql import direct as direct_module
from kuploy_saas_kit.adapters.sql.connection import Turns
from kuploy_saas_kit.adapters.sql.counters import CounterVerbs
from kuploy_saas_kit.errors import ConfigurationError, StorageError
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


@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
def test_a_file_that_another_engine_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """What a verb has read stays true until it writes, in transactions of an engine of the host's own too."""
    file = tmp_path / "kit.db"
    store, other = (SqlStore(create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})) for _ in range(2))
    store.migrate()
    seed(store, org_value=5)
    write = CounterVerbs._set

    def interleaved(*arguments: Any) -> None:
        with pytest.raises(StorageError, match="locked by another process"):
            other.take(claims(cap=100))
        write(*arguments)

    async def give_back() -> None:
        awaited = AsyncSqlStore(create_async_engine(f"sqlite+aiosqlite:///{file}"))
        await awaited.give_back({("acme", "maxProjects"): 1})
        await awaited.close()

    with monkeypatch.context() as patch:
        patch.setattr(CounterVerbs, "_set", interleaved)
        if kind is AsyncSqlStore:
            asyncio.run(give_back())
        else:
            store.give_back({("acme", "maxProjects"): 1})
    assert other.take(claims(cap=100)).outcome is TakeOutcome.TAKEN
    assert store.usage_of("acme") == {"maxProjects": 5}
    for each in (store, other):
        each.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the driver has no such mode")
def test_a_file_in_the_drivers_own_transactions(tmp_path: Path) -> None:
    """A take that was answered is committed, and keeps nobody out."""
    url = f"sqlite:///{tmp_path / 'kit.db'}"
    store = SqlStore(create_engine(url, connect_args={"autocommit": False}))
    store.migrate()
    seed(store)
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    other = SqlStore(create_engine(url, connect_args={"timeout": 0}))
    assert other.take(claims()).outcome is TakeOutcome.TAKEN
    store.give_back({("acme", "maxProjects"): 1})
    assert other.usage_of("acme") == {"maxProjects": 1}
    for each in (store, other):
        each.close()


def test_stores_of_one_engine(url: str) -> None:
    """However many there are, half of the pool is kept once, and the other half is left for transactions."""
    engine = create_engine(url, pool_size=2, max_overflow=0, pool_timeout=0.01)
    seed(SqlStore(engine))
    for each in (engine, engine, engine.execution_options(kind="another"), engine):
        store = SqlStore(each)
        assert store.take(claims()).outcome is TakeOutcome.TAKEN
        assert used(store)[0] == store.usage_of("acme")["maxProjects"]
    engine.dispose()


def test_a_host_that_disposes_of_its_engine(url: str) -> None:
    """The connections that are kept are closed with all others; the next verb opens new ones."""
    engine = create_engine(url)
    store = SqlStore(engine)
    seed(store)
    store.take(claims())
    kept = direct(store)._kept[0].driver
    engine.dispose()
    with pytest.raises(engine.dialect.loaded_dbapi.Error, match="closed"):
        kept.execute("SELECT 1")
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    engine.dispose()


@pytest.mark.parametrize("options", [1, 2])
def test_a_host_that_disposes_of_the_engine_below(url: str, options: int) -> None:
    """A store over an engine with options of its own loses what it kept with the pool, whoever disposes of that."""
    engine = create_engine(url)
    engines = [engine]
    for number in range(options):
        engines.append(engines[-1].execution_options(kind=number))
    stores = [SqlStore(each) for each in reversed(engines)]
    seed(stores[0])
    for each in engines:
        for store in stores:
            store.take(claims(cap=20))
        kept = direct(stores[0])._kept[0].driver
        each.dispose()
        assert not direct(stores[0])._kept
        with pytest.raises(engine.dialect.loaded_dbapi.Error, match="closed"):
            kept.execute("SELECT 1")
    assert len({id(direct(store)) for store in stores}) == 1


def test_an_engine_with_options_whose_connection_is_lost(url: str) -> None:
    """What the engine below loses counts for the store too, and what the store gave back is as it was."""
    engine = create_engine(url)
    store = SqlStore(engine.execution_options(kind="another"))
    seed(store)
    store.take(claims())
    with engine.connect() as connection:
        connection.invalidate(RuntimeError("lost"))
    assert not direct(store)._kept
    store.take(claims())
    driver = direct(store)._kept[0].driver
    given = direct(store)._kept[0].connection.info["kuploy_saas_mode"]
    direct(store).close()
    assert getattr(driver, given[0]) == given[1]
    engine.dispose()


def test_an_engine_that_nobody_uses_any_more(url: str) -> None:
    """A store over it does not keep it for ever."""
    engine = create_engine(url)
    store = SqlStore(engine)
    seed(store)
    store.take(claims())
    engine.dispose()
    alive = ref(engine)
    del engine, store
    gc.collect()
    assert alive() is None


def test_a_pool_that_is_used_up(url: str) -> None:
    """The error says that it is, and what to change."""
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    store = SqlStore(engine)
    with engine.connect():
        for verb in (lambda: store.take(claims()), lambda: store.usage_of("acme")):
            with pytest.raises(StorageError, match="pool_size"):
                verb()
    engine.dispose()


def test_a_pool_that_is_used_up_by_what_is_kept(url: str) -> None:
    """Where the pool has nothing left to give, other verbs get what was kept for takes; afterwards it is kept again."""
    engine = create_engine(url, pool_size=2, max_overflow=0, pool_timeout=0.01)
    store = SqlStore(engine)
    seed(store)
    for _ in range(2):
        store.take(claims())
        assert len(direct(store)._kept) == 1
        with engine.connect():
            assert store.usage_of("acme") == {"maxProjects": 1}
            store.give_back({("acme", "maxProjects"): 1})
    engine.dispose()


def test_whoever_waits_gets_what_a_take_leaves(url: str) -> None:
    """A take that ends while another verb waits for a connection keeps none from it."""
    engine = create_engine(url, pool_size=2, max_overflow=0, pool_timeout=20)
    store = SqlStore(engine)
    seed(store)
    is_within, may_end, execute = Event(), Event(), direct(store)._execute

    def stopped(*args: Any) -> object:
        is_within.set()
        may_end.wait()
        return execute(*args)

    with pytest.MonkeyPatch.context() as patch, engine.connect(), ThreadPoolExecutor(2) as threads:
        patch.setattr(direct(store), "_execute", stopped)
        taking = threads.submit(store.take, claims())
        is_within.wait()
        waiting = threads.submit(store.standing, "acme")
        while not (direct(store)._waiting or waiting.done()):
            Event().wait(0.01)
        may_end.set()
        assert taking.result().outcome is TakeOutcome.TAKEN
        waiting.result()
    engine.dispose()


def test_connections_that_are_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is kept goes through the pool every now and then, which recycles it as it was told, and tells hosts."""
    if url.startswith("sqlite"):
        pytest.skip("a file's connections do not age")
    engine, checkouts = create_engine(url, pool_recycle=0), list[object]()
    event.listen(engine, "checkout", lambda driver, *_: checkouts.append(driver))
    store = SqlStore(engine)
    seed(store)
    checkouts.clear()
    for _ in range(2):
        store.take(claims())
    assert len(checkouts) == 1
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.connection.PING_AFTER", timedelta())
    store.take(claims())
    first, second = checkouts
    assert first is not second
    engine.dispose()


def test_a_driver_that_the_kit_does_not_know(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by name, and the error names those that are known."""
    engine = create_engine(empty_url)
    monkeypatch.setattr(engine.dialect, "driver", "psycopg2")
    with pytest.raises(ConfigurationError, match=r"'psycopg2'.*sqlite\+pysqlite.*postgresql\+psycopg"):
        SqlStore(engine)


def test_connections_that_are_lost(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first verb that meets one says so, and those that were kept with it go too; after a while none is met."""
    if store.is_embedded:
        pytest.skip("a file is not lost")
    _keep_three(store)
    _terminate(store)
    with pytest.raises(StorageError, match="was lost; nothing is half-written"):
        store.take(claims())
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    _terminate(store)
    monkeypatch.setattr("kuploy_saas_kit.adapters.sql.connection.PING_AFTER", timedelta())
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (5, 5)


def _keep_three(store: SqlStore) -> None:
    """Three takes at the same moment need three connections, which are kept then."""
    together, execute = Barrier(3), direct(store)._execute
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setattr(direct(store), "_execute", lambda *args: (together.wait(), execute(*args))[1])
        list(threads.map(lambda _: store.take(claims()), range(3)))
    assert len(direct(store)._kept) == 3


def test_an_error_is_no_loss(store: SqlStore) -> None:
    """A value that the driver refuses is no server that is away: it is said so, and every connection is used again."""
    if store.is_embedded:
        pytest.skip("SQLite stores every text")
    _keep_three(store)
    kept = {id(each.driver) for each in direct(store)._kept}
    with pytest.raises(StorageError, match="could not do what was asked") as caught:
        store.take(claims(org="org\0secret"))
    assert "secret" not in f"{caught.value.__cause__}{caught.value.__cause__!r}"
    assert {id(each.driver) for each in direct(store)._kept} == kept
    assert store.take(claims(cap=10)).outcome is TakeOutcome.TAKEN


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

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(direct(store), "_execute", interrupted)
    for _ in range(40):
        with pytest.raises(KeyboardInterrupt):
            store.take(claims())
    monkeypatch.undo()
    assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (1, 1)


@pytest.mark.parametrize("moment", ["_execute", "_keep", "_single_statements"])
def test_an_interrupt_leaves_transactions(store: SqlStore, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Whenever it comes, whoever gets the connection next finds it as the pool had it: what fails is undone."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    place = direct_module if moment == "_single_statements" else direct(store)
    monkeypatch.setattr(place, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.take(claims())
    monkeypatch.undo()
    with suppress(ZeroDivisionError), store._writing() as connection:
        connection.execute(text("DELETE FROM kuploy_saas_usage"))
        raise ZeroDivisionError
    assert store.usage_of("acme").keys() == {"maxProjects"}


def test_a_pool_gets_back_what_it_gave(store: SqlStore) -> None:
    """Whatever way a connection returns to the pool, it has the mode that it had there."""
    with store._engine.connect() as connection:
        before = _mode(connection.connection.driver_connection)
    store.take(claims())
    borrowed = direct(store)._kept[0].driver
    assert _mode(borrowed) != before or store.is_embedded  # a file's have this mode by themselves
    direct(store).close()
    assert _mode(borrowed) == before


def test_a_connection_that_the_host_took_out_of_the_pool(store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    """A host may detach a connection from an engine that a store is over, and it ends as always."""
    with store._engine.connect() as connection:
        connection.detach()
        connection.execute(text("SELECT 1"))
    assert caplog.records == []


def _mode(driver: Any) -> object:
    return driver.isolation_level if isinstance(driver, sqlite3.Connection) else driver.autocommit


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
    monkeypatch.setattr(direct(store).in_turn, "patience", 0.01)
    with direct(store).in_turn, ThreadPoolExecutor(1) as thread:
        for verb in (lambda: store.take(claims()), lambda: store.seed_usage(("third", "maxProjects"), 0)):
            with pytest.raises(StorageError, match="locked by another process"):
                thread.submit(verb).result()
        assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert used(store) == (1, 1)


@pytest.mark.parametrize(("query", "seconds"), [("", 5), ("?timeout=60", 60), ("?timeout=0.05", 5)])
def test_a_turn_is_waited_for_as_long_as_the_file(tmp_path: Path, query: str, seconds: float) -> None:
    """Where the URL lets SQLite's driver wait longer for other processes, threads wait as long for one another."""
    with closing(SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}{query}")) as store:
        turns = direct(store).in_turn
        assert isinstance(turns, Turns)
        assert turns.patience == seconds


def test_an_interrupt_gives_no_turn_away() -> None:
    """Whoever is interrupted when the turn was just given leaves it to the next one."""
    turns = Turns()

    def interrupt(_frame: object, event: str, called: Any) -> None:
        if event == "c_return" and called.__name__ == "acquire":
            sys.setprofile(None)
            raise KeyboardInterrupt

    def enter() -> None:
        sys.setprofile(interrupt)
        with turns:
            pytest.fail("was not interrupted")

    with pytest.raises(KeyboardInterrupt):
        enter()
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(turns.acquire, timeout=0).result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_amid_a_take(store: SqlStore) -> None:
    """Whatever a thread of the parent was doing with the store, its child goes on at once."""
    store.take(claims())
    is_within, may_end = Event(), Event()

    def stop() -> None:
        is_within.set()
        may_end.wait()

    steps = Steps(stop)
    before_each_statement(store._engine, steps)
    steps.arm(1)
    with ThreadPoolExecutor(1) as thread:
        taking = thread.submit(store.take, claims())
        is_within.wait()
        child = os.fork()
        if child == 0:  # pragma: no cover - it ends here, and coverage with it
            signal.alarm(60)
            os._exit(0 if store.take(claims()).outcome is TakeOutcome.TAKEN else 1)
        status = os.waitpid(child, 0)[1]
        may_end.set()
        assert (status, taking.result().outcome) == (0, TakeOutcome.TAKEN)
    assert used(store) == (3, 3)
