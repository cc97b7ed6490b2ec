import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.license.doubles import World

from kuploy_saas_kit.license import LicenseEvent, LicenseSnapshot, LicenseStatus
from kuploy_saas_kit.license.grace import grace_step

MINUTE = timedelta(minutes=1)


def watched(world: World) -> list[LicenseEvent]:
    """The events of a client that syncs four times, and then over a damaged cache."""
    client = world.client()
    events: list[LicenseEvent] = []
    client.add_observer(events.append)
    for _ in range(4):
        client.sync()
        world.clock.advance(MINUTE)
    return events


def test_every_sync_is_an_event_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """One each, with the same fields, and no secret among them."""
    caplog.set_level(logging.INFO)
    events = watched(World())
    assert [event.name for event in events] == ["sync"] * 4
    assert events[-1].fields == {
        "code": "ok",
        "ok": True,
        "hub_code": None,
        "status": "active",
        "revision": 4,
        "license_id": "license_1",
        "failures": 0,
    }
    lines = [record for record in caplog.records if record.name == "kuploy_saas_kit.license"]
    assert [record.__dict__["license"] for record in lines] == [event.fields for event in events]


def test_a_rejected_key_is_an_alarm_once() -> None:
    """401 three times in a row calls for a person, the fourth does not call again (F16)."""
    world = World()
    world.hub.answers(b"", 401)
    names = [event.name for event in watched(world)]
    assert names == ["sync", "sync", "sync", "alarm", "sync"]


def test_equivocation_is_an_alarm() -> None:
    """Two contents under one revision are worth a call (F50)."""
    world = World()
    client = world.client()
    events: list[LicenseEvent] = []
    client.sync()
    client.add_observer(events.append)
    world.hub.revision = 0
    world.clock.advance(MINUTE)
    assert client.sync().code == "replay.equivocation"
    assert LicenseEvent("alarm", {"code": "replay.equivocation"}) in events


def test_trouble_with_the_store_is_told() -> None:
    """A refused cache and a failing store are events of their own; an observer that raises harms nobody."""
    world = World()
    world.client().sync()
    assert world.store.record is not None
    world.store.record = replace(world.store.record, body=b"x")
    client = world.client()
    events: list[LicenseEvent] = []

    def broken(_: LicenseEvent) -> None:
        raise RuntimeError("host bug")

    client.add_observer(broken)
    client.add_observer(events.append)
    client.load()
    world.store.is_broken = True
    client.tick()
    names = [event.name for event in events]
    assert names[0] == "cache.refused"
    assert "store.failed" in names
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_status_that_only_time_changes_is_told_too() -> None:
    """ACTIVE to STALE by the clock reaches listeners at the next tick, in order, and once."""
    world = World()
    client = world.client()
    heard: list[LicenseSnapshot] = []
    client.add_listener(heard.append)
    client.sync()
    world.hub.goes_down()
    for _ in range(20):
        world.clock.advance(MINUTE)
        client.sync()
    statuses = [snapshot.status for snapshot in heard]
    assert statuses == [LicenseStatus.ACTIVE, LicenseStatus.STALE]


def test_the_end_of_the_grace_is_told_in_good_time() -> None:
    """At 75, 50, 25 and 10 percent left and an hour before the end, each once; and again in the next outage."""
    world = World()
    client = world.client()
    client.sync()
    events: list[LicenseEvent] = []
    client.add_observer(events.append)
    for _ in range(2):
        world.hub.goes_down()
        world.pass_time(client, timedelta(days=8), step=timedelta(minutes=30))
        world.hub.comes_back()
        world.clock.advance(MINUTE)
        assert client.sync().ok
        client.tick()
    told = [event.fields for event in events if event.name == "grace"]
    assert [fields["percent"] for fields in told] == [75, 50, 25, 10, 0] * 2
    week = timedelta(days=7).total_seconds()
    for fields, share in zip(told, [0.75, 0.5, 0.25, 0.1], strict=False):
        assert isinstance(fields["seconds_left"], int)
        assert week * share - 3600 <= fields["seconds_left"] <= week * share


def test_a_start_late_in_the_grace_tells_the_last_step_only() -> None:
    """Who starts with a day left hears of that, and not of what is past."""
    world = World()
    world.client().sync()
    world.hub.goes_down()
    world.clock.advance(timedelta(days=6))
    client = world.client()
    events: list[LicenseEvent] = []
    client.add_observer(events.append)
    client.tick()
    assert [event.fields["percent"] for event in events if event.name == "grace"] == [25]


def test_no_word_outside_of_the_grace() -> None:
    """Nothing is to be told while the license is fresh or stale, at the beginning of GRACE, and once it has expired."""
    world = World()
    client = world.client()
    assert grace_step(client.snapshot()) is None
    client.sync()
    for days, status in ((0.0, "active"), (0.5, "stale"), (1.0, "grace"), (8.0, "expired")):
        world.clock.advance(timedelta(days=days))
        assert client.snapshot().status == status
        assert grace_step(client.snapshot()) is None
