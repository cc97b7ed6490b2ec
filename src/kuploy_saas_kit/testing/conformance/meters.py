"""Meters and announcements."""
# ruff: noqa: S101 - asserting that numbers are right is what these methods are for

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from functools import partial
from itertools import count
from typing import NamedTuple

from kuploy_saas_kit.model.limits import MAX_LIMIT
from kuploy_saas_kit.plans.ports import INSTANCE, AnnouncementStore, MeterEntry, MeterStore
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW, RACES, Crew, StoreTests
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, Deed
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.values import INSTANT, MICROSECOND, NAMES

ORG, OTHER = "acme", "umbrella"


def _add(store: MeterStore, number: int) -> None:
    both = [MeterEntry(scope, f"build{number}", NOW, 60) for scope in (ORG, INSTANCE)]
    store.add_meter(f"event-{number}", both)


class Added(NamedTuple):
    """The two totals."""

    org: int
    instance: int


def _added(store: MeterStore, number: int) -> Added:
    limit = f"build{number}"
    return Added(store.meter_total(ORG, limit, NOW), store.meter_total(INSTANCE, limit, NOW))


class MeterStoreTests(CrashTests):
    """What a `MeterStore` must do."""

    deeds = (Deed(_add, _added),)

    def test_totals(self, store: MeterStore) -> None:
        """Entries add up within their scope, limit and period."""
        recorded = store.add_meter("build-1", [_minutes(60), _minutes(60, scope=INSTANCE)])
        assert recorded.is_new
        assert recorded.totals == {(ORG, "build", NOW): 60, (INSTANCE, "build", NOW): 60}
        assert store.add_meter("build-2", [_minutes(30)]).totals == {(ORG, "build", NOW): 90}
        assert store.meter_total(ORG, "build", NOW) == 90
        assert store.meter_total(ORG, "build", NOW + MINUTE) == 0
        assert store.meter_total(OTHER, "build", NOW) == 0

    def test_an_event_counts_once(self, store: MeterStore, clock: ManualClock) -> None:
        """An event key that was added before adds nothing, whatever comes with it and however late."""
        store.add_meter("build-1", [_minutes(60)])
        for wait in (0, 60 * 24 * 400):
            clock.advance(wait * MINUTE)
            again = store.add_meter("build-1", [_minutes(45)])
            assert not again.is_new
            assert again.totals == {(ORG, "build", NOW): 60}
        other = _minutes(45, OTHER)
        for entry in (other, replace(other, scope=ORG, limit="mail"), replace(other, scope=ORG, period=NOW + MINUTE)):
            assert not store.add_meter("build-1", [entry]).is_new
            assert store.meter_total(entry.scope, entry.limit, entry.period) == 0

    def test_totals_have_64_bits(self, store: MeterStore) -> None:
        """Not one base unit is lost of what 64 bits can hold; a period begins to the microsecond."""
        begin = INSTANT.astimezone(UTC)
        for number, amount in enumerate((MAX_LIMIT - 2, 1, 1)):
            recorded = store.add_meter(f"big-{number}", [MeterEntry(ORG, "bytes", begin, amount)])
            assert recorded.totals == {(ORG, "bytes", begin): MAX_LIMIT - 2 + number}
        assert store.meter_total(ORG, "bytes", begin) == MAX_LIMIT
        assert store.meter_total(ORG, "bytes", begin + MICROSECOND) == 0

    def test_entries_of_one_place_add_up(self, store: MeterStore) -> None:
        """Two entries of one event for the same total both count."""
        assert store.add_meter("build-1", [_minutes(1), _minutes(2)]).totals == {(ORG, "build", NOW): 3}

    def test_no_name_is_taken_for_another(self, store: MeterStore) -> None:
        """Events, orgs and meters stay apart, however much alike their names are."""
        for amount, name in enumerate(NAMES, 1):
            assert store.add_meter(name, [MeterEntry(name, name, NOW, amount)]).is_new
        assert [store.meter_total(name, name, NOW) for name in NAMES] == list(range(1, 1 + len(NAMES)))

    def test_a_race_with_one_event(self, store: MeterStore, crew: Crew, rounds: int) -> None:
        """An event that several deliver, beside others of the same total, counts once."""
        for number in range(RACES * rounds):
            assert sum(crew.race(partial(_deliver, number))) == 1
            total = (number + 1) * (crew.workers + 100)
            assert store.meter_total(ORG, "build", NOW) == total
            assert store.meter_total(INSTANCE, "build", NOW) == total

    def test_a_race_at_every_line(self, store: MeterStore) -> None:
        """Wherever the same event comes in between, it counts once."""
        events = (f"shared-{number}" for number in count())
        for number, (told, where) in enumerate(overtaken(store, lambda: partial(_share, next(events))), 1):
            assert sum(told) == 1, where
            assert store.meter_total(ORG, "build", NOW) == number, where


def _share(event: str, store: MeterStore, _: int) -> bool:
    return store.add_meter(event, [_minutes(1)]).is_new


def _deliver(number: int, store: MeterStore, worker: int) -> bool:
    store.add_meter(f"own-{number}-{worker}", [_minutes(1, scope=INSTANCE), _minutes(1)])
    return store.add_meter(f"shared-{number}", [_minutes(100), _minutes(100, scope=INSTANCE)]).is_new


def _minutes(amount: int, scope: str = ORG) -> MeterEntry:
    return MeterEntry(scope, "build", NOW, amount)


class AnnouncementStoreTests(StoreTests):
    """What an `AnnouncementStore` must do."""

    def test_no_name_is_taken_for_another(self, store: AnnouncementStore) -> None:
        """Announcements stay apart, however much alike their names are."""
        assert all(store.announce_once(name).is_first for name in NAMES)
        assert not any(store.announce_once(name).is_first for name in NAMES)

    def test_it_is_announced_once_for_ever(self, store: AnnouncementStore, clock: ManualClock) -> None:
        """However long ago it was."""
        assert store.announce_once("80 %").is_first
        clock.advance(60 * 24 * 400 * MINUTE)
        assert not store.announce_once("80 %").is_first

    def test_a_race_to_announce(self, store: AnnouncementStore, crew: Crew, rounds: int) -> None:
        """Of many that ask to announce the same thing, one may; another thing is announced by itself."""
        for number in range(RACES * rounds):
            assert sum(crew.race(partial(_announce, f"{number} %"))) == 1
        assert not store.announce_once("0 %").is_first

    def test_a_race_at_every_line(self, store: AnnouncementStore) -> None:
        """Wherever somebody else comes in between, one of the two may announce."""
        names = (f"{number} %" for number in count())
        for told, where in overtaken(store, lambda: partial(_announce, next(names))):
            assert sum(told) == 1, where


def _announce(name: str, store: AnnouncementStore, _: int) -> bool:
    return store.announce_once(name).is_first
