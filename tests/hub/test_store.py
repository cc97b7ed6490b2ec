"""The hub's stores: the same rows from both, all or nothing, also between processes."""

import contextlib
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import examples
from tests.hub.talk import content, sync_request
from tests.hub.values import NOW

from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.records import (
    ROW_KINDS,
    Claim,
    ClaimStatus,
    HubStatus,
    Instance,
    License,
    MeterTotal,
    Row,
    Tenant,
    TenantCatalog,
    TenantSubscription,
    WrongCode,
    WrongCodes,
)
from kuploy_saas_kit.hub.service import Hub, Plain
from kuploy_saas_kit.hub.store import HubStore, MemoryHubStore, SqliteHubStore
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.testing.clock import ManualClock

FREE = Plan("free", "Gratuit – €", is_default=True, description="two\nlines")
PRO = Plan("pro", "Pro", Price(0, "gnf", "annual"), {"aiAssistant"}, {"maxApps": UNLIMITED}, is_active=False)

ROWS: tuple[Row, ...] = (
    Tenant(tenant_id="tenant_1", name="Acme"),
    TenantSubscription(tenant_id="tenant_1", product_type="kuploy-cloud", tier="growth", paid_until=NOW),
    TenantCatalog(tenant_id="tenant_1", product_type="kuploy-cloud", revision=3, plans=(FREE, PRO)),
    License(
        license_id="license_1",
        key_hash="sha256:1",
        tenant_id="tenant_1",
        product_type="kuploy-cloud",
        issued_at=NOW,
        status=HubStatus.SUSPENDED,
        status_reason="unpaid",
    ),
    Instance(
        license_id="license_1",
        instance_id="inst_one",
        place=2,
        held_until=NOW + timedelta(days=7),
        revision=2**63 - 1,
        report_seq=4,
        usage={"maxApps": 2**63 - 1},
        meters=(MeterTotal("buildMinutesPerMonth", NOW, 60),),
        allowances={"maxApps": 3},
    ),
    Claim(
        secret_hash="sha256:2",
        instance_id="inst_one",
        product_type="kuploy-cloud",
        code="KPXY-4829",
        hostname="node-1",
        public_url="",
        registered_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        interval=timedelta(seconds=5),
        status=ClaimStatus.APPROVED,
        polled_at=NOW,
        license_key="lic_1",
        tenant_name="Acme",
    ),
    WrongCodes(entries=(WrongCode("tenant_1", NOW),)),
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HubStore]:
    """Each store in turn."""
    if request.param == "memory":
        made: HubStore = MemoryHubStore()
    else:
        made = sqlite = SqliteHubStore(tmp_path / "hub.db")
        sqlite.migrate()
    yield made
    made.close()


def test_every_kind_of_row_comes_back_as_it_was(store: HubStore) -> None:
    """What was put is got, equal in every field, and found by its lookups."""
    assert {type(row) for row in ROWS} == set(ROW_KINDS)
    with store.transaction() as rows:
        for row in ROWS:
            rows.put(row)
            rows.put(row)
    with store.transaction() as rows:
        for row in ROWS:
            key = [getattr(row, name) for name in row.KEY]
            assert rows.get(type(row), *key) == row
            for name in (*row.KEY, *row.LOOKUPS):
                assert rows.find(type(row), **{name: getattr(row, name)}) == (row,)
                assert rows.find(type(row), **{name: "another"}) == ()


def test_rows_are_found_in_the_order_of_their_keys(store: HubStore) -> None:
    """All rows of a kind come ordered; a dropped one is gone, and dropping it again is nothing."""
    names = ["b", "a", "c"]
    with store.transaction() as rows:
        for name in names:
            rows.put(Tenant(tenant_id=name, name=name))
        rows.drop(Tenant(tenant_id="b", name=""))
        rows.drop(Tenant(tenant_id="b", name=""))
        assert [tenant.tenant_id for tenant in rows.find(Tenant)] == ["a", "c"]


def test_a_failed_transaction_leaves_nothing(store: HubStore) -> None:
    """What raises within a transaction takes everything back that it put."""

    def put_and_fail() -> None:
        with store.transaction() as rows:
            rows.put(ROWS[0])
            raise LookupError

    with pytest.raises(LookupError):
        put_and_fail()
    with store.transaction() as rows:
        assert rows.get(Tenant, "tenant_1") is None


def test_no_revision_is_answered_twice(store: HubStore) -> None:
    """Forty syncs of one instance in eight threads have forty revisions."""
    clock = ManualClock()
    admin = HubAdmin(store, clock)
    license_key = admin.issue_license(admin.add_tenant("Acme"), "kuploy-cloud", "growth")
    hub = Hub(store, Plain(), clock)
    request = sync_request(license_key)
    request = type(request)(request.url, {"authorization": f"Bearer {license_key}"}, request.body)
    seen: list[int] = []

    def work() -> None:
        seen.extend(content(hub.post(request))["license"]["revision"] for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 41))


def test_the_file_is_shared_and_private(tmp_path: Path) -> None:
    """A second store on the file sees the rows; only the owner may read them; migrating again changes nothing."""
    path = tmp_path / "hub.db"
    first, second = SqliteHubStore(path), SqliteHubStore(path)
    first.migrate()
    with first.transaction() as rows:
        rows.put(ROWS[0])
    second.migrate()
    with second.transaction() as rows:
        assert rows.get(Tenant, "tenant_1") == ROWS[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_dropped_key_is_gone_from_the_file(tmp_path: Path) -> None:
    """The license key of a claim that is over is not left in the file's free pages."""
    path = tmp_path / "hub.db"
    store = SqliteHubStore(path)
    store.migrate()
    claim = next(row for row in ROWS if isinstance(row, Claim))
    with store.transaction() as rows:
        rows.put(replace(claim, license_key="lic_once_here"))
    assert b"lic_once_here" in path.read_bytes()
    with store.transaction() as rows:
        rows.drop(claim)
    assert b"lic_once_here" not in path.read_bytes()


def test_what_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    """A damaged row, a file that is no database and a folder that is not there are errors that say what to do."""
    path = tmp_path / "hub.db"
    store = SqliteHubStore(path)
    store.migrate()
    with store.transaction() as rows:
        rows.put(ROWS[0])
        rows.put(ROWS[2])
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE hub_tenant SET row = '{\"secret\": 1}'")
        connection.execute("UPDATE hub_tenantcatalog SET row = replace(row, '\"gnf\"', '\"zzz\"')")
    connection.close()
    for kind, key in ((Tenant, ["tenant_1"]), (TenantCatalog, ["tenant_1", "kuploy-cloud"])):
        with pytest.raises(StorageError, match="restore") as refused, store.transaction() as rows:
            rows.get(kind, *key)
        assert "secret" not in str(refused.value)
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError), SqliteHubStore(garbage).transaction():
        pass
    with pytest.raises(StorageError):
        SqliteHubStore(tmp_path / "nowhere" / "hub.db").migrate()


def test_only_declared_lookups(store: HubStore) -> None:
    """A field that is no lookup is a mistake of the caller."""
    with pytest.raises(TypeError, match="status"), store.transaction() as rows:
        rows.find(License, status="active")


_TENANTS = st.builds(
    Tenant, tenant_id=st.sampled_from(["a", "b", "ä", "'; --"]), name=st.text(st.characters(codec="utf-8"))
)
_LICENSES = st.builds(
    License,
    license_id=st.sampled_from(["l1", "l2", "l3"]),
    key_hash=st.sampled_from(["h1", "h2"]),
    tenant_id=st.sampled_from(["a", "b"]),
    product_type=st.just("kuploy-cloud"),
    issued_at=st.datetimes(timezones=st.just(UTC)),
    status=st.sampled_from(HubStatus),
)
_STEPS = st.lists(st.tuples(st.sampled_from(["put", "drop", "fail"]), _TENANTS | _LICENSES), max_size=12)


@settings(max_examples=examples(20))
@given(steps=_STEPS)
def test_both_stores_are_one(steps: list[tuple[str, Row]]) -> None:
    """Any sequence of puts, drops and failed transactions leaves the same rows in memory and in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        sqlite = SqliteHubStore(Path(folder) / "hub.db")
        sqlite.migrate()
        stores: list[HubStore] = [MemoryHubStore(), sqlite]
        for store in stores:
            for verb, row in steps:
                with contextlib.suppress(LookupError), store.transaction() as rows:
                    (rows.drop if verb == "drop" else rows.put)(row)
                    if verb == "fail":
                        raise LookupError
        memory, file = [_seen(store) for store in stores]
        assert memory == file


def _seen(store: HubStore) -> list[tuple[Row, ...]]:
    with store.transaction() as rows:
        by_lookup = [rows.find(License, key_hash=value) for value in ("h1", "h2")]
        return [rows.find(Tenant), rows.find(License), *by_lookup, rows.find(License, tenant_id="a", key_hash="h1")]
