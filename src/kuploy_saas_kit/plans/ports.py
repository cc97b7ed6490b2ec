"""What `plans` needs from others: the license as it stands, and stores that keep plans, standings and counters.

A store may implement several of these; verbs are unique over all ports of the kit. What cannot be read or written is
raised, never guessed: callers get a `StorageError` with its cause. Every outcome is an object that says what happened.

Ids, keys and names are text that is compared character by character: case, accents and spaces at the end count, and
no character is a pattern. 200 characters are kept whole. An instant that was given comes back as the same aware
instant, to the microsecond, in whatever zone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final, Protocol, TypeAlias, runtime_checkable

from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import LimitValue
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.status import LicenseStatus, Operation
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding

INSTANCE: Final = ""
"""The scope of the counters that add up all orgs of the instance; every other scope is an org id."""

CounterKey: TypeAlias = tuple[str, str]
"""A counter: its scope (an org id or `INSTANCE`) and its limit key."""


class SnapshotView(Protocol):
    """The license at one instant, as far as plans care."""

    @property
    def status(self) -> LicenseStatus: ...
    @property
    def status_reason(self) -> str: ...
    @property
    def grant(self) -> LicenseGrant | None: ...
    @property
    def revision(self) -> int | None: ...
    @property
    def age(self) -> timedelta | None: ...
    def permits(self, operation: Operation) -> bool:
        """Whether the license permits *operation* at the instant of this snapshot."""

    def instance_cap(self, limit: str) -> LimitValue:
        """How many of *limit* all orgs of this instance may hold together."""

    def meter_period(self, limit: str) -> tuple[datetime, datetime] | None:
        """The license's current period for a meter, if the hub named one."""


class LicenseView(Protocol):
    """Whoever knows the license. `LicenseClient` fits as it is."""

    def snapshot(self) -> SnapshotView:
        """The license as it stands now, from memory."""


@dataclass(frozen=True, slots=True)
class StoredPlans:
    """The plan store's content. *catalog* is None before the first plan; *versions* rise with each change of a plan.

    *revision* and *source* are those of the catalog that was applied last.
    """

    catalog: PlanCatalog | None = None
    revision: int | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True)
class PlansReplaced:
    """Whether the catalog was applied, and which slugs changed. Not applied: what is held goes before it."""

    applied: bool
    changed: tuple[str, ...] = ()
    deactivated: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("use .applied")


@dataclass(frozen=True, slots=True)
class PlanSaved:
    """Whether the plan was saved as *version*. Not saved: *version* is the one that somebody else saved."""

    saved: bool
    version: int

    def __bool__(self) -> bool:
        raise TypeError("use .saved")


class PlanStore(Protocol):
    """Keeps the plans. Rows are never deleted: a plan that is gone is inactive and keeps its rights."""

    def load_plans(self) -> StoredPlans:
        """All plans, inactive ones too, and the catalog revision that was applied last.

        Plans that are no catalog, such as those whose default somebody deleted by hand, are `StoredPlansError` with
        all else, so that a catalog can be applied in their place.
        """

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        """Make the stored plans be *catalog*, in one step; a plan that it lacks becomes inactive.

        A revision below the stored one is not applied and changes nothing; an equal one is applied again. A hub's
        begin at 0. One below 0 stands in before them, and is applied only where no plan at all is stored, whosever it
        is. *source* is kept beside the revision: whose catalog it is.
        """

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        """Save one plan if its version is still *expected_version* (0: there is none yet).

        A plan that is saved as the default takes that over from the one before. A save after which the plans would
        be no catalog, such as one without a default, is `CatalogError` and changes nothing.
        """


@dataclass(frozen=True, slots=True)
class AssignmentSaved:
    """The assignment that was in force before, if any."""

    previous: Assignment | None


class StandingStore(Protocol):
    """Keeps what orgs are on. Every change of an org raises its standing's version and enters the change feed."""

    def standing(self, org_id: str) -> OrgStanding:
        """The org's `effective_subscription` and its assignment; an unknown org has an empty standing."""

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        """Give the org this plan by hand, in place of any earlier assignment; the audit trail keeps both."""

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        """Take the assignment away; nothing happens where there is none."""


class TrailKind(StrEnum):
    """What a line of the audit trail tells of."""

    GIVEN = "given"
    """The plan was given, in place of whatever was given before."""
    ENDED = "ended"
    """The plan was taken away."""


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One line of the audit trail: *actor* gave the org this plan by hand, or took it away, at *at* for *reason*.

    *until* is when a plan that was given ends by itself, if it does.
    """

    kind: TrailKind
    org_id: str
    plan: str
    actor: str
    reason: str
    at: datetime
    until: datetime | None = None


@runtime_checkable
class AuditStore(Protocol):
    """Tells who gave plans by hand and who took them away.

    A `StandingStore` writes each line in the transaction of what it tells of; no line is ever changed or deleted.
    """

    def trail_of(self, org_id: str) -> Sequence[TrailEntry]:
        """The org's lines, oldest first."""


@dataclass(frozen=True, slots=True)
class Claim:
    """*amount* more of the counter (*scope*, *limit*), as long as the sum stays within *cap*."""

    scope: str
    limit: str
    amount: int
    cap: LimitValue

    @property
    def counter(self) -> CounterKey:
        """The counter that is claimed."""
        return self.scope, self.limit


class TakeOutcome(StrEnum):
    """How a take ended. Only `TAKEN` took anything."""

    TAKEN = "taken"
    """All claims were taken."""
    HELD = "held"
    """The key holds exactly these claims already."""
    REFUSED = "refused"
    """A claim did not fit; nothing was taken."""
    CONFLICT = "conflict"
    """The key holds something else; nothing was taken."""
    UNSEEDED = "unseeded"
    """Some counters have no row yet; nothing was taken. Seed them and take again."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome of a take, with the counters' values after it; *unseeded* are in the order of locks."""

    outcome: TakeOutcome
    used: Mapping[CounterKey, int] = field(default_factory=dict)
    blocking: Claim | None = None
    unseeded: tuple[CounterKey, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("use .outcome")


@dataclass(frozen=True, slots=True)
class GivenBack:
    """What was returned to the counters, their values after it, and by how much a counter would have gone below 0.

    A counter to which nothing was returned is absent in *returned*, one without drift in *drift*.
    """

    used: Mapping[CounterKey, int] = field(default_factory=dict)
    returned: Mapping[CounterKey, int] = field(default_factory=dict)
    drift: Mapping[CounterKey, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsagePut:
    """The org's value before a measured value was put, and the instance's sum after it."""

    previous: int
    instance: int


class UsageStore(Protocol):
    """Counts what is used. A take covers all its claims or none, in one step, across threads and processes.

    A counter without a row is unknown, not 0. Rows are locked in sorted order of (scope, limit) with the instance's
    hot rows after those of all orgs; the first claim in this order that does not fit is the blocking one. Expired
    holdings count until they are swept; a take that would be refused, or whose key is held by an expired holding,
    sweeps first and the sweep stays.
    """

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        """Take all *claims* under their caps, or none.

        With *key* the taken amounts are one holding of the first claim's scope; with *ttl* the holding expires
        that long after now, by the store's clock. No claims, a counter named twice and amounts below 0 are
        `InvalidValueError`.
        """

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        """Subtract, stopping at 0; what would have gone below, or has no counter, is reported as drift."""

    def usage_of(self, scope: str) -> Mapping[str, int]:
        """The counters of one scope by limit key; a counter without a row is absent."""

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        """Give a counter its first value; nothing happens where it has one."""

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        """Set the org's counter and move the instance's by the same difference, not below 0, in one step.

        Where the instance has no counter of this limit yet, it becomes the sum over the orgs.
        """


class HoldingState(StrEnum):
    """What became of a holding."""

    HELD = "held"
    """It is held for good now."""
    GONE = "gone"
    """It expired, was released, or never was."""


@dataclass(frozen=True, slots=True)
class HoldingSettled:
    """Whether the holding could be made permanent."""

    state: HoldingState

    def __bool__(self) -> bool:
        raise TypeError("use .state")


class HoldingStore(Protocol):
    """Keeps what was taken under a key. A key belongs to one scope."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        """Make a holding that has not expired permanent: its amounts stay counted. Doing it again is the same."""

    def release_holding(self, scope: str, key: str) -> GivenBack:
        """Return exactly what the key holds, once; a key that holds nothing returns nothing."""

    def sweep_holdings(self) -> GivenBack:
        """Return what expired holdings took, by the store's clock: each as a whole, and many in several steps."""


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """*amount* base units of use within the period that begins at *period* (aware UTC)."""

    scope: str
    limit: str
    period: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class MeterRecorded:
    """Whether the event was new, and the totals of its entries' (scope, limit, period) after it."""

    is_new: bool
    totals: Mapping[tuple[str, str, datetime], int]

    def __bool__(self) -> bool:
        raise TypeError("use .is_new")


class MeterStore(Protocol):
    """Adds up what is used within periods; an event key counts once, for ever."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        """Add all *entries* unless *event_key* was added before, in one step."""

    def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        """Base units used in the period that begins at *period*."""


@dataclass(frozen=True, slots=True)
class Announced:
    """Whether this caller is the first to announce."""

    is_first: bool

    def __bool__(self) -> bool:
        raise TypeError("use .is_first")


class AnnouncementStore(Protocol):
    """Remembers what was announced, so that N processes announce it once."""

    def announce_once(self, name: str) -> Announced:
        """Claim the right to announce *name*; only the first caller ever gets it."""


class Everyone(Enum):
    """Stands for every org in a change feed."""

    ALL = "all"


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a cursor: these orgs, or possibly any org, and the cursor to ask with next time."""

    cursor: str
    org_ids: frozenset[str] | Everyone


class ChangeFeed(Protocol):
    """Tells processes about each other's writes: standings, assignments, plans."""

    def changes(self, cursor: str | None) -> Changes:
        """What was committed since *cursor*, in whatever order; None or one that is too old gives `Everyone.ALL`.

        A change of the plans is a change of everyone.
        """


class ChangeWatch(Protocol):
    """Somebody waiting for changes."""

    def stop(self) -> None:
        """Wait no more."""


@runtime_checkable
class ChangeSignal(Protocol):
    """A change feed that also says at once when something entered it. Without one the feed is polled each second."""

    def watch_changes(self, wake: Callable[[], None]) -> ChangeWatch:
        """Call *wake*, in a thread of the store's own, when there may be changes, until the watch is stopped.

        Advisory: a call may come late, for nothing, or never. It raises nothing for a store that is away.
        """


class AsyncStandingStore(Protocol):
    """`StandingStore` for stores that a request awaits: a verb that is cancelled is done as a whole or not at all."""

    async def standing(self, org_id: str) -> OrgStanding: ...
    async def put_assignment(self, assignment: Assignment) -> AssignmentSaved: ...
    async def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved: ...


class AsyncPlanStore(Protocol):
    """`PlanStore` for stores that a request awaits: a verb that is cancelled is done as a whole or not at all."""

    async def load_plans(self) -> StoredPlans: ...
    async def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced: ...
    async def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved: ...


class AsyncUsageStore(Protocol):
    """`UsageStore` for stores that a request awaits: a verb that is cancelled is done as a whole or not at all."""

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken: ...
    async def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack: ...
    async def usage_of(self, scope: str) -> Mapping[str, int]: ...
    async def seed_usage(self, counter: CounterKey, value: int) -> None: ...
    async def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut: ...


class AsyncHoldingStore(Protocol):
    """`HoldingStore` for stores that a request awaits: a step that is cancelled is done as a whole or not at all."""

    async def settle_holding(self, scope: str, key: str) -> HoldingSettled: ...
    async def release_holding(self, scope: str, key: str) -> GivenBack: ...
    async def sweep_holdings(self) -> GivenBack: ...


class AsyncMeterStore(Protocol):
    """`MeterStore` for stores that a request awaits: a verb that is cancelled is done as a whole or not at all."""

    async def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded: ...
    async def meter_total(self, scope: str, limit: str, period: datetime) -> int: ...


class AsyncAnnouncementStore(Protocol):
    """`AnnouncementStore` for stores that a request awaits."""

    async def announce_once(self, name: str) -> Announced: ...


class CountingStore(UsageStore, HoldingStore, MeterStore, AnnouncementStore, Protocol):
    """All that a gate needs to count."""


class AsyncCountingStore(AsyncUsageStore, AsyncHoldingStore, AsyncMeterStore, AsyncAnnouncementStore, Protocol):
    """All that an async gate needs to count."""
