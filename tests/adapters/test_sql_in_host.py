"""Every verb inside a transaction of the host's."""

from collections.abc import Iterator
from typing import TypeVar

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.adapters.sql.store import BoundStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import Claim, TakeOutcome
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

T = TypeVar("T", bound=type)


def one_connection(tests: T) -> T:
    """The class without its races: one transaction is one thread's."""
    for name in dir(tests):
        if name.startswith(("test_a_race", "test_threads")):
            setattr(tests, name, None)
    return tests


@pytest.fixture
def migrated(url: str, clock: ManualClock) -> Iterator[SqlStore]:
    """The kit's own store on the database."""
    store = SqlStore.from_url(url, clock=clock)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    """The clock that the store goes by."""
    return ManualClock()


@pytest.fixture
def connection(url: str, migrated: SqlStore) -> Iterator[Connection]:
    """A connection of the host's own engine, as SQLAlchemy makes it by itself, with a table of the host's."""
    engine = create_engine(url)
    with engine.begin() as making:
        making.execute(text("CREATE TABLE project (name TEXT)"))
    with engine.connect() as connection:
        yield connection
        connection.rollback()
        connection.execute(text("DROP TABLE project"))
        connection.commit()
    engine.dispose()


class HostTests:
    @pytest.fixture
    def store(self, clock: ManualClock, migrated: SqlStore, connection: Connection) -> BoundStore:
        return BoundStore(connection, migrated._tables, clock)


@one_connection
class TestPlans(HostTests, conformance.PlanStoreTests): ...


@one_connection
class TestStandings(HostTests, conformance.StandingStoreTests): ...


@one_connection
class TestFeed(HostTests, conformance.ChangeFeedTests): ...


@one_connection
class TestUsage(HostTests, conformance.UsageStoreTests): ...


@one_connection
class TestHoldings(HostTests, conformance.HoldingStoreTests): ...


@one_connection
class TestMeters(HostTests, conformance.MeterStoreTests): ...


@one_connection
class TestSubscriptions(HostTests, conformance.SubscriptionStoreTests): ...


@one_connection
class TestAudit(HostTests, conformance.AuditStoreTests): ...


@one_connection
class TestFingerprints(HostTests, conformance.FingerprintStoreTests): ...


@one_connection
class TestProvisioning(HostTests, conformance.ProvisioningStoreTests): ...


def projects(store: SqlStore) -> tuple[int, int]:
    """The counters as everybody else sees them."""
    return used(store)


def test_what_the_host_rolls_back_never_was(migrated: SqlStore, connection: Connection) -> None:
    """The project and the take share their fate."""
    seed(migrated)
    for commit, expected in ((False, 0), (True, 1)):
        connection.execute(text("INSERT INTO project VALUES ('one')"))
        assert migrated.on(connection).take(claims(), key="one").outcome is TakeOutcome.TAKEN
        connection.commit() if commit else connection.rollback()
        assert projects(migrated) == (expected, expected)
        assert connection.execute(text("SELECT count(*) FROM project")).scalar() == expected
        connection.rollback()


def test_the_kit_never_commits(migrated: SqlStore, connection: Connection) -> None:
    """No verb of a bound store ends the host's transaction."""
    seed(migrated)
    ended: list[str] = []
    event.listen(connection, "commit", lambda _: ended.append("commit"))
    event.listen(connection, "rollback", lambda _: ended.append("rollback"))
    bound = migrated.on(connection)
    bound.take(claims(), key="one")
    bound.release_holding("acme", "one")
    bound.take(claims(9, cap=5))
    bound.put_subscription(ROW, expected_version=0)
    assert ended == []
    assert connection.in_transaction()


def test_a_refused_take_leaves_the_transaction_usable(migrated: SqlStore, connection: Connection) -> None:
    """The host goes on after a refusal and commits what it wants."""
    seed(migrated, org_value=5)
    bound = migrated.on(connection)
    connection.execute(text("INSERT INTO project VALUES ('one')"))
    assert bound.take(claims(cap=5), key="one").outcome is TakeOutcome.REFUSED
    assert bound.take([Claim("nobody", "maxProjects", 1, 5)]).outcome is TakeOutcome.UNSEEDED
    connection.commit()
    assert connection.execute(text("SELECT count(*) FROM project")).scalar() == 1
    assert projects(migrated) == (5, 5)


def test_a_session_of_the_host(url: str, migrated: SqlStore) -> None:
    """An ORM session is as good as a connection."""
    seed(migrated)
    engine = create_engine(url)
    with Session(engine) as session:
        assert migrated.on(session).take(claims()).outcome is TakeOutcome.TAKEN
        session.commit()
        assert migrated.on(session).take(claims()).outcome is TakeOutcome.TAKEN
        session.rollback()
    engine.dispose()
    assert projects(migrated) == (1, 1)


@pytest.mark.anyio
async def test_a_session_that_is_awaited(url: str, migrated: SqlStore) -> None:
    """An async session and an async connection carry the awaited verbs."""
    seed(migrated)
    store = AsyncSqlStore.from_url(url)
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    async with AsyncSession(engine) as session:
        assert (await store.on(session).take(claims())).outcome is TakeOutcome.TAKEN
        await session.rollback()
        assert (await store.on(session).take(claims(2))).outcome is TakeOutcome.TAKEN
        await session.commit()
    async with engine.connect() as connection:
        assert await store.on(connection).usage_of("acme") == {"maxProjects": 2}
    await engine.dispose()
    await store.close()


def test_what_the_database_does_is_a_storage_error(migrated: SqlStore, connection: Connection) -> None:
    """Also inside the host's transaction, with the cause kept and no value shown."""
    connection.execute(text("ALTER TABLE kuploy_saas_identity RENAME TO elsewhere"))
    with pytest.raises(StorageError, match="migrate") as caught:
        migrated.on(connection).save_license_key("lic_secret")
    assert caught.value.__cause__ is not None
    assert "lic_secret" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.skipif(bool(why_no_postgres()), reason=str(why_no_postgres()))
def test_another_isolation_level(schemas: Schemas) -> None:
    """A transaction that PostgreSQL refuses for what another one did meanwhile is told to try again, and may."""
    engine = create_engine(schemas.new(migrated=True), isolation_level="REPEATABLE READ")
    store = SqlStore(engine)
    seed(store)
    with engine.connect() as connection:
        assert store.on(connection).usage_of("acme") == {"maxProjects": 0}
        assert store.take(claims()).outcome is TakeOutcome.TAKEN
        with pytest.raises(StorageError, match=r"\(SerializationFailure\).*try again"):
            store.on(connection).take(claims())
        connection.rollback()
        assert store.on(connection).take(claims()).outcome is TakeOutcome.TAKEN
    store.close()
    engine.dispose()
