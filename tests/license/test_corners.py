"""What goes wrong rarely: odd stores, odd answers, odd hosts."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any, NoReturn

import pytest
from tests.license.doubles import INSTANCE, KEY, SIGNER, TinyStore, World, payload
from tests.license.fault_server import Conversation, FaultServer, nonce_of, response

import kuploy_saas_kit.license as room
from kuploy_saas_kit.errors import PayloadRejectedError, StorageError
from kuploy_saas_kit.license import (
    ClaimState,
    ClaimStatus,
    HttpxTransport,
    LicenseClient,
    LicenseConfig,
    LicenseSnapshot,
    LicenseStatus,
    Refresher,
)
from kuploy_saas_kit.license.leadership import Leadership
from kuploy_saas_kit.license.listeners import Listeners
from kuploy_saas_kit.license.ports import HubResponse, LicenseRecord, LicenseSaved, UsageReport
from kuploy_saas_kit.license.state import LicenseState
from kuploy_saas_kit.license.wire import PayloadReader, read_catalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def test_the_room_says_what_it_has() -> None:
    """Every public name loads; any other is an AttributeError; the list is sorted."""
    assert dir(room) == room.__all__ == sorted(room.__all__)
    assert all(getattr(room, name) is not None for name in room.__all__)
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = room.nothing_like_that


def test_the_whole_way_over_a_real_socket() -> None:
    """The default transport, a loopback hub and a token: ACTIVE."""

    def hub(conversation: Conversation) -> None:
        _, body = conversation.read_request()
        said = payload(world.clock.now(), nonce=nonce_of(body), iss=server.url)
        conversation.send(response(json.dumps({"success": True, "license": SIGNER.sign(said)}).encode()))

    world = World()
    with FaultServer(hub) as server:
        config = LicenseConfig(
            hub_url=server.url, license_key=KEY, instance_id=INSTANCE, trusted_keys={"k1": SIGNER.public}
        )
        client = LicenseClient(config, TinyStore(world.clock), clock=world.clock)
        assert client.sync().ok
        client.stop()


def test_a_usage_source_that_fails_does_not_stop_the_sync(caplog: pytest.LogCaptureFixture) -> None:
    """The license matters more than the report."""

    class Broken:
        def usage_report(self) -> NoReturn:
            raise RuntimeError("host bug")

    world = World()
    client = LicenseClient(LicenseConfig(**world.config), world.store, usage=Broken(), transport=world.hub)
    assert client.sync().ok
    assert world.hub.bodies[0]["usage"] == {}
    assert "reports no usage" in caplog.text


def test_over_limit_is_told_from_what_was_reported() -> None:
    """Usage here and elsewhere above the license is a flag, and deletes nothing."""
    world = World()
    world.usage.report = UsageReport({"maxProjects": 18, "maxApps": 50, "somethingNew": 10**9})
    world.hub.says = {"usageElsewhere": {"maxProjects": 3}}
    client = world.client()
    client.sync()
    assert client.snapshot().over_limit == ("maxProjects",)
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_store_that_fails_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Asked each second, a broken store fills no log; when it fails again later, it is told again."""
    world = World()
    client = world.client()
    client.sync()
    for _ in range(2):
        world.store.is_broken = True
        world.pass_time(client, 30 * SECOND, step=SECOND)
        world.store.is_broken = False
        world.pass_time(client, 2 * SECOND, step=SECOND)
    complaints = [record for record in caplog.records if "served from memory" in record.getMessage()]
    assert 2 <= len(complaints) <= 6


def test_a_damaged_stored_key_is_no_key() -> None:
    """What cannot be a license key is not sent anywhere."""
    world = World(license_key=None)
    world.store.license_key = "KPXY\r\nX: y"
    client = world.client()
    assert client.sync().code == "no_license_key"
    assert world.hub.requests == []


def test_a_key_that_is_taken_away_leaves_the_instance_unlicensed() -> None:
    """Forgetting the claimed key is seen at the next tick; claiming again brings the stored license back."""
    world = World(license_key=None)
    world.store.license_key = KEY
    client = world.client()
    assert client.sync().ok
    world.store.license_key = None
    client.tick()
    assert client.snapshot().status is LicenseStatus.UNLICENSED
    world.store.license_key = KEY
    client.tick()
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_faster_replica_with_a_worthless_record_is_replaced() -> None:
    """A lost compare-and-set against what does not verify is tried once more, in its place."""
    world = World()
    client = world.client()
    client.sync()
    stored = world.store.record
    assert stored is not None
    world.clock.advance(MINUTE)

    def and_meanwhile(body: Mapping[str, Any]) -> HubResponse:
        world.store.record = replace(stored, body=b"worthless", revision=10**9)
        return world.hub.license(body)

    world.hub.fault = and_meanwhile
    assert client.sync().ok
    assert world.store.record is not None
    assert world.store.record.revision == 2


def test_a_store_that_raises_its_own_error_is_believed() -> None:
    """A `StorageError` of a store goes through as it is; a claim shows it to the caller."""

    class Refusing(TinyStore):
        def _check(self) -> None:
            if self.is_broken:
                raise StorageError("locked")

    world = World(license_key=None)
    world.store = Refusing(world.clock)
    world.store.is_broken = True
    with pytest.raises(StorageError, match="locked"):
        world.client().begin_claim()


def test_a_store_without_leases_works() -> None:
    """Electing is an extra: without it every process syncs, and claims are begun."""

    class Plain:
        """A `ClientStore` that is no `LeaseStore`."""

        def __init__(self, inner: TinyStore) -> None:
            self.load_license = inner.load_license
            self.save_mark = inner.save_mark
            self.ensure_instance_id = inner.ensure_instance_id
            self.load_license_key = inner.load_license_key
            self.save_license_key = inner.save_license_key
            self.load_claim = inner.load_claim
            self.save_claim = inner.save_claim
            self._inner = inner

        def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
            return self._inner.save_license(record, instead_of=instead_of)

    world = World()
    client = LicenseClient(LicenseConfig(**world.config), Plain(world.store), transport=world.hub, clock=world.clock)
    client.tick()
    assert client.snapshot().status is LicenseStatus.ACTIVE
    client.stop()
    assert Leadership(None, world.clock).ask().is_mine


def test_a_lease_that_fails_is_done_without() -> None:
    """The lease is advisory: when it cannot be taken or dropped, syncing goes on."""

    class NoLeases(TinyStore):
        def take_lease(self, name: str, holder: str, ttl: timedelta) -> NoReturn:
            raise OSError("no such table")

    world = World()
    world.store = NoLeases(world.clock)
    client = world.client()
    client.tick()
    assert client.snapshot().status is LicenseStatus.ACTIVE

    holder = World()
    kept = holder.client()
    kept.tick()
    holder.store.is_broken = True
    kept.stop()


def test_a_turn_and_a_claim_state_are_no_truth_values() -> None:
    """An outcome in an `if` is a mistake and raises."""
    for outcome in (Leadership(None, World().clock).ask(), ClaimState(ClaimStatus.NONE)):
        with pytest.raises(TypeError, match="use "):
            bool(outcome)


def test_a_time_mark_that_cannot_be_saved_is_told_and_tried_again() -> None:
    """The hourly mark is a nicety; without it rights stay as they are."""
    world = World()
    client = world.client()
    client.sync()
    world.hub.goes_down()
    world.pass_time(client, timedelta(minutes=59), step=MINUTE)
    before = world.store.record
    world.store.is_broken = True
    world.pass_time(client, timedelta(minutes=5), step=MINUTE)
    world.store.is_broken = False
    assert world.store.record == before
    world.pass_time(client, timedelta(hours=2), step=MINUTE)
    assert world.store.record is not None
    assert before is not None
    assert world.store.record.mark > before.mark
    assert world.store.record.body == before.body


def test_a_kit_without_metadata_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run from a folder, the kit still says something."""

    def missing(_: str) -> NoReturn:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", missing)
    world = World()
    world.client().sync()
    assert world.hub.bodies[0]["kitVersion"] == "0"


@pytest.mark.parametrize("document", [[], "x", 1, None])
def test_a_payload_is_an_object(document: object) -> None:
    """Anything else is refused for its shape."""
    with pytest.raises(PayloadRejectedError, match="not an object"):
        PayloadReader(KUPLOY_CLOUD).read(document)


def test_a_period_ends_after_it_begins() -> None:
    """An empty or reversed period is refused, naming the meter."""
    with pytest.raises(PayloadRejectedError, match="buildMinutesPerMonth"):
        PayloadReader(KUPLOY_CLOUD).read(payload(NOW, periods={"buildMinutesPerMonth": [2, 2]}))


def test_a_payload_without_a_catalog_has_none() -> None:
    """The catalog is optional: some tenants own their plans."""
    assert PayloadReader(KUPLOY_CLOUD).read(payload(NOW, catalog=None)).catalog.catalog is None
    assert read_catalog(None, KUPLOY_CLOUD).error is None


def test_an_answer_over_the_cap_is_refused_whatever_brought_it() -> None:
    """A host's transport without a cap is no way around it (F28)."""
    world = World()
    world.hub.answers(b" " * ((1 << 20) + 1))
    assert world.client().sync().code == "payload.too_large"


def test_a_follower_whose_time_is_behind_catches_up() -> None:
    """A stored license issued after this process's license time moves that time on."""
    world = World()
    first, second = world.client(), world.client()
    first.sync()
    second.sync()
    world.hub.skew = MINUTE
    world.clock.advance(MINUTE)
    second.sync()
    first.tick()
    assert first.snapshot().at == second.snapshot().at
    assert first.snapshot().revision == second.snapshot().revision


def test_a_wall_clock_that_was_read_is_not_taken_back() -> None:
    """What a snapshot showed as expired stays expired when the clock is set back (invariant 5)."""
    world = World()
    world.client().sync()
    world.hub.goes_down()
    client = world.client()
    client.load()
    world.clock.jump(timedelta(days=8))
    assert client.snapshot().status is LicenseStatus.EXPIRED
    world.clock.jump(timedelta(days=-8))
    assert client.snapshot().status is LicenseStatus.EXPIRED


def mended(thing: HttpxTransport | Refresher | Listeners | LicenseClient) -> None:
    """Tell *thing* that it woke up in the child of a fork."""
    thing.after_fork()


def test_what_a_fork_breaks_is_mended() -> None:
    """Locks are re-made, threads count as gone, leases as another's."""
    world = World()
    client = world.client()
    client.sync()
    lock, holder = client._flight, client._leadership._holder
    mended(client)
    assert client._flight is not lock
    assert client._leadership._holder != holder
    mended(HttpxTransport())
    listeners = Listeners(LicenseSnapshot(LicenseState(), NOW))
    mended(listeners)
    listeners.stop()


def test_an_orphaned_refresher_is_revived_by_reading() -> None:
    """In the child the thread is gone; a snapshot starts it again."""
    ticked = threading.Event()

    def tick() -> timedelta:
        ticked.set()
        return MINUTE

    refresher = Refresher(tick, name="test")
    refresher.start()
    assert ticked.wait(60)
    ticked.clear()
    mended(refresher)
    assert refresher.is_orphaned
    refresher.revive()
    assert ticked.wait(60)
    refresher.stop()
    assert not refresher.is_orphaned


def test_a_full_queue_of_changes_drops_the_newest(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that blocks costs memory for 64 changes and no more, and its thread ends when it blocks no longer."""
    gate, blocked = threading.Event(), threading.Event()
    listeners = Listeners(LicenseSnapshot(LicenseState(), NOW))

    def blocks(_: LicenseSnapshot) -> None:
        blocked.set()
        gate.wait(60)

    listeners.add(blocks)
    for number in range(80):
        listeners.tell(LicenseSnapshot(LicenseState(has_key=number % 2 == 0), NOW), in_background=True)
        assert blocked.wait(60)
    assert caplog.text.count("a change was not told") == 80 - 1 - 64
    thread = listeners._thread
    assert thread is not None
    listeners.stop()
    gate.set()
    thread.join(60)
    assert not thread.is_alive()
