"""PostgreSQL accepts what is sent and answers nothing: whoever asks gets an error in bounded time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from sqlalchemy import create_engine
from tests.adapters.conftest import Schemas
from tests.adapters.test_postgresql_dies import Rows
from tests.adapters.ways import Proxy
from tests.conftest import why_no_postgres
from tests.kit.world import make_world

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.conformance.plans import assignment
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, used

if reason := why_no_postgres():
    pytest.skip(reason, allow_module_level=True)
from psycopg import capabilities

from kuploy_saas_kit.adapters.sql import waiting

SOON = "&command_timeout=0.1"
VERBS: dict[str, Callable[[Any], object]] = {
    "a statement by itself": lambda store: store.take(claims(cap=20)),
    "a transaction": lambda store: store.put_assignment(assignment("other")),
    "a read": lambda store: store.standing("acme"),
}


def awaited(url: str) -> FromThreads:
    """The awaited store behind a sync face."""
    return FromThreads(lambda: AsyncSqlStore.from_url(url))


def called(url: str) -> Any:
    """The store."""
    return closing(SqlStore.from_url(url))


def twin(url: str) -> FromThreads:
    """The awaited store that a store makes of itself."""
    return FromThreads(lambda: SqlStore.from_url(url).async_store())


OPENERS = [
    (opened, verb)
    for opened in (called, awaited, twin)
    for verb in VERBS
    if opened is called or verb != "a transaction"  # those are not awaited
]


class Stopwatch:
    """What waits for answers go by: no time passes but while it runs, so that an answer may take as long as it does."""

    def __init__(self) -> None:
        self._elapsed = waiting._elapsed
        self._since: timedelta | None = None

    def __call__(self) -> timedelta:
        since = self._since
        return timedelta() if since is None else self._elapsed() - since

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time passes."""
        self._since = self._elapsed()
        try:
            yield
        finally:
            self._since = None


@pytest.fixture(autouse=True)
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """The one that waits go by."""
    stopwatch = Stopwatch()
    monkeypatch.setattr(waiting, "_elapsed", stopwatch)
    return stopwatch


@pytest.mark.parametrize(("opened", "verb"), OPENERS)
def test_a_server_that_is_frozen(proxy: Proxy, stopwatch: Stopwatch, opened: Callable[[str], Any], verb: str) -> None:
    """A verb on its way ends in a `StorageError` that says why; when the server answers again, so does the store."""
    lost = pytest.raises(StorageError, match=r"lost \(no answer within 0\.1 s\); nothing is half-written")
    with opened(proxy.url + SOON) as store:
        VERBS[verb](store)
        proxy.is_frozen = True
        with stopwatch.running(), lost:
            VERBS[verb](store)
        proxy.is_frozen = False
        VERBS[verb](store)


@pytest.mark.parametrize("opened", [called, awaited])
def test_a_server_that_lets_nobody_in(proxy: Proxy, opened: Callable[[str], Any]) -> None:
    """Connecting ends in bounded time too."""
    proxy.is_frozen = True
    with opened(f"{proxy.url}&connect_timeout=1") as store, pytest.raises(StorageError, match="could not be entered"):
        store.usage_of("acme")


@pytest.fixture
def rows(place: str) -> Iterator[Rows]:
    """What is in the tables, and who waits."""
    with closing(Rows(place)) as rows:
        yield rows


@pytest.mark.parametrize("opened", [called, awaited])
def test_whoever_stands_in_a_queue_leaves_it(
    place: str, rows: Rows, stopwatch: Stopwatch, opened: Callable[[str], Any]
) -> None:
    """A take that waited too long for a lock is not done later, when nobody knows of it."""
    if not capabilities.has_cancel_safe():
        pytest.skip("this libpq cannot ask the server to stop without waiting for it")
    with opened(place + SOON) as store, closing(SqlStore.from_url(place)) as host:
        before = used(store)
        with host._engine.begin() as connection:
            assert host.on(connection).take(claims(cap=20)).outcome is TakeOutcome.TAKEN
            with stopwatch.running(), pytest.raises(StorageError, match="no answer within"):
                store.take(claims(cap=20))
            while rows.waiting():
                Event().wait(0.02)
            connection.rollback()
        assert used(store) == before


@pytest.mark.parametrize("opened", [called, awaited])
def test_a_migration_takes_its_time(schemas: Schemas, stopwatch: Stopwatch, opened: Callable[[str], Any]) -> None:
    """It waits for another one as long as that takes, and keeps no connection that waits for ever."""
    url = schemas.new(migrated=True)
    with ExitStack() as exits:
        rows = exits.enter_context(closing(Rows(url)))
        store = exits.enter_context(opened(url + SOON))
        thread = exits.enter_context(ThreadPoolExecutor(1))
        host = exits.enter_context(closing(SqlStore.from_url(url)))
        with host._engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE kuploy_saas_schema_version IN ACCESS EXCLUSIVE MODE")
            connection.exec_driver_sql("LOCK TABLE kuploy_saas_usage IN ACCESS EXCLUSIVE MODE")
            migration = thread.submit(store.migrate)
            while not rows.waiting():
                Event().wait(0.02)
            for _ in range(2):
                with stopwatch.running(), pytest.raises(StorageError, match="no answer within"):
                    store.usage_of("acme")
            assert not migration.done()
        migration.result()


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [("", {}, "10"), ("&connect_timeout=3", {}, "3"), ("", {"PGCONNECT_TIMEOUT": "4"}, "4")],
)
def test_what_is_given_goes_before_what_is_usual(
    place: str, monkeypatch: pytest.MonkeyPatch, given: str, environment: dict[str, str], expected: str
) -> None:
    """Connecting has a limit by itself; a URL and libpq's environment have another one."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with closing(SqlStore.from_url(place + given)) as store, store._engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.info.get_parameters().get("connect_timeout", environment.get("PGCONNECT_TIMEOUT")) == expected


@pytest.mark.parametrize("opened", [called, awaited])
def test_poolers_hear_of_no_limit(proxy: Proxy, opened: Callable[[str], Any]) -> None:
    """Nothing of it is sent when a connection begins: PgBouncer rejects parameters that it does not know."""
    with opened(f"{proxy.url}{SOON}&connect_timeout=9") as store:
        store.usage_of("acme")
    (beginning,) = proxy.beginnings
    assert b"search_path" in beginning
    assert b"timeout" not in beginning


def test_a_pool_that_is_empty(place: str) -> None:
    """Whoever finds no connection waits for ten seconds too."""
    with closing(SqlStore.from_url(place)) as store:
        assert store._engine.pool.timeout() == 10  # type: ignore[attr-defined]  # it is a QueuePool


@pytest.mark.parametrize(("given", "seconds"), [("", 10), ("&command_timeout=2.5", 2.5), ("&command_timeout=0", None)])
def test_how_long_an_answer_may_take(place: str, given: str, seconds: float | None) -> None:
    """Ten seconds, unless the URL has another number; none with 0."""
    with closing(SqlStore.from_url(place + given)) as store, store._engine.connect() as connection:
        timeout = connection.connection.driver_connection.command_timeout  # type: ignore[union-attr]  # it is psycopg's
        assert (timeout and timeout.total_seconds()) == seconds


@pytest.mark.parametrize("given", ["soon", "-1", "nan", "inf"])
@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
def test_what_is_no_number_of_seconds(kind: type[SqlStore], given: str) -> None:
    """A limit that is none is a mistake in the URL."""
    with pytest.raises(ConfigurationError, match="command_timeout"):
        kind.from_url(f"postgresql://db/kit?command_timeout={given}")


def test_an_engine_of_the_hosts_waits_as_it_was_made(place: str) -> None:
    """The kit's limits are for its own connections."""
    engine = create_engine(place)
    with closing(SqlStore(engine)), engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert "connect_timeout" not in driver.info.get_parameters()
        assert not hasattr(driver, "command_timeout")


def test_a_kit_over_a_frozen_database_stops(proxy: Proxy, stopwatch: Stopwatch) -> None:
    """Its threads and its lease are not waited for without end."""
    url = f"{proxy.url}{SOON}&connect_timeout=1"
    with closing(SqlStore.from_url(url)) as store, make_world(store) as world:
        kit, before = world.kit(), threading.enumerate()
        kit.start()
        begun = [thread for thread in threading.enumerate() if thread not in before]
        threads = [thread for thread in begun if thread.name.startswith("kuploy-saas-kit")]
        proxy.is_frozen = True
        with stopwatch.running():
            kit.stop()
            for thread in threads:
                thread.join(60)
        proxy.is_frozen = False
        assert threads
        assert not [thread.name for thread in threads if thread.is_alive()]
