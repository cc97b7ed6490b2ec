"""PostgreSQL dies in the middle of every verb: a clear error, nothing half-written, and all is well afterwards."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any

import pytest
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans import Gate
from kuploy_saas_kit.plans.ports import MeterEntry
from kuploy_saas_kit.testing import FixedLicense
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.billing import LIVE, ROW, made, mapping
from kuploy_saas_kit.testing.conformance.license import CLAIM, RECORD
from kuploy_saas_kit.testing.conformance.plans import CATALOG, PRO, assignment
from kuploy_saas_kit.testing.conformance.usage import claims, seed
from kuploy_saas_kit.testing.servers import PostgresServer

Verb = Callable[[Any], object]

COUNTING: dict[str, Verb] = {
    "take": lambda store: store.take(claims()),
    "take under a key": lambda store: store.take(claims(org="other"), key="new", ttl=MINUTE),
    "give_back": lambda store: store.give_back({("acme", "maxProjects"): 1, ("", "maxProjects"): 1}),
    "put_usage": lambda store: store.put_usage("acme", "maxProjects", 3),
    "seed_usage": lambda store: store.seed_usage(("third", "maxProjects"), 1),
    "release_holding": lambda store: store.release_holding("acme", "held"),
    "add_meter": lambda store: store.add_meter("e1", [MeterEntry("acme", "buildMinutesPerMonth", NOW, 5)]),
    "announce_once": lambda store: store.announce_once("80 %"),
}
LICENSE: dict[str, Verb] = {
    "save_license": lambda store: store.save_license(RECORD),
    "ensure_instance_id": lambda store: store.ensure_instance_id("inst_1"),
    "save_license_key": lambda store: store.save_license_key("lic_1"),
    "save_claim": lambda store: store.save_claim(CLAIM),
    "take_lease": lambda store: store.take_lease("sync", "a", MINUTE),
}
BOOKS: dict[str, Verb] = {
    "replace_plans": lambda store: store.replace_plans(CATALOG, revision=2),
    "put_plan": lambda store: store.put_plan(PRO, expected_version=1),
    "put_assignment": lambda store: store.put_assignment(assignment("other")),
    "end_assignment": lambda store: store.end_assignment("acme", actor="ann", reason="over", at=NOW),
    "use_space": lambda store: store.use_space(LIVE),
    "put_mapping": lambda store: store.put_mapping(LIVE, mapping(), made()),
    "drop_mapping": lambda store: store.drop_mapping(LIVE, "gone", revision=3),
    "save_fingerprint": lambda store: store.save_fingerprint(LIVE, "f1"),
    "put_subscription": lambda store: store.put_subscription(ROW, expected_version=0, event_id="evt_1"),
    "keep_customer": lambda store: store.keep_customer(LIVE, "acme", "cus_1"),
}
LAST_WRITTEN = (
    *("usage", "meter", "announcement", "license", "identity", "lease"),
    *("feed", "plan_version", "catalog", "mapping", "fingerprint", "customer"),
)
"""The tables that verbs come to last: what they write before is written when they stop here."""


def begin(store: Any, verbs: dict[str, Verb], threads: ThreadPoolExecutor) -> dict[str, Future[object]]:
    """All verbs at the same time."""
    return {name: threads.submit(verb, store) for name, verb in verbs.items()}


def said(begun: dict[str, Future[object]]) -> dict[str, type[BaseException] | None]:
    """What each verb raised."""
    return {name: None if (error := future.exception()) is None else type(error) for name, future in begun.items()}


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
def test_postgresql_dies_in_every_verb() -> None:
    """Each verb is stopped before its last write, and the server killed: the tables are as they were before."""
    import psycopg  # noqa: PLC0415 - where it is missing this test is skipped

    verbs = {**COUNTING, **LICENSE, **BOOKS}
    with PostgresServer() as server, closing(SqlStore.from_url(server.url)) as store:
        prepared(store)
        before = tables(store)
        with closing(psycopg.connect(server.url)) as blocker, ThreadPoolExecutor(len(verbs)) as threads:
            for name in LAST_WRITTEN:
                blocker.execute(f"LOCK TABLE kuploy_saas_{name} IN EXCLUSIVE MODE")
            begun = begin(store, verbs, threads)
            with closing(psycopg.connect(server.url, autocommit=True)) as watcher:
                while waiting(watcher) < len(verbs):
                    assert not any(future.done() for future in begun.values())
                    Event().wait(0.02)
            server.kill()
            assert said(begun) == dict.fromkeys(verbs, StorageError)
        server.start()
        assert tables(store) == before
        for verb in verbs.values():
            verb(store)


def waiting(watcher: Any) -> int:
    """How many verbs wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    found: int = watcher.execute(query).fetchone()[0]
    return found


def prepared(store: SqlStore) -> None:
    """Something for each verb to change."""
    store.migrate()
    seed(store)
    store.replace_plans(CATALOG, revision=1)
    store.put_assignment(assignment("acme", "pro"))
    store.take(claims(), key="held", ttl=MINUTE)
    store.take(claims())


def tables(store: SqlStore) -> dict[str, list[Any]]:
    """Every row of the kit's."""
    with store._reading() as connection:
        found = store._tables.metadata.sorted_tables
        return {table.name: sorted(connection.execute(table.select()).all(), key=repr) for table in found}


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
def test_the_gate_answers_while_the_database_is_away() -> None:
    """Features are answered from memory; what has to be counted is an error, until the server is back."""
    with PostgresServer() as server, closing(SqlStore.from_url(server.url)) as store:
        prepared(store)
        gate = Gate(license=FixedLicense(), plans=store, subscriptions=store, usage=store, clock=ManualClock(NOW))
        gate.begin_keeping(CATALOG)
        before = gate.check_feature("acme", "customDomains")
        assert before.granted
        server.kill()
        assert gate.check_feature("acme", "customDomains") == before
        with pytest.raises(StorageError):
            gate.acquire("acme", "maxProjects")
        server.start()
        assert gate.acquire("acme", "maxProjects").granted
