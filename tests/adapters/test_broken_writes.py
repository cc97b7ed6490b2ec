"""Stores that look, and then write, and the race that comes in between at every line: it finds each at once."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from tests.adapters.test_broken_stores import LeaseForTwo, LosesRaises, again_and_again

from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.license.ports import LicenseRecord, LicenseSaved
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import Announced, MeterEntry, MeterRecorded, PlanSaved
from kuploy_saas_kit.stripe_provision.ports import (
    MadePrice,
    MappingPut,
    OnChange,
    PriceMapping,
    PutOutcome,
    StoredSubscription,
    SubscriptionPut,
)
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW


class LastWriteWins(SqlStore):
    """Looks at the version in a transaction of its own, and then writes over whatever is there."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        held = self.load_subscription(row.subscription_id)
        if held.version != expected_version:
            return SubscriptionPut(PutOutcome.CONFLICT, held.row)
        while True:
            version = self.load_subscription(row.subscription_id).version
            put = super().put_subscription(row, expected_version=version, event_id=event_id, on_change=on_change)
            if put.outcome is not PutOutcome.CONFLICT:
                return put


class LooksFirst(MemoryStore):
    """Looks whether it may write, lets go of the lock, and writes."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        version = self.load_plans().versions.get(plan.slug, 0)
        if version != expected_version:
            return PlanSaved(saved=False, version=version)
        with self._lock:
            return super().put_plan(plan, expected_version=self._state.plan_versions.get(plan.slug, 0))

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        held = self.load_subscription(row.subscription_id)
        if event_id is not None and self.look_up_event(event_id).is_handled:
            return SubscriptionPut(PutOutcome.DUPLICATE, held.row)
        if held.version != expected_version:
            return SubscriptionPut(PutOutcome.CONFLICT, held.row)
        with self._lock:
            version = self._state.subscriptions.get(row.subscription_id, StoredSubscription(None, 0)).version
            put = super().put_subscription(row, expected_version=version, on_change=on_change)
            self._state.events.update([event_id] if event_id is not None else [])
            return put

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        held = self.customer_of(space, org_id)
        if held is not None:
            return held
        self._state.customers[space, org_id] = customer_id
        return customer_id

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        held = self.load_mappings(space).get(mapping.slug)
        if held is not None and held.revision > mapping.revision:
            return MappingPut(saved=False, revision=held.revision)
        with self._lock:
            self.drop_mapping(space, mapping.slug, revision=1_000_000)
            return super().put_mapping(space, mapping, price)

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        held = self.load_license()
        if held is not None and (held.epoch, held.revision) >= (record.epoch, record.revision):
            return LicenseSaved(saved=False)
        self._state.license = record
        return LicenseSaved(saved=True)

    def announce_once(self, name: str) -> Announced:
        if name in self._state.announced:
            return Announced(is_first=False)
        self._state.announced.add(name)
        return Announced(is_first=True)

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        if event_key in self._state.meter_events:
            return super().add_meter(event_key, entries)
        with self._lock:
            self._state.meter_events.discard(event_key)
            return super().add_meter(event_key, entries)


class KeepsTheEvent(MemoryStore):
    """Writes down the event of a row that somebody else's has overtaken."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        if self.load_subscription(row.subscription_id).version == expected_version and event_id is not None:
            self._state.events.add(event_id)
        return super().put_subscription(row, expected_version=expected_version, on_change=on_change)


class FarAway(MemoryStore):
    """Looks first as well, and needs a while for each call to open a connection."""

    def announce_once(self, name: str) -> Announced:
        Event().wait(0.02)
        if name in self._state.announced:
            return Announced(is_first=False)
        self._state.announced.add(name)
        return Announced(is_first=True)


subscriptions = conformance.SubscriptionStoreTests()


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (LooksFirst, subscriptions.test_a_race_at_every_line),
        (LooksFirst, subscriptions.test_a_race_of_deliveries_at_every_line),
        (KeepsTheEvent, subscriptions.test_a_race_for_the_first_row_at_every_line),
        (LooksFirst, conformance.CustomerStoreTests().test_a_race_at_every_line),
        (LooksFirst, conformance.ProvisioningStoreTests().test_a_race_at_every_line),
        (LooksFirst, conformance.PlanStoreTests().test_a_race_at_every_line),
        (LosesRaises, conformance.StandingStoreTests().test_a_race_at_every_line),
        (LooksFirst, conformance.LicenseStoreTests().test_a_race_at_every_line),
        (LeaseForTwo, conformance.LeaseStoreTests().test_a_race_at_every_line),
        (LooksFirst, conformance.MeterStoreTests().test_a_race_at_every_line),
        (LooksFirst, conformance.AnnouncementStoreTests().test_a_race_at_every_line),
        (FarAway, conformance.AnnouncementStoreTests().test_a_race_at_every_line),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_who_looks_first_is_overtaken(broken: type[MemoryStore], law: Callable[[object], None]) -> None:
    """Once is enough where the other one is not held up by something else, and it says where."""
    with pytest.raises(AssertionError, match="overtaken before line"):
        again_and_again(lambda: law(broken(ManualClock(NOW))))


def test_the_last_write_wins(tmp_path: Path, sqlite_template: Path) -> None:
    """It is found in a file too, where those who come late wait for so long that a race of many passes by mostly."""

    def attempt() -> None:
        url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'kit.db')}"
        with closing(LastWriteWins.from_url(url)) as store:
            subscriptions.test_a_race_at_every_line(store)

    with pytest.raises(AssertionError, match="overtaken before line"):
        again_and_again(attempt)
