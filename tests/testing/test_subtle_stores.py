"""Stores that are wrong where nobody looks twice: one verb each, as adapters over a host's own tables get it wrong."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import partialmethod
from threading import Lock
from typing import Any

import pytest
from tests.adapters.test_broken_stores import ATTEMPTS, Law

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.adapters._rules import PlansUpdate, may_apply, meter_sums, plan_update, replace_flags
from kuploy_saas_kit.errors import CatalogError
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import (
    Assignment,
    OrgStanding,
    OrgSubscription,
    StripeSpace,
    effective_subscription,
)
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Announced,
    AssignmentSaved,
    Claim,
    CounterKey,
    GivenBack,
    MeterEntry,
    MeterRecorded,
    PlanSaved,
    PlansReplaced,
    Taken,
    TakeOutcome,
    UsagePut,
)
from kuploy_saas_kit.stripe_provision.ports import (
    MadePrice,
    MappingDrop,
    MappingPut,
    PriceMapping,
    PutOutcome,
    SubscriptionChange,
    SubscriptionPut,
)
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock


def untold(store: MemoryStore, action: Callable[[], Any]) -> Any:
    """What *action* returns; it enters nothing in the feed and raises no version of a standing."""
    feed, versions = list(store._state.feed), dict(store._state.standing_versions)
    answer = action()
    store._state.feed, store._state.standing_versions = feed, versions
    return answer


# plans


class CatalogsRaiseNoVersion(MemoryStore):
    """Versions are for saves by hand: whoever read a plan before a catalog changed it may write over that."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        with self._lock:
            versions = dict(self._state.plan_versions)
            replaced = super().replace_plans(catalog, revision=revision, source=source)
            self._state.plan_versions.update(versions)
            return replaced


class DemotionRaisesNoVersion(MemoryStore):
    """The default that is taken over from is updated in passing."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        with self._lock:
            versions = dict(self._state.plan_versions)
            saved = super().put_plan(plan, expected_version=expected_version)
            self._state.plan_versions = versions | ({plan.slug: saved.version} if saved.saved else {})
            return saved


class Writes(MemoryStore):
    """What is written of a plan, and of the one before; a subclass says."""

    def written(self, plan: Plan, before: Plan) -> Plan:
        """The row."""
        raise NotImplementedError

    def _apply(self, update: PlansUpdate) -> None:
        held = self._state.plans
        rows = tuple(self.written(plan, held[plan.slug]) if plan.slug in held else plan for plan in update.rows)
        super()._apply(replace(update, rows=rows))


class MergesJson(Writes):
    """`limits || excluded.limits`: what a plan has no more stays."""

    def written(self, plan: Plan, before: Plan) -> Plan:
        limits = {**before.limits, **plan.limits}
        return Plan(plan.slug, plan.name, plan.price, plan.features, limits, is_default=plan.is_default)


class HasColumns(MemoryStore):
    """Has a column for each limit of the kit, and none for others."""

    def _apply(self, update: PlansUpdate) -> None:
        super()._apply(replace(update, rows=tuple(self._kept(plan) for plan in update.rows)))

    def _kept(self, plan: Plan) -> Plan:
        limits = {key: limit for key, limit in plan.limits.items() if key.startswith("max")}
        return Plan(plan.slug, plan.name, plan.price, plan.features, limits, is_default=plan.is_default)


class SwitchesOnWhatItHad(Writes):
    """A plan that comes back is switched on, and its row is not looked at."""

    def written(self, plan: Plan, before: Plan) -> Plan:
        is_back = plan.is_active and not before.is_active
        return replace_flags(before, is_default=plan.is_default, is_active=True) if is_back else plan


class SavesAsActive(Writes):
    """The form has no field for it."""

    def written(self, plan: Plan, before: Plan) -> Plan:
        return replace_flags(plan, is_default=plan.is_default, is_active=True)


class KeepsPlaces(MemoryStore):
    """A plan's place is written when it is inserted."""

    def _apply(self, update: PlansUpdate) -> None:
        held = [slug for slug in self._state.plans if slug in update.order]
        super()._apply(replace(update, order=(*held, *(slug for slug in update.order if slug not in held))))


class ForgetsTheSource(MemoryStore):
    """A plan that is saved is nobody's catalog."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        saved = super().put_plan(plan, expected_version=expected_version)
        self._state.catalog_source = ""
        return saved


class InsertsWhatever(MemoryStore):
    """Compares versions where it updates, and not where it inserts."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        is_new = plan.slug not in self._state.plans
        return super().put_plan(plan, expected_version=0 if is_new else expected_version)


class LooksAtTheRevision(MemoryStore):
    """Looks at the revision in a transaction of its own."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        if not may_apply(self._state.catalog_revision, revision, has_plans=bool(self._state.plans)):
            return PlansReplaced(applied=False)
        with self._lock:
            self._state.catalog_revision = None
            return super().replace_plans(catalog, revision=revision, source=source)


class DefaultsBySnapshot(MemoryStore):
    """Writes the rows that a snapshot says: two that take the default over at once both keep it."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        update = plan_update(dict(self._state.plans), plan)
        with self._lock:
            for row in update.rows:
                self._state.plans[row.slug] = row
                self._state.plan_versions[row.slug] = self._state.plan_versions.get(row.slug, 0) + 1
        return PlanSaved(saved=True, version=self._state.plan_versions[plan.slug])


class HasFloats(MemoryStore):
    """Keeps numbers as JavaScript and Lua do."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        return super().replace_plans(catalog, revision=int(float(revision)), source=source)

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        return super().save_license(replace(record, revision=int(float(record.revision))), instead_of=instead_of)

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        return super().put_mapping(space, replace(mapping, revision=int(float(mapping.revision))), price)

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        recorded = super().add_meter(event_key, entries)
        return replace(recorded, totals={place: int(float(total)) for place, total in recorded.totals.items()})


# standings and the feed


class LooksAtThePrevious(MemoryStore):
    """Reads what was in force before it has the lock."""

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        previous = self._state.assignments.get(assignment.org_id)
        super().put_assignment(assignment)
        return AssignmentSaved(previous)


class EndsUntold(MemoryStore):
    """Deletes the row without a word to other processes."""

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        end = partialmethod(MemoryStore.end_assignment, org_id, actor=actor, reason=reason, at=at)
        ended: AssignmentSaved = untold(self, end.__get__(self))
        return ended


class ReplacesUntold(MemoryStore):
    """Tells of what it inserts, not of what it updates."""

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        feed = list(self._state.feed)
        saved = super().put_assignment(assignment)
        self._state.feed = self._state.feed if saved.previous is None else feed
        return saved


class RetiresUntold(MemoryStore):
    """Tells of plans that changed, not of those that went."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        feed = list(self._state.feed)
        replaced = super().replace_plans(catalog, revision=revision, source=source)
        self._state.feed = self._state.feed if replaced.changed else feed
        return replaced


# subscriptions; of the other arguments only `on_change` matters here


class Puts(MemoryStore):
    """Calls `put` in place of `put_subscription`; a subclass says what is wrong with it."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        """Write the row."""
        return super().put_subscription(row, **how)

    def put_subscription(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        return self.put(row, **how)


class KeepsWhatIsEmptyNow(Puts):
    """`COALESCE(excluded.cancel_at, cancel_at)`: whoever took the cancellation back is cut off all the same."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        held = self.load_subscription(row.subscription_id).row
        kept: dict[str, Any] = {
            each.name: getattr(row, each.name) or getattr(held, each.name, None) for each in fields(row)[-4:]
        }
        return super().put(replace(row, **kept), **how)


class ComparesSomeColumns(Puts):
    """Takes a row for equal whose plan, status and end are."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        held = self.load_subscription(row.subscription_id).row
        if held is not None and replace(held, period_end=row.period_end) == row:
            return super().put(held, **how)
        return super().put(row, **how)


class CallsBackAnyhow(Puts):
    """Tells the host of what was not written, too."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        put = super().put(row, **how)
        if put.outcome is not PutOutcome.SAVED and how.get("on_change"):
            how["on_change"](SubscriptionChange(put.previous, row), None)
        return put


class RollsBackExceptions(Puts):
    """`except Exception: rollback`: what is none leaves the transaction to be committed by the next one."""

    def put(self, row: OrgSubscription, *, on_change: Any = None, **how: Any) -> SubscriptionPut:
        raised: list[BaseException] = []

        def call_back(change: SubscriptionChange, connection: Any) -> None:
            try:
                on_change(change, connection)
            except Exception:
                raise
            except BaseException as error:  # noqa: BLE001 - the mistake
                raised.append(error)

        put = super().put(row, on_change=on_change and call_back, **how)
        for error in raised:
            raise error
        return put


class ForgetsWhoLostIt(Puts):
    """A row without an org is nobody's change."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        write = partialmethod(Puts.put, row, **how).__get__(self)
        put: SubscriptionPut = untold(self, write) if row.org_id is None else write()
        return put


class LosesRaises(Puts):
    """Raises the version that it read before it wrote."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        version = self.standing(row.org_id or "").version
        put = super().put(row, **how)
        self._state.standing_versions[row.org_id or ""] = version + 1
        return put


class PointsAtTheBest(Puts):
    """A column of the org's points at its subscription, and stays where it is when that one ends."""

    def put(self, row: OrgSubscription, **how: Any) -> SubscriptionPut:
        before = self.standing(row.org_id or "").subscription
        put = super().put(row, **how)
        if before is None or effective_subscription([before, row]) == row:
            self.__dict__["pointer"] = row.subscription_id
        return put

    def standing(self, org_id: str) -> OrgStanding:
        standing = super().standing(org_id)
        if standing.subscription is None:
            return standing
        return replace(standing, subscription=self.load_subscription(self.__dict__["pointer"]).row)


class SortsById(MemoryStore):
    """Lists rows as their primary key has them."""

    def unmatched_subscriptions(self, space: StripeSpace) -> Sequence[OrgSubscription]:
        return sorted(super().unmatched_subscriptions(space), key=lambda row: row.subscription_id)


class SpacesRaiseVersions(MemoryStore):
    """Another space is a change of each standing."""

    def use_space(self, space: StripeSpace) -> None:
        super().use_space(space)
        self._state.standing_versions = {org: version + 1 for org, version in self._state.standing_versions.items()}


class AstralIsOne(MemoryStore):
    """Compares by a collation to which all characters beyond 16 bits are the same."""

    def standing(self, org_id: str) -> OrgStanding:
        return super().standing("\U0001f363" if org_id > "\uffff" else org_id)


# counters and holdings


class KnowsAmounts(MemoryStore):
    """A holding has an amount, and not of what."""

    def same(self, held: Mapping[CounterKey, int], asked: Mapping[CounterKey, int]) -> bool:
        """Whether the key is taken to hold what is asked for."""
        return list(held.values()) == list(asked.values())

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        if taken.outcome is not TakeOutcome.CONFLICT:
            return taken
        held = self._state.holdings[claims[0].scope, key or ""].amounts
        is_same = self.same(held, {claim.counter: claim.amount for claim in claims})
        return replace(taken, outcome=TakeOutcome.HELD) if is_same else taken


class HoldsMore(KnowsAmounts):
    """Looks whether all that is asked for is held."""

    def same(self, held: Mapping[CounterKey, int], asked: Mapping[CounterKey, int]) -> bool:
        return asked.items() <= held.items()


class HoldsLess(KnowsAmounts):
    """Looks whether all that is held is asked for."""

    def same(self, held: Mapping[CounterKey, int], asked: Mapping[CounterKey, int]) -> bool:
        return held.items() <= asked.items()


class KnowsOneLimit(MemoryStore):
    """A holding has a column for its limit."""

    def _subtract(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        limit = next((limit for _, limit in amounts), None)
        return super()._subtract({counter: amount for counter, amount in amounts.items() if counter[1] == limit})


class NamesOneUnseeded(MemoryStore):
    """Stops at the first counter without a row."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        return replace(taken, unseeded=taken.unseeded[:1])


class BlocksAsAsked(MemoryStore):
    """Refuses by the first claim, in the caller's order, that does not fit."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        as_asked = sorted(claims, key=lambda claim: claim.scope == INSTANCE)
        return replace(taken, blocking=self._blocking(as_asked)) if taken.blocking is not None else taken


class LocksAsAsked(MemoryStore):
    """Locks row by row in the caller's order: two callers with two orders wait for each other."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._row_locks: defaultdict[CounterKey, Lock] = defaultdict(Lock)

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        with ExitStack() as locked:
            for claim in claims:
                row = self._row_locks[claim.counter]
                assert row.acquire(timeout=0.2), "deadlock"
                locked.callback(row.release)
            return super().take(claims, key=key, ttl=ttl)


class MeasuresBelowZero(MemoryStore):
    """Moves the sum by the difference, wherever that leads."""

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        before = self._state.used.get((INSTANCE, limit))
        put = super().put_usage(org_id, limit, value)
        return put if before is None else replace(put, instance=before + value - put.previous)


class Lasts(MemoryStore):
    """Makes something of a holding's time; a subclass says what."""

    @staticmethod
    def kept(ttl: timedelta) -> timedelta | None:
        """How long it is held."""
        raise NotImplementedError

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return super().take(claims, key=key, ttl=None if ttl is None else self.kept(ttl))


class ZeroIsForEver(Lasts):
    """`if ttl:`."""

    @staticmethod
    def kept(ttl: timedelta) -> timedelta | None:
        return ttl or None


class WholeSeconds(Lasts):
    """`int(ttl.total_seconds())`."""

    @staticmethod
    def kept(ttl: timedelta) -> timedelta | None:
        return timedelta(seconds=int(ttl.total_seconds()))


class ForgetsDays(Lasts):
    """`ttl.seconds`."""

    @staticmethod
    def kept(ttl: timedelta) -> timedelta | None:
        return timedelta(seconds=ttl.seconds, microseconds=ttl.microseconds)


class LosesWhatExpired(MemoryStore):
    """Deletes an expired holding that is released, and leaves its amounts to a sweep that finds it no more."""

    def release_holding(self, scope: str, key: str) -> GivenBack:
        held = self._state.holdings.get((scope, key))
        if held is not None and held.is_expired(self._clock.now()):
            del self._state.holdings[scope, key]
            return GivenBack()
        return super().release_holding(scope, key)


# meters and announcements


class EventOfAPlace(MemoryStore):
    """The event's key is unique together with the row that it counts in."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        return super().add_meter(f"{event_key} {sorted(meter_sums(entries))}", entries)


class MonthsOnly(MemoryStore):
    """Forgets after a while what was counted and what was announced."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._begin = clock.now()

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        return super().add_meter(f"{event_key} {(self._clock.now() - self._begin) // timedelta(days=90)}", entries)

    def announce_once(self, name: str) -> Announced:
        return super().announce_once(f"{name} {(self._clock.now() - self._begin) // timedelta(days=90)}")


class PeriodsBySecond(MemoryStore):
    """Keeps when a period begins to the second."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        kept = [replace(entry, period=entry.period.replace(microsecond=0)) for entry in entries]
        return super().add_meter(event_key, kept)


# the license, identity and leases


class CutsOff(MemoryStore):
    """Keeps what a BLOB of MySQL has room for."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        return super().save_license(replace(record, body=record.body[:65535]), instead_of=instead_of)


class KnowsBodies(MemoryStore):
    """Knows the record that is to be replaced by its bytes."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        held = self._state.license
        is_known = held is not None and instead_of is not None and held.body == instead_of.body
        return super().save_license(record, instead_of=held if is_known else None)


class ReplacesOrNothing(MemoryStore):
    """`UPDATE … WHERE body = instead_of`: where that is not there, nothing is saved."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        held = self._state.license
        if instead_of is not None and (held is None or held.body != instead_of.body):
            return LicenseSaved(saved=False)
        return super().save_license(record, instead_of=instead_of)


class MarksWhatItRead(MemoryStore):
    """`record = get(); record.mark = mark; record.save()`: an answer that was saved meanwhile is gone."""

    def save_mark(self, mark: datetime) -> None:
        held = self.load_license()
        if held is not None and held.mark < mark:
            self._state.license = replace(held, mark=mark)


class OneRow(MemoryStore):
    """`INSERT OR REPLACE` into the one row: what is not written is empty."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        self._state.instance_id = None
        return super().save_license(record, instead_of=instead_of)


class KeyEndsTheClaim(MemoryStore):
    """The same, where the key is saved."""

    def save_license_key(self, license_key: str | None) -> None:
        super().save_license_key(license_key)
        self._state.claim = None


class ClaimEndsTheKey(MemoryStore):
    """The same, where the claim is forgotten."""

    def save_claim(self, claim: ClaimRecord | None) -> None:
        super().save_claim(claim)
        self._state.license_key = None


class LooksForTheId(MemoryStore):
    """Get or create: each of two replicas that start at once is an instance."""

    def ensure_instance_id(self, candidate: str) -> str:
        if self._state.instance_id is None:
            self._state.instance_id = candidate
            return candidate
        return self._state.instance_id


class ProlongsNothing(MemoryStore):
    """Tells the holder that it goes on, and leaves the end where it was."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        owner, _ = held = self._state.leases.get(name, (None, None))
        lease = super().take_lease(name, holder, ttl)
        if owner == holder:
            self._state.leases[name] = held  # type: ignore[assignment]
        return lease


class DropsAllOfOne(MemoryStore):
    """Deletes every lease of the holder."""

    def drop_lease(self, name: str, holder: str) -> None:
        self._state.leases = {held: lease for held, lease in self._state.leases.items() if lease[0] != holder}


# what is at Stripe


class KeepsTheFingerprint(MemoryStore):
    """Updates the ids of a mapping, and not what it was made from."""

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        held = self.load_mappings(space).get(mapping.slug, mapping)
        return super().put_mapping(space, replace(mapping, fingerprint=held.fingerprint), price)


class DropsAfterALook(MemoryStore):
    """Looks at the mapping's revision, and then deletes whatever is there."""

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        held = self.load_mappings(space).get(slug)
        if held is not None and held.revision > revision:
            return MappingDrop(dropped=False, revision=held.revision)
        self._state.mappings.get(space, {}).pop(slug, None)
        return MappingDrop(dropped=True, revision=revision)


class NeverSellsAgain(MemoryStore):
    """Remembers the revision at which a plan was dropped."""

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        if (space, price.price_id) in self._state.prices and mapping.slug not in self.load_mappings(space):
            return MappingPut(saved=False, revision=mapping.revision)
        return super().put_mapping(space, mapping, price)


class CutsFingerprints(MemoryStore):
    """Keeps them in a column of 32 characters."""

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        super().save_fingerprint(space, None if fingerprint is None else fingerprint[:32])


class ReplacesAfterALook(MemoryStore):
    """Looks whether the customer is still the one that is gone."""

    def replace_customer(self, space: StripeSpace, org_id: str, customer_id: str, *, instead_of: str) -> str:
        held = self.customer_of(space, org_id)
        if held is not None and held != instead_of:
            return held
        self._state.customers[space, org_id] = customer_id
        return customer_id


plans, standings, feed = conformance.PlanStoreTests(), conformance.StandingStoreTests(), conformance.ChangeFeedTests()
subscriptions, spaces = conformance.SubscriptionStoreTests(), conformance.CurrentSpaceTests()
usage, holdings = conformance.UsageStoreTests(), conformance.HoldingStoreTests()
meters, announcements = conformance.MeterStoreTests(), conformance.AnnouncementStoreTests()
licenses, identity = conformance.LicenseStoreTests(), conformance.IdentityStoreTests()
leases, provisioning = conformance.LeaseStoreTests(), conformance.ProvisioningStoreTests()

LAWS = [
    Law(CatalogsRaiseNoVersion, plans.test_what_changes_a_plan_raises_its_version),
    Law(DemotionRaisesNoVersion, plans.test_what_changes_a_plan_raises_its_version),
    Law(MergesJson, plans.test_another_catalog_leaves_nothing_of_the_one_before),
    Law(HasColumns, plans.test_a_plan_of_a_products_own),
    Law(KeepsPlaces, plans.test_another_catalog_leaves_nothing_of_the_one_before),
    Law(SavesAsActive, plans.test_another_catalog_leaves_nothing_of_the_one_before),
    Law(SavesAsActive, plans.test_saving_one_plan),
    Law(SwitchesOnWhatItHad, plans.test_a_plan_that_is_gone_becomes_inactive),
    Law(ForgetsTheSource, plans.test_saving_one_plan),
    Law(InsertsWhatever, plans.test_saving_over_somebody_else),
    Law(LooksAtTheRevision, plans.test_a_race_of_catalogs),
    Law(DefaultsBySnapshot, plans.test_a_race_for_the_default),
    Law(HasFloats, plans.test_a_revision_has_64_bits),
    Law(LooksAtThePrevious, standings.test_a_race_at_every_line),
    Law(AstralIsOne, standings.test_no_org_sees_another),
    Law(EndsUntold, feed.test_each_change_of_an_org_is_told),
    Law(ReplacesUntold, feed.test_each_change_of_an_org_is_told),
    Law(RetiresUntold, feed.test_changes_of_plans),
    Law(KeepsWhatIsEmptyNow, subscriptions.test_a_row_that_differs_in_one_column),
    Law(ComparesSomeColumns, subscriptions.test_a_row_that_differs_in_one_column),
    Law(CallsBackAnyhow, subscriptions.test_only_what_is_written_calls_back),
    Law(RollsBackExceptions, subscriptions.test_the_callback_is_part_of_the_write),
    Law(ForgetsWhoLostIt, subscriptions.test_a_row_that_moves_to_another_org),
    Law(LosesRaises, subscriptions.test_a_race_of_subscriptions),
    Law(PointsAtTheBest, subscriptions.test_the_subscription_that_counts),
    Law(SortsById, subscriptions.test_rows_that_belong_to_nobody_yet),
    Law(
        SpacesRaiseVersions,
        spaces.test_only_the_current_space_counts,
        {"space": StripeSpace("acct_12", livemode=False)},
    ),
    Law(KnowsAmounts, usage.test_a_key_stands_for_one_amount),
    Law(HoldsMore, usage.test_a_key_stands_for_one_amount),
    Law(HoldsLess, usage.test_a_key_stands_for_one_amount),
    Law(KnowsOneLimit, holdings.test_a_release_returns_every_limit),
    Law(NamesOneUnseeded, usage.test_a_counter_without_a_row_is_unknown),
    Law(BlocksAsAsked, usage.test_the_org_is_named_where_both_would_refuse),
    Law(LocksAsAsked, usage.test_a_race_of_all_verbs),
    Law(MeasuresBelowZero, usage.test_a_measured_value_does_not_move_the_sum_below_0),
    Law(ZeroIsForEver, holdings.test_a_holding_ends_at_its_time),
    Law(WholeSeconds, holdings.test_a_holding_ends_at_its_time),
    Law(ForgetsDays, holdings.test_a_holding_ends_at_its_time),
    Law(LosesWhatExpired, holdings.test_a_release_after_its_time),
    Law(EventOfAPlace, meters.test_an_event_counts_once),
    Law(MonthsOnly, meters.test_an_event_counts_once),
    Law(MonthsOnly, announcements.test_it_is_announced_once_for_ever),
    Law(HasFloats, meters.test_totals_have_64_bits),
    Law(PeriodsBySecond, meters.test_totals_have_64_bits),
    Law(CutsOff, licenses.test_bytes_come_back_as_they_came),
    Law(HasFloats, licenses.test_bytes_come_back_as_they_came),
    Law(KnowsBodies, licenses.test_a_record_that_is_to_be_replaced),
    Law(ReplacesOrNothing, licenses.test_a_record_that_is_to_be_replaced),
    Law(ReplacesOrNothing, licenses.test_a_record_that_is_not_there_any_more),
    Law(MarksWhatItRead, licenses.test_a_race_with_a_mark_at_every_line),
    Law(OneRow, identity.test_each_is_kept_by_itself),
    Law(KeyEndsTheClaim, identity.test_each_is_kept_by_itself),
    Law(ClaimEndsTheKey, identity.test_each_is_kept_by_itself),
    Law(LooksForTheId, identity.test_a_race_for_the_id),
    Law(ProlongsNothing, leases.test_one_holder),
    Law(DropsAllOfOne, leases.test_giving_it_up),
    Law(KeepsTheFingerprint, provisioning.test_an_older_catalog_changes_no_mapping),
    Law(HasFloats, provisioning.test_a_revision_has_64_bits),
    Law(DropsAfterALook, provisioning.test_a_race_to_drop_at_every_line),
    Law(NeverSellsAgain, provisioning.test_a_plan_that_is_not_sold_any_more),
    Law(CutsFingerprints, conformance.FingerprintStoreTests().test_the_fingerprint),
    Law(ReplacesAfterALook, conformance.CustomerStoreTests().test_a_race_to_replace_a_customer),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.broken.__name__}-{law.method.__qualname__}")
def test_the_law_finds_the_mistake(law: Law) -> None:
    """A store with this mistake does not pass, in a race not time after time, and the same store without it does."""
    law.judge(MemoryStore)
    with pytest.raises((AssertionError, CatalogError)):
        law.judge(law.broken, times=ATTEMPTS)
