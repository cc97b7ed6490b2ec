import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.license.doubles import World

from kuploy_saas_kit.license import LicenseEvent, LicenseSnapshot, LicenseStatus

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
