from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.license.doubles import KEY, World

from kuploy_saas_kit.license import LicenseSnapshot, LicenseStatus, Operation, ServedFrom
from kuploy_saas_kit.license.reading import hash_of_key
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.testing.clock import ManualClock

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def world() -> World:
    """A hub and a store, both well."""
    return World()


def test_the_first_sync_brings_the_license(world: World) -> None:
    """One exchange verifies, publishes and stores what the hub grants."""
    client = world.client()
    assert client.snapshot().status is LicenseStatus.PENDING
    result = client.sync()
    assert (result.ok, result.code, result.status) == (True, "ok", LicenseStatus.ACTIVE)
    snapshot = client.snapshot()
    assert snapshot.grant is not None
    assert snapshot.grant.tier == "growth"
    assert snapshot.catalog is not None
    assert [plan.slug for plan in snapshot.catalog] == ["free", "pro"]
    assert (snapshot.revision, snapshot.epoch, snapshot.catalog_revision) == (1, 1, 7)
    assert (snapshot.tenant_id, snapshot.license_id, snapshot.plan) == ("tenant_1", "license_1", "growth")
    assert snapshot.served_from is ServedFrom.MEMORY
    assert world.store.record is not None


def test_the_key_travels_in_the_authorization_header_only(world: World) -> None:
    """The license key is in the header that libraries mask, and nowhere in the body."""
    world.client().sync()
    request = world.hub.requests[0]
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Accept-Encoding"] == "identity"
    assert KEY.encode() not in request.body
    assert KEY not in repr(request)


def test_a_restart_with_the_hub_down_has_the_same_rights(world: World) -> None:
    """What was stored is verified and served without the network."""
    before = world.client()
    before.sync()
    world.hub.goes_down()
    after = world.client()
    after.load()
    assert after.snapshot().status is LicenseStatus.ACTIVE
    assert after.snapshot().grant == before.snapshot().grant
    assert after.snapshot().catalog == before.snapshot().catalog
    assert after.snapshot().served_from is ServedFrom.STORE
    assert len(world.hub.requests) == 1


def test_an_outage_runs_through_stale_and_grace_to_expired(world: World) -> None:
    """Creating ends at graceUntil and not before; running never ends."""
    client = world.client()
    client.sync()
    world.hub.goes_down()
    seen = [client.snapshot().status]
    for day in range(8):
        world.clock.advance(DAY if day else 4 * MINUTE)
        seen.append(client.snapshot().status)
        assert client.snapshot().permits(Operation.RUN)
    assert list(dict.fromkeys(seen)) == [
        LicenseStatus.ACTIVE,
        LicenseStatus.STALE,
        LicenseStatus.GRACE,
        LicenseStatus.EXPIRED,
    ]
    assert client.snapshot().status_reason == "offline"
    assert not client.snapshot().permits(Operation.CREATE)
    world.hub.comes_back()
    assert client.sync().status is LicenseStatus.ACTIVE


def test_without_a_key_there_is_no_license(world: World) -> None:
    """UNLICENSED permits running only, and asks the hub for nothing."""
    client = world.client(license_key=None)
    client.load()
    snapshot = client.snapshot()
    assert snapshot.status is LicenseStatus.UNLICENSED
    assert [operation for operation in Operation if snapshot.permits(operation)] == [Operation.RUN]
    assert (snapshot.grant, snapshot.instance_cap("maxProjects")) == (None, 0)
    assert client.sync().code == "no_license_key"
    assert client.tick() == SECOND
    assert world.hub.requests == []


def test_publications_come_before_sync_returns_and_before_listeners(world: World) -> None:
    """The kit's hook hears of every publication first, a listener only of what differs."""
    client = world.client()
    heard: list[tuple[str, LicenseStatus]] = []
    client.on_publish(lambda snapshot: heard.append(("hook", snapshot.status)))
    client.add_listener(lambda snapshot: heard.append(("listener", snapshot.status)))
    client.sync()
    assert heard[-2:] == [("hook", LicenseStatus.ACTIVE), ("listener", LicenseStatus.ACTIVE)]
    heard.clear()
    world.clock.advance(MINUTE)
    client.sync()
    assert heard == [("hook", LicenseStatus.ACTIVE)]


def test_a_listener_that_raises_harms_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A host callback's exception is logged; the others are called and sync returns."""
    client = world.client()
    heard: list[LicenseSnapshot] = []

    def broken(_: LicenseSnapshot) -> None:
        raise RuntimeError("host bug")

    client.add_listener(broken)
    client.on_publish(broken)
    client.add_listener(heard.append)
    assert client.sync().ok
    assert len(heard) == 1
    assert "a license listener failed" in caplog.text


def test_instance_cap_is_what_is_left_for_this_instance(world: World) -> None:
    """An allowance is a total; without one the usage elsewhere is taken off; unlimited stays unlimited."""
    world.hub.says = {
        "usageElsewhere": {"maxProjects": 3, "maxApps": 100},
        "allowances": {"maxDatabases": 14, "maxTeamMembers": 99},
    }
    client = world.client()
    client.sync()
    snapshot = client.snapshot()
    caps = [snapshot.instance_cap(key) for key in ("maxProjects", "maxApps", "maxDatabases", "maxTeamMembers")]
    assert caps == [17, 0, 14, 20]
    assert snapshot.instance_cap("somethingNew") is UNLIMITED


def test_the_loop_syncs_about_once_a_period(world: World) -> None:
    """60 s ± 20 %, and a tick never asks to wait longer than a second."""
    client = world.client()
    assert client.tick() <= SECOND
    world.pass_time(client, timedelta(hours=1), step=SECOND)
    assert 50 <= len(world.hub.requests) <= 75


def test_two_processes_make_one_request_a_period_and_both_have_the_license(world: World) -> None:
    """The lease elects one; the other finds what it stored within a second."""
    leader, follower = world.client(), world.client()
    for _ in range(600):
        leader.tick()
        follower.tick()
        world.clock.advance(SECOND)
        assert follower.snapshot().revision in {leader.snapshot().revision, world.hub.revision}
    assert len(world.hub.requests) <= 14
    assert follower.snapshot().status is LicenseStatus.ACTIVE
    assert follower.snapshot().served_from is ServedFrom.STORE


def test_a_dead_leader_is_followed_within_the_lease(world: World) -> None:
    """The follower takes over when the lease ends and a period has passed."""
    leader, follower = world.client(), world.client()
    leader.tick()
    follower.tick()
    asked = len(world.hub.requests)
    world.pass_time(follower, timedelta(seconds=92), step=SECOND)
    assert len(world.hub.requests) > asked
    assert follower.snapshot().served_from is ServedFrom.MEMORY


def test_a_store_that_fails_stops_no_publication(world: World) -> None:
    """With identity from the configuration a broken store costs nothing but the cache, which is retried."""
    world.store.is_broken = True
    client = world.client()
    assert client.sync().ok
    assert client.snapshot().status is LicenseStatus.ACTIVE
    world.store.is_broken = False
    client.tick()
    assert world.store.record is not None
    assert world.store.record.revision == 1


def test_without_store_and_instance_id_nothing_can_be_asked(world: World) -> None:
    """A broken store that alone knows who this instance is leaves it PENDING, without an exception."""
    world.store.is_broken = True
    client = world.client(instance_id=None)
    result = client.sync()
    assert (result.code, result.status) == ("store.unavailable", LicenseStatus.PENDING)
    world.store.is_broken = False
    world.hub.says = {"instanceId": world.store.ensure_instance_id("inst_made_here")}
    client.tick()
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_record_of_another_license_is_absent_and_replaced(world: World) -> None:
    """A configured key beats what another license left in the store, whatever its revision."""
    world.hub.revision = 500
    world.client().sync()
    world.hub.revision = 0
    world.hub.says = {"keyHash": hash_of_key("lic_other")}
    other = world.client(license_key="lic_other")
    other.load()
    assert other.snapshot().status is LicenseStatus.PENDING
    assert other.sync().ok
    assert world.store.record is not None
    assert world.store.record.revision == 1


def test_what_does_not_verify_is_replaced_whatever_its_revision(world: World) -> None:
    """A forged row with the highest revision blocks nothing."""
    client = world.client()
    client.sync()
    assert world.store.record is not None
    forged = world.store.record
    world.store.record = type(forged)(
        body=b"nonsense", trust="pinned", epoch=2**62, revision=2**62, received_at=forged.received_at, mark=forged.mark
    )
    world.clock.advance(MINUTE)
    assert client.sync().ok
    assert world.store.record.revision == 2


def test_the_same_sync_by_hand_twice_asks_once(world: World) -> None:
    """Within five seconds sync() returns the last result."""
    client = world.client()
    first = client.sync()
    assert client.sync() is first
    world.clock.advance(timedelta(seconds=4, milliseconds=999))
    assert client.sync() is first
    world.clock.advance(timedelta(milliseconds=1))
    client.sync()
    assert len(world.hub.requests) == 2


def test_without_a_configured_key_the_claimed_one_counts_again(world: World) -> None:
    """A configured key beats the stored one as long as it is configured, and takes nothing out of the store."""
    world.store.license_key = KEY
    assert world.client(license_key="lic_of_somebody_else").sync().code == "bind.license"
    assert world.client(license_key=None).sync().ok


class ShiftedClock(ManualClock):
    """The clock of another machine, off by a fixed amount."""

    def __init__(self, true: ManualClock, off: timedelta) -> None:
        super().__init__(true.now())
        self._true, self._off = true, off

    def now(self) -> datetime:
        return self._true.now() + self._off

    def elapsed(self) -> timedelta:
        return self._true.elapsed()


@pytest.mark.parametrize("off", [timedelta(days=3650), timedelta(hours=-1), timedelta(hours=1)])
def test_a_follower_with_a_wrong_clock_is_right_soon(world: World, off: timedelta) -> None:
    """A process that only reads the store, with a clock that is off, asks the hub itself and is ACTIVE."""
    leader, follower = world.client(), world.client()
    follower._clock = follower._leadership._clock = ShiftedClock(world.clock, off)
    for _ in range(180):
        leader.tick()
        follower.tick()
        world.clock.advance(SECOND)
    assert follower.snapshot().status is LicenseStatus.ACTIVE
    for _ in range(600):
        leader.tick()
        follower.tick()
        assert follower.snapshot().status is LicenseStatus.ACTIVE
        world.clock.advance(SECOND)


def test_replaying_stored_licenses_in_order_extends_nothing(world: World) -> None:
    """Genuine old records, put back one after the other, are as old as they are."""
    client = world.client()
    records = []
    for _ in range(5):
        client.sync()
        assert world.store.record is not None
        records.append(world.store.record)
        world.clock.advance(MINUTE)
    world.hub.goes_down()
    world.clock.advance(8 * DAY)
    for fresh in (False, True):
        world.store.record = records[0]
        replayed = world.client()
        if not fresh:
            replayed.load()
        for record in records:
            world.store.record = record
            world.clock.advance(SECOND)
            replayed.tick()
            assert replayed.snapshot().status is LicenseStatus.EXPIRED


def test_a_damaged_time_mark_is_an_absent_record(world: World) -> None:
    """A store that loses the time zone loses the cache and nothing else."""
    world.client().sync()
    assert world.store.record is not None
    world.store.record = replace(world.store.record, mark=world.store.record.mark.replace(tzinfo=None))
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.PENDING
    assert client.sync().ok
