"""Meters and announcements."""
# ruff: noqa: S101 - asserting that numbers are right is what these methods are for

from __future__ import annotations

from kuploy_saas_kit.plans.ports import INSTANCE, AnnouncementStore, MeterEntry, MeterStore
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW, WORKERS, StoreTests, race

ORG, OTHER = "acme", "umbrella"


class MeterStoreTests(StoreTests):
    """What a `MeterStore` must do."""

    def test_totals(self, store: MeterStore) -> None:
        """Entries add up within their scope, limit and period."""
        recorded = store.add_meter("build-1", [_minutes(60), _minutes(60, scope=INSTANCE)])
        assert recorded.is_new
        assert recorded.totals == {(ORG, "build", NOW): 60, (INSTANCE, "build", NOW): 60}
        assert store.add_meter("build-2", [_minutes(30)]).totals == {(ORG, "build", NOW): 90}
        assert store.meter_total(ORG, "build", NOW) == 90
        assert store.meter_total(ORG, "build", NOW + MINUTE) == 0
        assert store.meter_total(OTHER, "build", NOW) == 0

    def test_an_event_counts_once(self, store: MeterStore) -> None:
        """An event key that was added before adds nothing, whatever comes with it."""
        store.add_meter("build-1", [_minutes(60)])
        again = store.add_meter("build-1", [_minutes(45)])
        assert not again.is_new
        assert again.totals == {(ORG, "build", NOW): 60}

    def test_entries_of_one_place_add_up(self, store: MeterStore) -> None:
        """Two entries of one event for the same total both count."""
        assert store.add_meter("build-1", [_minutes(1), _minutes(2)]).totals == {(ORG, "build", NOW): 3}

    def test_threads_count_an_event_once(self, store: MeterStore) -> None:
        """An event that several threads deliver, beside others of the same total, counts once."""

        def turn(worker: int) -> bool:
            store.add_meter(f"own-{worker}", [_minutes(1, scope=INSTANCE), _minutes(1)])
            return store.add_meter("shared", [_minutes(100), _minutes(100, scope=INSTANCE)]).is_new

        assert sum(race(turn)) == 1
        assert store.meter_total(ORG, "build", NOW) == WORKERS + 100
        assert store.meter_total(INSTANCE, "build", NOW) == WORKERS + 100


def _minutes(amount: int, scope: str = ORG) -> MeterEntry:
    return MeterEntry(scope, "build", NOW, amount)


class AnnouncementStoreTests(StoreTests):
    """What an `AnnouncementStore` must do."""

    def test_threads_announce_once(self, store: AnnouncementStore) -> None:
        """Of many that ask to announce the same thing, one may; another thing is announced by itself."""
        assert sum(announced.is_first for announced in race(lambda _: store.announce_once("80 %"))) == 1
        assert store.announce_once("100 %").is_first
