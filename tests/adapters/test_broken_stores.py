"""Each law of the suite can fail: stores with one mistake each, and the law that finds it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from inspect import signature
from typing import Any

import pytest

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.license.ports import Lease, LicenseRecord, LicenseSaved
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding, OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Announced,
    AssignmentSaved,
    Changes,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    HoldingState,
    MeterEntry,
    MeterRecorded,
    PlanSaved,
    PlansReplaced,
    Taken,
    TakeOutcome,
    UsagePut,
)
from kuploy_saas_kit.stripe_provision.ports import OnChange, StoredSubscription, SubscriptionPut
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW
from kuploy_saas_kit.testing.conformance.crew import ThreadCrew

ATTEMPTS = 100
"""A race has misses: one in twenty as a rule, and many in a row on a machine with more to do. The first hit ends it."""
ELSEWHERE = StripeSpace("acct_1", livemode=True)


class ChecksThenActs(MemoryStore):
    """Reads how much is left, decides, and writes; what every rate-limit tutorial shows."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        if not all(isinstance(c.cap, int) and self.usage_of(c.scope)[c.limit] + c.amount <= c.cap for c in claims):
            return Taken(TakeOutcome.REFUSED)
        for claim in claims:
            with self._lock:
                self._state.used[claim.counter] += claim.amount
        return Taken(TakeOutcome.TAKEN)


class WritesWhatItRead(MemoryStore):
    """Reads a counter, and writes the sum of what it read and what it takes: the last one to write wins."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        read = {claim.counter: self._state.used.get(claim.counter, 0) for claim in claims}
        taken = super().take(claims, key=key, ttl=ttl)
        if taken.outcome is TakeOutcome.TAKEN:
            after = {claim.counter: read[claim.counter] + claim.amount for claim in claims}
            self._state.used.update(after)
            return replace(taken, used=after)
        return taken


class TakesRowByRow(MemoryStore):
    """Each claim is atomic by itself, and what was taken before the refusal stays taken."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        for claim in claims[:-1]:
            taken = super().take([claim], key=key, ttl=ttl)
            if taken.outcome is not TakeOutcome.TAKEN:
                return taken
        return super().take(claims[-1:], key=key, ttl=ttl)


class LeaksTheInstance(MemoryStore):
    """Takes from the instance first and keeps it where the org has no room: a data-modifying CTE that always runs."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        if taken.blocking is not None and taken.blocking.scope != INSTANCE:
            for claim in claims:
                self._state.used[claim.counter] += claim.amount if claim.scope == INSTANCE else 0
        return taken


class LeaksWhatIsLocked(MemoryStore):
    """Reads the counters of every org once it has the lock for one of them."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        if taken.outcome is TakeOutcome.TAKEN:
            for counter in self._state.used:
                if counter[1] == claims[0].limit and counter[0] not in {INSTANCE, claims[0].scope}:
                    self._state.used[counter] += claims[0].amount
        return taken


class OffByOne(MemoryStore):
    """Stops one below the cap."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        lower = [replace(claim, cap=claim.cap - 1) if isinstance(claim.cap, int) else claim for claim in claims]
        return super().take(lower, key=key, ttl=ttl)


class CountsRefused(MemoryStore):
    """Counts attempts in place of grants."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        if taken.outcome is TakeOutcome.REFUSED:
            for claim in claims:
                self._state.used[claim.counter] += claim.amount
        return taken


class UnknownIsZero(MemoryStore):
    """Makes a counter of 0 for what nobody has counted yet."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        for claim in claims:
            self.seed_usage(claim.counter, 0)
        return super().take(claims, key=key, ttl=ttl)


class SeedsAgain(MemoryStore):
    """A second first value overwrites the counter."""

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        self._state.used[counter] = value


class ForgetsKeys(MemoryStore):
    """Takes again for a request that was sent twice."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return super().take(claims)


class KeyIsEnough(MemoryStore):
    """Takes a known key for the same request, whatever it asks for."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = super().take(claims, key=key, ttl=ttl)
        return replace(taken, outcome=TakeOutcome.HELD) if taken.outcome is TakeOutcome.CONFLICT else taken


class KeysKeepOrder(MemoryStore):
    """Compares claims as they are listed."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._listed: dict[tuple[str, str | None], list[CounterKey]] = {}

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken, counters = super().take(claims, key=key, ttl=ttl), [claim.counter for claim in claims]
        listed = self._listed.setdefault((counters[0][0], key), counters)
        is_other = taken.outcome is TakeOutcome.HELD and listed != counters
        return replace(taken, outcome=TakeOutcome.CONFLICT) if is_other else taken


class KeysOfAll(MemoryStore):
    """Keeps all orgs' keys in one space."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        if key is None:
            return super().take(claims)
        everyone = Claim("everyone", "keys", 0, 10)
        self.seed_usage(everyone.counter, 0)
        return super().take([everyone, *claims], key=key, ttl=ttl)


class GoesBelowZero(MemoryStore):
    """Subtracts whatever it is told."""

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        for counter, amount in amounts.items():
            self._state.used[counter] = self._state.used.get(counter, 0) - amount
        return GivenBack({counter: self._state.used[counter] for counter in amounts}, amounts)


class LeaksOtherOrgs(MemoryStore):
    """Finds an org's rows by how their names begin."""

    def usage_of(self, scope: str) -> Mapping[str, int]:
        return {limit: used for (owner, limit), used in self._state.used.items() if owner.startswith(scope)}


class AddsOtherOrgs(MemoryStore):
    """Finds an org's rows by how their names begin, the org's own last."""

    def usage_of(self, scope: str) -> Mapping[str, int]:
        others = {limit: n for (owner, limit), n in self._state.used.items() if scope and owner.startswith(scope)}
        return {**others, **super().usage_of(scope)}


class Collates(MemoryStore):
    """Keeps names in columns that take some of them for the same; a subclass says which."""

    def kept(self, scope: str, limit: str) -> CounterKey:
        """The row that is found."""
        raise NotImplementedError

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        found = [Claim(*self.kept(*claim.counter), claim.amount, claim.cap) for claim in claims]
        return super().take(found, key=key, ttl=ttl)

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        return super().give_back({self.kept(*counter): amount for counter, amount in amounts.items()})

    def usage_of(self, scope: str) -> Mapping[str, int]:
        return super().usage_of(self.kept(scope, "")[0])

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        super().seed_usage(self.kept(*counter), value)

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        return super().put_usage(*self.kept(org_id, limit), value)


class IgnoresCase(Collates):
    """Keeps org ids in a column that ignores case, as MySQL's do."""

    def kept(self, scope: str, limit: str) -> CounterKey:
        return scope.lower(), limit


class CutsOff(Collates):
    """Keeps of org ids what the column has room for."""

    def kept(self, scope: str, limit: str) -> CounterKey:
        return scope[:190], limit


class LimitsIgnoreCase(Collates):
    """Keeps limits in a column that ignores case, as they were spelled first."""

    def kept(self, scope: str, limit: str) -> CounterKey:
        known = (name for _, name in list(self._state.used) if name.lower() == limit.lower())
        return scope, next(known, limit)


class KeysIgnoreCase(MemoryStore):
    """Keeps keys in a column that ignores case."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return super().take(claims, key=None if key is None else key.lower(), ttl=ttl)

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        return super().settle_holding(scope, key.lower())

    def release_holding(self, scope: str, key: str) -> GivenBack:
        return super().release_holding(scope, key.lower())


class SettlesByPattern(MemoryStore):
    """Settles every key that is LIKE the one that was meant."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        pattern = re.escape(key).replace("%", ".*").replace("_", ".")
        for owner, held in self._state.holdings:
            if owner == scope and re.fullmatch(pattern, held):
                super().settle_holding(owner, held)
        return super().settle_holding(scope, key)


class SeedsAfterALook(MemoryStore):
    """Looks whether there is a counter, and then writes over whatever has come in between."""

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        if counter not in self._state.used:
            self._state.used[counter] = value


class SettlesAfterALook(MemoryStore):
    """Looks whether the holding has expired, and then makes it permanent if it is still there."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        held = self._state.holdings.get((scope, key))
        if held is None or held.is_expired(self._clock.now()):
            return HoldingSettled(HoldingState.GONE)
        held.expires_at = None
        return HoldingSettled(HoldingState.HELD)


class SetsOnlyTheOrg(MemoryStore):
    """Measures an org and forgets the sum."""

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        previous = self._state.used.get((org_id, limit), 0)
        self._state.used[org_id, limit] = value
        return UsagePut(previous, self._state.used.get(("", limit), value))


class OwnClock(MemoryStore):
    """Takes expiry from another clock than the one that everybody goes by."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(ManualClock(NOW))


class NaiveClock(MemoryStore):
    """Keeps instants without their zone, as a column `timestamp` does."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        lease = super().take_lease(name, holder, ttl)
        return replace(lease, until=lease.until.replace(tzinfo=None))


class WallClock(ManualClock):
    """What a clock on the wall shows: no zone, and in autumn an hour twice."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now().astimezone().replace(tzinfo=None)


class GoesByTheWall(MemoryStore):
    """Keeps when holdings end as local time without its zone."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(WallClock(clock))


class SecondsClock(WallClock):
    """Whole seconds, as a column keeps them that was made without a precision."""

    def now(self) -> datetime:
        return self._clock.now().replace(microsecond=0)


class KeepsSeconds(MemoryStore):
    """Keeps when holdings end to the second."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(SecondsClock(clock))


class ForgetsExpiry(MemoryStore):
    """Holds for ever whatever is taken: the column for the end is there, and nobody writes it."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return super().take(claims, key=key)


class NeverSweeps(MemoryStore):
    """Refuses while expired holdings fill the room."""

    def _sweep(self, now: datetime) -> GivenBack:
        return GivenBack()


class ReleasesAgain(MemoryStore):
    """Forgets that a key was released."""

    def release_holding(self, scope: str, key: str) -> GivenBack:
        held = self._state.holdings.get((scope, key))
        given = super().release_holding(scope, key)
        if held is not None:
            self._state.holdings[scope, key] = held
        return given


class SettlesWhatExpired(MemoryStore):
    """Makes permanent whatever is still there."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        held = self._state.holdings.get((scope, key))
        if held is None:
            return HoldingSettled(HoldingState.GONE)
        held.expires_at = None
        return HoldingSettled(HoldingState.HELD)


class SettlesByForgetting(MemoryStore):
    """A settled holding is not known by its key any more."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        settled = super().settle_holding(scope, key)
        self._state.holdings.pop((scope, key), None)
        return settled


class CountsEventsTwice(MemoryStore):
    """Adds up every delivery."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        self._state.meter_events.clear()
        return super().add_meter(event_key, entries)


class AnnouncesAlways(MemoryStore):
    """Every process tells the operator."""

    def announce_once(self, name: str) -> Announced:
        super().announce_once(name)
        return Announced(is_first=True)


class DeletesPlans(MemoryStore):
    """Drops the row of a plan that is gone, and with it the rights of those who are on it."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        self._state.plans = {slug: plan for slug, plan in self._state.plans.items() if catalog.get(slug)}
        return super().replace_plans(catalog, revision=revision, source=source)


class TakesOldCatalogs(MemoryStore):
    """Applies whatever comes last."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        self._state.catalog_revision = None
        return super().replace_plans(catalog, revision=revision, source=source)


class LetsStandInsTakeOver(MemoryStore):
    """Takes a revision below 0 for one like any other."""

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        if revision >= 0 or (self._state.catalog_revision or -1) >= 0:
            return super().replace_plans(catalog, revision=revision, source=source)
        replaced = super().replace_plans(catalog, revision=0, source=source)
        self._state.catalog_revision = revision
        return replaced


class LastPlanWins(MemoryStore):
    """Saves over somebody else's plan."""

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        return super().put_plan(plan, expected_version=self._state.plan_versions.get(plan.slug, 0))


class TellsNobody(MemoryStore):
    """Writes without entering the change in the feed."""

    def _changed(self, org_id: str | None) -> None:
        feed = list(self._state.feed)
        super()._changed(org_id)
        self._state.feed = feed


class FeedIsAQueue(MemoryStore):
    """What one reader has read the next one misses."""

    def changes(self, cursor: str | None) -> Changes:
        news = super().changes(cursor)
        self._state.feed = ["nobody" for _ in self._state.feed]
        return news


class KeepsVersions(MemoryStore):
    """An assignment that does not raise the org's version."""

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        versions = dict(self._state.standing_versions)
        saved = super().put_assignment(assignment)
        self._state.standing_versions = versions
        return saved


class LosesRaises(MemoryStore):
    """Raises the version that it read before it wrote."""

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        version = self.standing(assignment.org_id).version
        saved = super().put_assignment(assignment)
        self._state.standing_versions[assignment.org_id] = version + 1
        return saved


class CountsWhatIsThere(MemoryStore):
    """Takes the number of an org's rows for their version: it falls when one goes."""

    def standing(self, org_id: str) -> OrgStanding:
        standing = super().standing(org_id)
        return replace(standing, version=len(self.subscriptions_of(org_id)) + (standing.assignment is not None))


class LeavesNoTrail(MemoryStore):
    """Ends an assignment without a word about who did."""

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        trail = list(self._state.trail)
        ended = super().end_assignment(org_id, actor=actor, reason=reason, at=at)
        self._state.trail = trail
        return ended


class LastLicenseWins(MemoryStore):
    """Saves whatever the last replica got."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        self._state.license = record
        return LicenseSaved(saved=True)


class MarkGoesBack(MemoryStore):
    """Moves the time mark to wherever it is told."""

    def save_mark(self, mark: datetime) -> None:
        if self._state.license is not None:
            self._state.license = replace(self._state.license, mark=mark)


class LastIdWins(MemoryStore):
    """Every replica is an instance of its own."""

    def ensure_instance_id(self, candidate: str) -> str:
        self._state.instance_id = candidate
        return candidate


class LeaseForAll(MemoryStore):
    """Gives the lease to whoever asks."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        self._state.leases.pop(name, None)
        return super().take_lease(name, holder, ttl)


class LeaseForTwo(MemoryStore):
    """Looks whether the lease is free, and then takes it."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        owner, lease = self._state.leases.get(name, (holder, None))
        now = self._clock.now()
        if lease is not None and owner != holder and now < lease.until:
            return Lease(held=False, until=lease.until)
        taken = Lease(held=True, until=now + ttl)
        self._state.leases[name] = (holder, taken)
        return taken


class AnybodyDrops(MemoryStore):
    """Gives up a lease that somebody else holds."""

    def drop_lease(self, name: str, holder: str) -> None:
        self._state.leases.pop(name, None)


class OneSpace(MemoryStore):
    """Knows prices by their id alone, of whatever account and mode."""

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        return next((price.slug for (_, held), price in self._state.prices.items() if held == price_id), None)


class ForgetsOldPrices(MemoryStore):
    """Knows a plan by its newest price only."""

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        found = self._state.mappings.get(space, {}).values()
        return next((mapping.slug for mapping in found if mapping.price_id == price_id), None)


class LastSubscriptionWins(MemoryStore):
    """Writes without comparing versions."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        version = self.load_subscription(row.subscription_id).version
        return super().put_subscription(row, expected_version=version, event_id=event_id, on_change=on_change)


class RewritesRows(MemoryStore):
    """Deletes the row and inserts it anew, with the version that a new row has."""

    def _write(self, row: OrgSubscription, held: StoredSubscription, on_change: OnChange | None) -> None:
        super()._write(row, held, on_change)
        self._state.subscriptions[row.subscription_id] = StoredSubscription(row, 1)


class LosesEvents(MemoryStore):
    """Writes the row and not the event's id."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        return super().put_subscription(row, expected_version=expected_version, on_change=on_change)


class EventsFirst(MemoryStore):
    """Notes the event before it knows whether the row can be written."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        put = super().put_subscription(row, expected_version=expected_version, event_id=event_id, on_change=on_change)
        self._state.events.update([event_id] if event_id is not None else [])
        return put


class CallsBackAfterwards(MemoryStore):
    """Calls the host when everything is written already."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        told: list[Any] = []
        put = super().put_subscription(
            row, expected_version=expected_version, event_id=event_id, on_change=lambda change, _: told.append(change)
        )
        for change in told:
            if on_change is not None:
                on_change(change, None)
        return put


class LastCustomerWins(MemoryStore):
    """A second customer takes the first one's place."""

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        self._state.customers[space, org_id] = customer_id
        return customer_id


@dataclass(frozen=True)
class Law:
    """A method of the suite, and the mistake that it must find."""

    broken: type[MemoryStore]
    method: Callable[..., None]
    parameters: Mapping[str, object] = field(default_factory=dict)

    def judge(self, store_class: type[MemoryStore], *, times: int = 1) -> None:
        """Hold new stores of this class to the law."""
        for _ in range(times):
            clock = ManualClock(NOW)
            store = store_class(clock)
            given = {"store": store, "clock": clock, "crew": ThreadCrew(store), "rounds": 1, **self.parameters}
            self.method(**{name: given[name] for name in signature(self.method).parameters})


def again_and_again(attempt: Callable[[], object]) -> None:
    """Do it until it raises, and not for ever."""
    for _ in range(ATTEMPTS):
        attempt()


usage, holdings = conformance.UsageStoreTests(), conformance.HoldingStoreTests()
plans, standings, feed = conformance.PlanStoreTests(), conformance.StandingStoreTests(), conformance.ChangeFeedTests()
licenses, identity, leases = (
    conformance.LicenseStoreTests(),
    conformance.IdentityStoreTests(),
    conformance.LeaseStoreTests(),
)
provisioning, subscriptions = conformance.ProvisioningStoreTests(), conformance.SubscriptionStoreTests()

LAWS = [
    Law(ChecksThenActs, usage.test_a_race_for_the_last_units),
    Law(ChecksThenActs, usage.test_a_race_for_the_last_unit_at_every_line),
    Law(ChecksThenActs, usage.test_a_race_between_orgs),
    Law(WritesWhatItRead, usage.test_a_race_for_the_last_units),
    Law(WritesWhatItRead, usage.test_a_race_of_all_verbs),
    Law(LeaksTheInstance, usage.test_the_last_unit_fits_and_no_more),
    Law(LeaksTheInstance, usage.test_a_race_for_the_last_units),
    Law(LeaksWhatIsLocked, usage.test_no_org_sees_another),
    Law(TakesRowByRow, usage.test_a_refusal_by_the_instance_takes_nothing_from_the_org),
    Law(TakesRowByRow, usage.test_a_race_between_orgs),
    Law(OffByOne, usage.test_the_last_unit_fits_and_no_more),
    Law(CountsRefused, usage.test_the_last_unit_fits_and_no_more),
    Law(UnknownIsZero, usage.test_a_counter_without_a_row_is_unknown),
    Law(SeedsAgain, usage.test_a_first_value_is_given_once),
    Law(ForgetsKeys, usage.test_a_key_is_taken_once),
    Law(ForgetsKeys, usage.test_a_race_with_one_key),
    Law(KeyIsEnough, usage.test_a_key_stands_for_one_amount),
    Law(KeysKeepOrder, usage.test_a_key_knows_its_claims_in_any_order),
    Law(KeysOfAll, usage.test_a_key_belongs_to_one_org),
    Law(GoesBelowZero, usage.test_giving_back_too_much),
    Law(LeaksOtherOrgs, usage.test_no_org_sees_another),
    Law(AddsOtherOrgs, usage.test_no_org_sees_another),
    Law(IgnoresCase, usage.test_no_org_sees_another),
    Law(CutsOff, usage.test_no_org_sees_another),
    Law(LimitsIgnoreCase, usage.test_no_limit_stands_for_another),
    Law(KeysIgnoreCase, usage.test_no_key_stands_for_another),
    Law(KeysIgnoreCase, holdings.test_no_holding_stands_for_another),
    Law(SettlesByPattern, holdings.test_no_holding_stands_for_another),
    Law(SeedsAfterALook, usage.test_a_race_to_seed_at_every_line),
    Law(SettlesAfterALook, holdings.test_a_race_to_settle_at_every_line),
    Law(GoesByTheWall, holdings.test_the_hour_that_comes_twice),
    Law(SetsOnlyTheOrg, usage.test_a_measured_value_moves_the_sum),
    Law(OwnClock, holdings.test_a_holding_ends_at_its_time),
    Law(KeepsSeconds, holdings.test_a_holding_ends_at_its_time),
    Law(ForgetsExpiry, holdings.test_a_holding_ends_at_its_time),
    Law(ForgetsExpiry, holdings.test_what_expired_counts_until_it_is_swept),
    Law(NeverSweeps, holdings.test_a_take_without_room_sweeps_first),
    Law(ReleasesAgain, holdings.test_a_release_returns_once, {"settled": False}),
    Law(SettlesWhatExpired, holdings.test_what_cannot_be_settled),
    Law(SettlesByForgetting, holdings.test_settling_keeps_the_amounts),
    Law(CountsEventsTwice, conformance.MeterStoreTests().test_an_event_counts_once),
    Law(AnnouncesAlways, conformance.AnnouncementStoreTests().test_a_race_to_announce),
    Law(DeletesPlans, plans.test_a_plan_that_is_gone_becomes_inactive),
    Law(TakesOldCatalogs, plans.test_an_older_catalog_is_not_applied),
    Law(LetsStandInsTakeOver, plans.test_plans_that_stand_in_only_where_there_are_none),
    Law(LetsStandInsTakeOver, plans.test_plans_that_stand_in_are_stored_once),
    Law(LastPlanWins, plans.test_saving_over_somebody_else),
    Law(LastPlanWins, plans.test_a_race_to_save),
    Law(TellsNobody, feed.test_changes_of_orgs),
    Law(TellsNobody, feed.test_changes_of_plans),
    Law(FeedIsAQueue, feed.test_changes_of_orgs),
    Law(KeepsVersions, standings.test_an_assignment),
    Law(CountsWhatIsThere, standings.test_the_end_of_an_assignment),
    Law(LosesRaises, standings.test_a_race_of_writers),
    Law(LeavesNoTrail, conformance.AuditStoreTests().test_every_change_leaves_a_line),
    Law(LastLicenseWins, licenses.test_only_a_newer_license_is_saved),
    Law(LastLicenseWins, licenses.test_a_record_that_is_to_be_replaced),
    Law(MarkGoesBack, licenses.test_the_mark_moves_forward),
    Law(LastIdWins, identity.test_one_instance_id),
    Law(LeaseForAll, leases.test_one_holder),
    Law(LeaseForAll, leases.test_a_race_for_a_lease),
    Law(LeaseForTwo, leases.test_a_race_for_a_lease),
    Law(NaiveClock, leases.test_one_holder),
    Law(AnybodyDrops, leases.test_giving_it_up),
    Law(OwnClock, leases.test_an_expired_lease_is_free),
    Law(OneSpace, provisioning.test_no_space_sees_another, {"space": ELSEWHERE}),
    Law(ForgetsOldPrices, provisioning.test_a_new_price_takes_over),
    Law(LastSubscriptionWins, subscriptions.test_compare_and_swap),
    Law(RewritesRows, subscriptions.test_a_row_comes_back_as_it_went),
    Law(LosesEvents, subscriptions.test_an_event_is_handled_once),
    Law(EventsFirst, subscriptions.test_compare_and_swap),
    Law(CallsBackAfterwards, subscriptions.test_the_callback_is_part_of_the_write),
    Law(TellsNobody, subscriptions.test_a_change_raises_the_standing),
    Law(LastCustomerWins, conformance.CustomerStoreTests().test_one_customer_for_each_space),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.broken.__name__}-{law.method.__name__}")
def test_the_law_finds_the_mistake(law: Law) -> None:
    """A store with this mistake does not pass, in a race not time after time, and the same store without it does."""
    law.judge(MemoryStore)
    with pytest.raises(AssertionError):
        law.judge(law.broken, times=ATTEMPTS)
