"""PostgreSQL goes away in the middle of every verb: a clear error, nothing half-written, and all is well afterwards."""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.adapters.conftest import Schemas, prepare
from tests.adapters.ways import Proxy
from tests.conftest import why_no_postgres
from tests.kit.world import CATALOG as HUBS_CATALOG
from tests.kit.world import World, make_world

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, Tables
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license import LicenseStatus
from kuploy_saas_kit.plans import Operation, Reason
from kuploy_saas_kit.plans.ports import MeterEntry, Taken, TakeOutcome
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.billing import LIVE, ROW, TEST_MODE, made, mapping
from kuploy_saas_kit.testing.conformance.license import CLAIM, RECORD
from kuploy_saas_kit.testing.conformance.plans import CATALOG, PRO, assignment
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, used
from kuploy_saas_kit.testing.servers import PostgresServer, postgres_schema

if reason := why_no_postgres():
    pytest.skip(reason, allow_module_level=True)

Verb = Callable[[Any], object]

WRITING: dict[str, Verb] = {
    "take that sweeps": lambda store: store.take(claims(3, cap=8), key="swept"),
    "take": lambda store: store.take(claims(cap=20)),
    "take under a key": lambda store: store.take(claims(org="umbrella"), key="new", ttl=MINUTE),
    "give_back": lambda store: store.give_back({("acme", "maxProjects"): 1, ("", "maxProjects"): 1}),
    "seed_usage": lambda store: store.seed_usage(("third", "maxProjects"), 1),
    "put_usage": lambda store: store.put_usage("acme", "maxProjects", 30),
    "settle_holding": lambda store: store.settle_holding("acme", "held"),
    "release_holding": lambda store: store.release_holding("acme", "held"),
    "take for no time": lambda store: store.take(claims(org="umbrella"), key="over", ttl=0 * MINUTE),
    "sweep_holdings": lambda store: store.sweep_holdings(),
    "add_meter": lambda store: store.add_meter("e1", [MeterEntry("acme", "build", NOW, 5)]),
    "announce_once": lambda store: store.announce_once("80 %"),
    "save_license": lambda store: store.save_license(RECORD),
    "save_mark": lambda store: store.save_mark(RECORD.mark + MINUTE),
    "ensure_instance_id": lambda store: store.ensure_instance_id("inst_1"),
    "save_license_key": lambda store: store.save_license_key("lic_1"),
    "save_claim": lambda store: store.save_claim(CLAIM),
    "take_lease": lambda store: store.take_lease("sync", "a", MINUTE),
    "drop_lease": lambda store: store.drop_lease("sweep", "a"),
    "replace_plans": lambda store: store.replace_plans(CATALOG, revision=2),
    "put_plan": lambda store: store.put_plan(replace(PRO, name="Better"), expected_version=1),
    "put_assignment": lambda store: store.put_assignment(assignment("other")),
    "end_assignment": lambda store: store.end_assignment("acme", actor="ann", reason="over", at=NOW),
    "use_space": lambda store: store.use_space(LIVE),
    "put_mapping": lambda store: store.put_mapping(LIVE, mapping(), made()),
    "drop_mapping": lambda store: store.drop_mapping(TEST_MODE, "pro", revision=9),
    "save_fingerprint": lambda store: store.save_fingerprint(LIVE, "f1"),
    "put_subscription": lambda store: store.put_subscription(ROW, expected_version=0, event_id="evt_1"),
    "keep_customer": lambda store: store.keep_customer(LIVE, "acme", "cus_1"),
    "replace_customer": lambda store: store.replace_customer(TEST_MODE, "acme", "cus_2", instead_of="cus_0"),
}
READING: dict[str, Verb] = {
    "usage_of": lambda store: store.usage_of("acme"),
    "meter_total": lambda store: store.meter_total("acme", "build", NOW),
    "changes": lambda store: store.changes(None),
    "load_license": lambda store: store.load_license(),
    "load_license_key": lambda store: store.load_license_key(),
    "load_claim": lambda store: store.load_claim(),
    "load_plans": lambda store: store.load_plans(),
    "standing": lambda store: store.standing("acme"),
    "trail_of": lambda store: store.trail_of("acme"),
    "load_mappings": lambda store: store.load_mappings(LIVE),
    "plan_of_price": lambda store: store.plan_of_price(LIVE, "price_1"),
    "load_fingerprint": lambda store: store.load_fingerprint(LIVE),
    "look_up_event": lambda store: store.look_up_event("evt_1"),
    "load_subscription": lambda store: store.load_subscription(ROW.subscription_id),
    "subscriptions_of": lambda store: store.subscriptions_of("acme"),
    "unmatched_subscriptions": lambda store: store.unmatched_subscriptions(LIVE),
    "customer_of": lambda store: store.customer_of(LIVE, "acme"),
    "org_of_customer": lambda store: store.org_of_customer(LIVE, "cus_1"),
}
VERBS = {**WRITING, **READING}
NO_VERBS = {"from_url", "migrate", "require_tables", "on", "async_store", "close"}
"""What a store has beside verbs."""
LAST_WRITTEN = (
    *("usage", "holding", "meter", "announcement", "license", "identity", "lease"),
    *("feed", "plan_version", "catalog", "mapping", "fingerprint", "customer"),
)
"""The tables that verbs come to last: what they write before is written when they stop here."""

ALL_TABLES = [name.removeprefix("kuploy_saas_") for name in Tables(SqlLayout()).metadata.tables]


def public(kind: type) -> set[str]:
    """The public methods of a class."""
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def of(kind: type, verbs: dict[str, Verb]) -> dict[str, Verb]:
    """Those of *verbs* that the store has."""
    return {name: verb for name, verb in verbs.items() if name.split(" ")[0] in public(kind)}


@pytest.mark.parametrize("kind", [SqlStore, AsyncSqlStore])
def test_the_table_has_every_verb(kind: type) -> None:
    """A verb that is new has to stand in the tables above."""
    assert {name.split(" ")[0] for name in of(kind, VERBS)} == public(kind) - NO_VERBS


def called(url: str) -> Any:
    """The store."""
    return closing(SqlStore.from_url(url, clock=ManualClock(NOW)))


def awaited(url: str) -> FromThreads:
    """The awaited store behind a sync face."""
    return FromThreads(lambda: AsyncSqlStore.from_url(url, clock=ManualClock(NOW)))


class Rows:
    """All that is in the tables, and who waits for whom, asked past the stores."""

    def __init__(self, url: str) -> None:
        import psycopg  # noqa: PLC0415 - where it is missing these tests are skipped

        tables = [table.name for table in Tables(SqlLayout()).metadata.sorted_tables]
        columns = ", ".join(f"(SELECT json_agg(t ORDER BY t::text)::text FROM {name} t)" for name in tables)  # noqa: S608 - ours
        self._all: Any = f"SELECT {columns}"
        self._names = tables
        self._connection = psycopg.connect(url, autocommit=True)

    def kept(self) -> dict[str, str]:
        """Every row of the kit's."""
        (found,) = self._connection.execute(self._all).fetchall()
        return dict(zip(self._names, found, strict=True))

    def waiting(self) -> int:
        """How many statements wait for a lock."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        (found,) = self._connection.execute(query).fetchall()
        return int(found[0])

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


@pytest.mark.parametrize(("kind", "opened"), [(SqlStore, called), (AsyncSqlStore, awaited)])
def test_a_connection_that_is_cut_at_each_request(
    place: str, proxy: Proxy, kind: type, opened: Callable[[str], Any]
) -> None:
    """Before its first statement, between two, before its COMMIT: it raises and changed nothing, and then it works."""
    with closing(Rows(place)) as rows, opened(proxy.url) as store:
        store.usage_of("acme")
        for name, verb in of(kind, VERBS).items():
            before, requests, proxy.left = rows.kept(), 0, 0
            while said := raised(verb, store):
                assert "nothing is half-written" in said, name
                assert rows.kept() == before, (name, requests)
                requests += 1
                proxy.left = requests
            assert requests > 0, name
            assert (rows.kept() != before) is (name in WRITING), name
            proxy.left = None


@pytest.mark.parametrize("opened", [called, awaited])
def test_each_answer_is_lost(proxy: Proxy, opened: Callable[[str], Any]) -> None:
    """A take may have been done then, and the error says so; asked again under its key, as it says, it is done once."""
    with opened(proxy.url) as store:
        (before, _), again = used(store), list[TakeOutcome]()
        for answers in count():
            take, proxy.answers = partial(_take_under, f"lost{answers}"), answers
            said = raised(take, store)
            proxy.answers = None
            if not said:
                break
            assert "whether it was done is not known: ask again under the same key" in said
            again.append(take(store).outcome)
            assert used(store)[0] == before + answers + 1
        assert again == [*(TakeOutcome.TAKEN for _ in again[1:]), TakeOutcome.HELD]  # the last one was COMMIT's


def _take_under(key: str, store: Any) -> Taken:
    taken: Taken = store.take(claims(cap=99), key=key)
    return taken


def raised(verb: Verb, store: object) -> str:
    """What the store said went wrong; nothing if nothing did."""
    try:
        verb(store)
    except StorageError as error:
        return str(error)
    return ""


def test_a_migration_that_is_cut(schemas: Schemas) -> None:
    """There are all tables or none, wherever it was interrupted."""
    url = schemas.new(migrated=False)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Proxy(url, Path(folder))) as proxy,
        called(proxy.url) as store,
    ):
        requests = proxy.left = 1
        while raised(SqlStore.migrate, store):
            proxy.left = None
            with pytest.raises(StorageError, match=r"store\.migrate"):
                store.load_plans()
            requests += 9
            proxy.left = requests
        proxy.left = None
        assert requests > 20
        assert store.load_plans().catalog is None


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be killed."""
    with PostgresServer() as server, closing(SqlStore.from_url(server.url)) as store:
        store.migrate()
        prepare(server.url)
        yield server


@pytest.mark.parametrize(
    ("verbs", "lock", "tables"),
    [
        (WRITING, "EXCLUSIVE", LAST_WRITTEN),
        (READING, "ACCESS EXCLUSIVE", ALL_TABLES),
    ],
    ids=["writing", "reading"],
)
def test_a_server_that_is_killed_in_every_verb(
    server: PostgresServer, verbs: dict[str, Verb], lock: str, tables: list[str]
) -> None:
    """All verbs at once, called and awaited, stopped before their last table: each raises, and nothing was written."""
    import psycopg  # noqa: PLC0415 - where it is missing this test is skipped

    patient = f"{server.url}&command_timeout=0"
    with called(patient) as store, awaited(patient) as other, ExitStack() as exits:
        told = [(store, verb) for verb in verbs.values()] + [
            (other, verb) for verb in of(AsyncSqlStore, verbs).values()
        ]
        threads = exits.enter_context(ThreadPoolExecutor(len(told)))
        with closing(Rows(server.url)) as rows, closing(psycopg.connect(server.url)) as blocker:
            before = rows.kept()
            for name in tables:
                blocker.execute(f"LOCK TABLE {'' if name == 'cloud_plans' else 'kuploy_saas_'}{name} IN {lock} MODE")
            begun = [threads.submit(verb, opened) for opened, verb in told]
            while rows.waiting() < len(begun):
                assert not any(future.done() for future in begun)
                Event().wait(0.02)
            server.kill()
            assert {type(future.exception()) for future in begun} == {StorageError}
        server.start()
        with closing(Rows(server.url)) as rows:
            assert rows.kept() == before
        for opened, verb in told:
            verb(opened)


@pytest.fixture
def kit(server: PostgresServer) -> Iterator[tuple[World, SaasKit, SqlStore]]:
    """A kit that ran once, over tables of its own on the server that may be killed."""
    with ExitStack() as exits:
        url = exits.enter_context(postgres_schema(server.url, "kit"))
        store = exits.enter_context(closing(SqlStore.from_url(url)))
        store.migrate()
        world = exits.enter_context(make_world(store))
        kit = world.kit()
        kit.run_once()
        yield world, kit, store


def test_what_is_answered_while_the_database_is_away(
    server: PostgresServer, kit: tuple[World, SaasKit, SqlStore]
) -> None:
    """What is known is answered from memory, what has to be counted is an error; afterwards all goes on."""
    world, kit_, store = kit
    gate, license_ = kit_.gate, kit_.license
    gate.begin_keeping(HUBS_CATALOG)
    gate.assign("acme", "pro", actor="admin", reason="comp")
    assert gate.acquire("acme", "maxProjects").used == 1
    assert gate.allows("acme", "aiAssistant")
    stored = store.load_license()

    server.kill()
    world.later(seconds=60)
    assert license_.sync().ok  # what the hub says counts at once, and is stored as soon as it can be
    assert license_.snapshot().status is LicenseStatus.ACTIVE
    assert gate.allows("acme", "aiAssistant")
    assert gate.check_feature("acme", "whiteLabel").reason is Reason.NOT_IN_LICENSE
    for counted in (
        lambda: gate.acquire("acme", "maxProjects"),
        lambda: gate.record("acme", "buildMinutesPerMonth", 1, event_key="e1", at=NOW),
    ):
        with pytest.raises(StorageError, match="the database postgres"):
            counted()

    server.start()
    assert gate.acquire("acme", "maxProjects").used == 2
    world.later(seconds=60)
    assert license_.sync().ok
    assert store.load_license() != stored


def test_without_database_and_hub_the_clock_alone_decides(
    server: PostgresServer, kit: tuple[World, SaasKit, SqlStore]
) -> None:
    """Nothing is lost before the grace is over, and what runs is never stopped."""
    world, kit_, _ = kit
    server.kill()
    world.hub.outage("refused")
    statuses = []
    for _ in range(40):
        world.later(days=1)
        assert not kit_.license.sync().ok
        statuses.append(kit_.license.snapshot().status)
        assert kit_.license.snapshot().permits(Operation.RUN)
    server.start()
    assert list(dict.fromkeys(statuses)) == [LicenseStatus.STALE, LicenseStatus.GRACE, LicenseStatus.EXPIRED]
