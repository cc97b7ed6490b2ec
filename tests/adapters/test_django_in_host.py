"""The Django store inside a Django host: its transactions, its settings, its threads, its event loop."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import close_old_connections, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import override_settings
from tests.adapters.conftest import Schemas
from tests.adapters.django_host import database
from tests.conftest import why_no_postgres
from tests.kit.world import make_world

from kuploy_saas_kit import adapters
from kuploy_saas_kit.adapters import DjangoStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.license import LicenseStatus
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.stripe_provision.ports import SubscriptionChange
from kuploy_saas_kit.testing import gate_over
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW, race
from kuploy_saas_kit.testing.conformance.billing import ROW
from kuploy_saas_kit.testing.conformance.license import CLAIM, RECORD
from kuploy_saas_kit.testing.conformance.plans import CATALOG, assignment
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

needs_postgres = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))

IMMEDIATE = {"transaction_mode": "IMMEDIATE"}


@pytest.fixture
def alias(url: str) -> Iterator[str]:
    """Django's name of a database with the kit's tables, an org and the instance at 0."""
    with database(url) as alias:
        seed(DjangoStore(alias))
        yield alias


@pytest.fixture
def store(alias: str) -> DjangoStore:
    """A store on it."""
    return DjangoStore(alias)


@pytest.fixture
def host(alias: str) -> BaseDatabaseWrapper:
    """Django's connection to it, with a table of the host's."""
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE project (name TEXT)")
    return connections[alias]


def create_project(host: BaseDatabaseWrapper) -> None:
    """What a view does before it takes."""
    with host.cursor() as cursor:
        cursor.execute("INSERT INTO project VALUES (%s)", ["one"])


def projects(host: BaseDatabaseWrapper) -> int:
    """How many the host has."""
    with host.cursor() as cursor:
        found: int = cursor.execute("SELECT count(*) FROM project").fetchone()[0]
        return found


@pytest.mark.parametrize("key", [None, "k"])
def test_what_the_host_rolls_back_never_was(store: DjangoStore, host: BaseDatabaseWrapper, key: str | None) -> None:
    """The project and the take share their fate."""
    for rolls_back, left in ((True, 0), (False, 1)):
        with transaction.atomic(host.alias):
            create_project(host)
            assert store.take(claims(), key=key).outcome is TakeOutcome.TAKEN
            transaction.set_rollback(rolls_back, using=host.alias)
        assert (projects(host), used(store)) == (left, (left, left))


def test_a_host_that_commits_by_itself(url: str) -> None:
    """Where Django's autocommit is off the verbs belong to the transaction that is open, or that they begin."""
    with database(url, AUTOCOMMIT=False, CONN_MAX_AGE=None) as manual, closing(SqlStore.from_url(url)) as other:
        store, host = DjangoStore(manual), connections[manual]
        seed(store)
        host.commit()
        for ends, left in ((host.rollback, 0), (host.commit, 1)):
            assert store.take(claims()).outcome is TakeOutcome.TAKEN
            assert store.take(claims(9, cap=5)).outcome is TakeOutcome.REFUSED
            assert used(other) == (0, 0)
            ends()
            assert used(store) == used(other) == (left, left)
            host.rollback()


def test_autocommit_that_is_turned_off(store: DjangoStore, host: BaseDatabaseWrapper) -> None:
    """A verb that fails undoes itself alone there too, and what the host rolls back never was."""

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    transaction.set_autocommit(False, using=host.alias)
    for ends, left in ((transaction.rollback, 0), (transaction.commit, 1)):
        with pytest.raises(ZeroDivisionError):
            store.put_subscription(ROW, expected_version=0, event_id="evt_1", on_change=refuse)
        assert store.take(claims(), key="k").outcome is TakeOutcome.TAKEN
        create_project(host)
        ends(using=host.alias)
        assert (projects(host), used(store)) == (left, (left, left))
    transaction.commit(using=host.alias)
    transaction.set_autocommit(True, using=host.alias)
    assert not store.look_up_event("evt_1").is_handled


def test_tables_that_the_host_rolls_back(empty_url: str) -> None:
    """`migrate` too is part of what the host ends."""
    with database(empty_url, AUTOCOMMIT=False, CONN_MAX_AGE=None) as manual:
        store, host = DjangoStore(manual), connections[manual]
        store.migrate()
        assert store.load_license() is None
        host.rollback()
        with pytest.raises(StorageError, match="migrate"):
            store.load_license()
        host.rollback()


@needs_postgres
def test_a_connection_that_is_lost_where_the_host_commits(schemas: Schemas) -> None:
    """A broken transaction is the host's to roll back, and a lost connection its to close."""
    with database(schemas.new(migrated=True), AUTOCOMMIT=False, CONN_MAX_AGE=None) as manual:
        store, host = DjangoStore(manual), connections[manual]
        assert store.load_license() is None
        connection = host.connection
        with host.cursor() as cursor:
            cursor.execute("ALTER TABLE kuploy_saas_license RENAME TO elsewhere")
        with pytest.raises(StorageError):
            store.load_license()
        assert host.connection is connection
        host.rollback()
        assert store.load_license() is None
        kill(host)
        with pytest.raises(StorageError, match="lost"):
            store.load_license()
        close_old_connections()  # as at the end of a request
        assert store.load_license() is None


def test_a_verb_that_fails_undoes_itself_alone(store: DjangoStore, host: BaseDatabaseWrapper) -> None:
    """Each verb is a savepoint: the host may catch what it raises, go on and commit."""

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    with transaction.atomic(host.alias):
        create_project(host)
        with pytest.raises(ZeroDivisionError):
            store.put_subscription(ROW, expected_version=0, event_id="evt_1", on_change=refuse)
        assert store.take(claims(9, cap=5)).outcome is TakeOutcome.REFUSED
        assert store.take(claims()).outcome is TakeOutcome.TAKEN
    assert not store.look_up_event("evt_1").is_handled
    assert (projects(host), used(store)) == (1, (1, 1))


def test_a_block_that_is_broken(store: DjangoStore, host: BaseDatabaseWrapper) -> None:
    """A block that can only be rolled back takes nothing: the verb says so, as every query of Django's does."""
    with transaction.atomic(host.alias):
        transaction.set_rollback(True, using=host.alias)
        with pytest.raises(StorageError, match="rolled back"):
            store.take(claims())
    assert used(store) == (0, 0)


@pytest.mark.parametrize(
    ("table", "verb"),
    [
        ("identity", lambda store: store.save_license_key("lic_secret")),
        ("usage", lambda store: store.take(claims())),
        ("usage", lambda store: store.take(claims(), key="lic_secret")),
    ],
    ids=["several statements", "one statement", "a keyed take"],
)
def test_what_the_database_does_is_a_storage_error(
    store: DjangoStore, host: BaseDatabaseWrapper, table: str, verb: Callable[[DjangoStore], object]
) -> None:
    """It says what to do, keeps its cause, shows no value, and the host's block goes on."""
    with host.cursor() as cursor:
        cursor.execute(f"ALTER TABLE kuploy_saas_{table} RENAME TO elsewhere")
    with transaction.atomic(host.alias):
        create_project(host)
        with pytest.raises(StorageError, match=rf"run `manage\.py migrate --database {host.alias}`") as caught:
            verb(store)
    assert projects(host) == 1
    assert "lic_secret" not in f"{caught.value} {caught.value.__cause__}"


def test_threads_create_no_more_than_the_cap(url: str, host: BaseDatabaseWrapper) -> None:
    """In blocks that read before they take, as views do: as many projects as units, in SQLite with IMMEDIATE."""
    options = host.settings_dict["OPTIONS"] | (IMMEDIATE if host.vendor == "sqlite" else {})
    with database(url, OPTIONS=options) as own:
        store = DjangoStore(own)

        def view(_: int) -> bool:
            with transaction.atomic(own):
                projects(connections[own])
                create_project(connections[own])
                taken = store.take(claims(cap=5)).outcome is TakeOutcome.TAKEN
                transaction.set_rollback(not taken, using=own)
                return taken

        assert sum(race(view)) == 5
        assert (projects(host), used(store)) == (5, (5, 5))


def test_a_reader_of_sqlite_that_takes(tmp_path: Path) -> None:
    """Without IMMEDIATE a block that has read cannot take after somebody else wrote: an error, and nothing is taken."""
    with closing(SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}")) as other:
        other.migrate()
        seed(other)
        with database(f"sqlite:///{tmp_path / 'kit.db'}") as alias:

            @transaction.atomic(alias)
            def view(store: DjangoStore) -> None:
                store.usage_of("acme")
                other.take(claims())
                store.take(claims())

            with pytest.raises(StorageError, match="locked"):
                view(DjangoStore(alias))
        assert used(other) == (1, 1)


def test_two_databases(url: str, store: DjangoStore, tmp_path: Any) -> None:
    """A store is on the database that it names, and on no other."""
    with database(f"sqlite:///{tmp_path / 'other.db'}") as other:
        DjangoStore(other).migrate()
        seed(DjangoStore(other))
        with transaction.atomic(other):
            store.take(claims())
            transaction.set_rollback(True, using=other)
        assert (used(store), used(DjangoStore(other))) == ((1, 1), (0, 0))


def test_the_same_rows_as_the_sql_store(url: str, store: DjangoStore) -> None:
    """What one of the two writes the other reads: a worker without Django may use `SqlStore` on the same database."""
    sql = SqlStore.from_url(url)
    for writer, reader in ((store, sql), (sql, store)):
        writer.save_license(RECORD)
        writer.save_claim(CLAIM)
        writer.replace_plans(CATALOG, revision=1)
        writer.put_assignment(assignment("acme", "pro"))
        assert reader.load_license() == RECORD
        assert reader.load_claim() == CLAIM
        assert reader.load_plans() == writer.load_plans()
        assert reader.standing("acme") == writer.standing("acme")
    sql.close()


@pytest.mark.parametrize("binding", [False, True])
def test_settings_of_the_host(url: str, alias: str, *, binding: bool) -> None:
    """Neither Django's time zones nor the way in which it sends values change what is stored."""
    options = connections[alias].settings_dict["OPTIONS"]
    if connections[alias].vendor == "postgresql":
        options = {**options, "server_side_binding": binding}
    with override_settings(USE_TZ=False, TIME_ZONE="America/Toronto"), database(url, OPTIONS=options) as own:
        store = DjangoStore(own)
        store.save_license(RECORD)
        assert store.load_license() == RECORD == DjangoStore(alias).load_license()
        lease = store.take_lease("sync", "a", MINUTE)
        assert DjangoStore(alias).take_lease("sync", "b", MINUTE).until == lease.until
        store.take(claims(), key="k", ttl=MINUTE)
        assert store.release_holding("acme", "k").used == {("acme", "maxProjects"): 0, ("", "maxProjects"): 0}


@needs_postgres
def test_a_connection_that_is_lost(schemas: Schemas) -> None:
    """PostgreSQL ends it: the verb says so, in a block and outside of one, and the next one has a new connection."""
    with database(schemas.new(migrated=True)) as alias:
        store, host = DjangoStore(alias), connections[alias]
        seed(store)

        @transaction.atomic(alias)
        def view() -> None:
            store.take(claims())
            kill(host)
            store.take(claims())

        for verb in (lambda: store.take(claims()), lambda: store.take(claims(), key="k"), lambda: used(store)):
            kill(host)
            with pytest.raises(StorageError, match=r"lost.*ask again under the same key"):
                verb()
            verb()
        with pytest.raises(StorageError, match=r"lost.*ask again under the same key"):
            view()
        assert used(store) == (2, 2)


@needs_postgres
def test_a_health_check_of_the_hosts(schemas: Schemas) -> None:
    """With `CONN_HEALTH_CHECKS` a connection that was lost between two requests costs no verb of the next one."""
    url = schemas.new(migrated=True)
    with database(url, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True) as alias:
        store = DjangoStore(alias)
        seed(store)
        for verb in (lambda: store.take(claims()), lambda: store.take(claims(), key="k"), lambda: used(store)):
            close_old_connections()  # as at the end of a request
            kill(connections[alias])
            verb()
        assert used(store) == (2, 2)


def kill(host: BaseDatabaseWrapper) -> None:
    """End the connection at the server, as a restart or a proxy does."""
    import psycopg  # noqa: PLC0415 - only PostgreSQL's tests come here

    assert host.connection is not None
    pid = host.connection.info.backend_pid
    with psycopg.connect(host.connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


@pytest.mark.anyio
async def test_a_sync_gate_in_an_event_loop(store: DjangoStore) -> None:
    """It is a mistake of the code, and looks like one: no outage, but what to call instead, with Django's error."""
    gate = await sync_to_async(gate_over)(store, plan_limits={"maxProjects": 2})
    for ask in (
        lambda: gate.acquire("acme", "maxProjects"),
        lambda: gate.check_limit("acme", "maxProjects"),
        lambda: gate.check_feature("acme", "aiAssistant"),
        lambda: gate.allows("acme", "aiAssistant"),
        lambda: gate.assign("acme", "standard", actor="admin", reason="comp"),
        lambda: gate.record("acme", "buildMinutesPerMonth", 1, event_key="e1", at=NOW),
    ):
        with pytest.raises(ConfigurationError, match=r"kit\.async_gate") as caught:
            ask()
        assert isinstance(caught.value.__cause__, SynchronousOnlyOperation)


@pytest.mark.anyio
async def test_in_an_event_loop(store: DjangoStore) -> None:
    """The sync store refuses an event loop as Django does, and names what works there."""
    with pytest.raises(ConfigurationError, match="async_store"):
        store.usage_of("acme")
    assert (await store.async_store().take(claims())).outcome is TakeOutcome.TAKEN
    assert await store.async_store().usage_of("acme") == {"maxProjects": 1}
    await store.async_store().close()


def test_a_kit_in_django(alias: str, host: BaseDatabaseWrapper, caplog: pytest.LogCaptureFixture) -> None:
    """A started kit works with it, in its own threads and in the host's; its hook is part of its transaction."""

    def note(change: SubscriptionChange, _: object) -> None:
        assert host.in_atomic_block
        create_project(host)

    with make_world(DjangoStore(alias)) as world, world.kit(on_subscription_change=note) as kit:
        assert kit.license.snapshot().status is LicenseStatus.ACTIVE
        kit.run_once()
        session = kit.checkout.start("acme", "pro", success_url="https://a.example/", cancel_url="https://a.example/")
        world.stripe.pay(session.id)
        kit.webhooks.sync_org("acme")
        assert projects(host) == 1
        assert kit.gate.resolve_plan("acme").slug == "pro"
        with transaction.atomic(alias):
            assert kit.gate.acquire("acme", "maxProjects").granted
            transaction.set_rollback(True, using=alias)
        assert used(world.store) == (0, 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_database_that_is_not_supported() -> None:
    """It is refused by name."""
    unsupported = database("sqlite:///unused.db", ENGINE="django.db.backends.dummy")
    with unsupported as alias, pytest.raises(ConfigurationError, match="SQLite or PostgreSQL"):
        DjangoStore(alias).usage_of("acme")


@pytest.mark.parametrize(("missing", "extra"), [("django", "django"), ("sqlalchemy", "sql")])
def test_a_missing_extra(monkeypatch: pytest.MonkeyPatch, missing: str, extra: str) -> None:
    """Without Django, or SQLAlchemy, the error names the extra to install."""
    for name in [name for name in sys.modules if name.startswith((missing, "kuploy_saas_kit.adapters."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=rf"\[{extra}\]"):
        _ = adapters.DjangoStore


def test_the_app_is_cheap_to_load() -> None:
    """Every command of `manage.py` loads the app; SQLAlchemy comes with the first verb."""
    code = (
        "import sys, django; from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['kuploy_saas_kit.adapters.django']); django.setup()\n"
        "from django.db.migrations.loader import MigrationLoader; MigrationLoader(None)\n"
        "sys.exit('sqlalchemy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own interpreter
