"""The gate: what an org may do now, and the limits that N concurrent requests cannot overrun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.errors import (
    FeatureDeniedError,
    KitError,
    LicenseDeniedError,
    LimitExceededError,
    ReservationExpiredError,
    storage_errors,
)
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import LimitKind, LimitSpec
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.plans import metering
from kuploy_saas_kit.plans.allowance import checked_amount
from kuploy_saas_kit.plans.core import DEFAULT_RESERVATION, GateCore, Standing, Take, refuse_no_store
from kuploy_saas_kit.plans.decision import Decision
from kuploy_saas_kit.plans.ids import check_key, checked_id
from kuploy_saas_kit.plans.metering import Crossing
from kuploy_saas_kit.plans.outcomes import Drift, OrgOverview, Released
from kuploy_saas_kit.plans.policy import GatePolicy
from kuploy_saas_kit.plans.ports import (
    CounterKey,
    CountingStore,
    HoldingState,
    LicenseView,
    MeterEntry,
    PlanStore,
    StandingStore,
    Taken,
    TakeOutcome,
)
from kuploy_saas_kit.plans.standing import PlanResolution

_USE: Final = Operation.USE
"""Reading a member from its enum costs Python 3.11 as much as the rest of the check, and an allocation."""


class Gate(GateCore):
    """Answers what an org may do: the tenant's license × the org's plan × what is used.

    *license*: whoever has a `snapshot()` of the license. *plans*, *subscriptions* and *usage*: stores, which may be
    one. *policy*: the product's schema and the host's choices. Nothing is read until the first question, and nothing
    is kept in memory until a `SaasKit` (or a host) calls `begin_keeping`.
    """

    def __init__(
        self,
        *,
        license: LicenseView,  # noqa: A002 - the word of the field
        plans: PlanStore,
        subscriptions: StandingStore,
        usage: CountingStore,
        policy: GatePolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(license, policy or GatePolicy(), clock)
        self._plans = plans
        self._subscriptions = subscriptions
        self._usage = usage

    # Features and operations

    def allows(self, org_id: str, feature: str) -> bool:
        """Whether *org_id* has *feature*, for one in use. False means: hide it, and refuse to configure it.

        Answers from memory, without a lock, a clock or I/O, wherever answers are kept; else reads the stores.

        Raises:
            NeverGateKeyError: *feature* must never be gated.
            StorageError: the org is not in memory and the store failed.
        """
        try:
            return self._kept[org_id].granted[feature]
        except KeyError:
            return self._feature_decision(org_id, feature, Operation.USE).granted

    def check_feature(self, org_id: str, feature: str, operation: Operation = Operation.USE) -> Decision:
        """Whether *org_id* may do *operation* with *feature*, and why."""
        if operation is not _USE:
            return self._feature_decision(org_id, feature, operation)
        try:
            return self._kept[org_id].decisions[feature]
        except KeyError:
            return self._feature_decision(org_id, feature, operation)

    def require_feature(self, org_id: str, feature: str, operation: Operation = Operation.USE) -> None:
        """Insist on *feature*; `FeatureDeniedError` carries the decision otherwise."""
        decision = self.check_feature(org_id, feature, operation)
        if not decision.granted:
            raise FeatureDeniedError(decision)

    def require_operation(self, operation: Operation) -> None:
        """Insist that the license permits *operation*; `LicenseDeniedError` carries the decision otherwise."""
        decision = self.check_operation(operation)
        if not decision.granted:
            raise LicenseDeniedError(decision)

    # Limits

    def check_limit(self, org_id: str, limit: str, amount: int = 1) -> Decision:
        """Whether *amount* more would fit now. Advisory: only `acquire` and `reserve` are safe against races."""
        spec = self._limit_spec(limit)
        if spec is None:
            return self._unknown(limit)
        standing = self._standing(org_id)
        wanted = checked_amount(amount, limit)
        return self._ask(self._allowance(spec, standing), wanted, self._used(standing, spec))

    def acquire(self, org_id: str, limit: str, amount: int = 1, *, key: str | None = None) -> Decision:
        """Take *amount* of *limit* under the org's cap and the instance's, in one step, if the license permits it.

        With *key* the amount is one holding: acquiring it again takes nothing and gives the same answer.

        Raises:
            KeyConflictError: *key* holds something else.
            InvalidValueError: *amount* is not a positive int, *limit* is a meter, or an id is empty or no text.
            StorageError: it could not be counted, so it is not granted.
        """
        return self.acquire_all(org_id, {limit: amount}, key=key)

    def acquire_all(self, org_id: str, amounts: Mapping[str, int], *, key: str | None = None) -> Decision:
        """Take all of *amounts* or none, as `acquire` does; a refusal names the limit that had no room."""
        check_key(key)
        standing = self._standing(org_id)
        take = self._take(amounts, standing)
        if isinstance(take, Decision):
            return take
        taken = self._taken(take, key, ttl=None)
        decision = take.decide(taken)
        self._announce_take(take, taken, standing)
        return decision

    def release(self, org_id: str, limit: str, amount: int = 1, *, key: str | None = None) -> Released:
        """Give back *amount* of *limit*, or exactly what *key* holds, once. Always permitted.

        Without a key a counter stops at 0 and the rest is reported as drift.
        """
        checked_id(org_id, "org_id")
        check_key(key)
        spec = self._counted_spec(limit)
        with storage_errors(f"release {spec.key}"):
            if key is not None:
                return Released.of(self._usage.release_holding(org_id, key))
            return Released.of(self._usage.give_back(self._counters(org_id, spec, checked_amount(amount, limit))))

    def reserve(self, org_id: str, limit: str, amount: int = 1, *, ttl: timedelta = DEFAULT_RESERVATION) -> Reservation:
        """Take *amount* for at most *ttl*; as a context manager it commits at the end and releases on an exception.

        Raises:
            LimitExceededError: it was refused; `.decision` says why.
        """
        take = self._take({limit: amount}, self._standing(org_id))
        if isinstance(take, Decision):
            raise LimitExceededError(take)
        reservation = Reservation(self, take, ttl)
        reservation.take()
        return reservation

    def set_usage(self, org_id: str, limit: str, value: int) -> None:
        """Put a measured use (such as storage) in place of the last one; never refused."""
        standing = self._standing(org_id)
        spec = self._counted_spec(limit)
        value = checked_amount(value, limit, at_least=0)
        before = self._used(standing, spec)
        with storage_errors(f"set the use of {spec.key}"):
            put = self._usage.put_usage(org_id, spec.key, value)
        after = {scope: put.instance if scope != org_id else value for scope in self._scopes(org_id, spec)}
        self._announce(standing, spec, before, after)

    def reconcile(self, org_id: str, limit: str, actual: int) -> Drift:
        """Make the counter what is really there, *actual*, and say by how much it was off."""
        spec = self._counted_spec(limit)
        checked_amount(actual, limit, at_least=0)
        counted = self._used(self._standing(org_id), spec)[org_id, spec.key]
        with storage_errors(f"reconcile {spec.key}"):
            self._usage.put_usage(org_id, spec.key, actual)
        return Drift(spec.key, counted, actual)

    def record(self, org_id: str, limit: str, amount: int, *, event_key: str, at: datetime) -> None:
        """Add what was used of a meter: *amount* base units (seconds of build time) from *at* on. Never refused.

        An *event_key* counts once, for ever. Time that crosses a period's end is split; a late event counts in its
        own period.
        """
        checked_id(event_key, "event_key")
        spec = self._meter_spec(limit)
        standing = self._standing(org_id)
        entries = self._meter_entries(standing, spec, checked_amount(amount, limit), metering.checked_instant(at))
        with storage_errors(f"record {spec.key}"):
            recorded = self._usage.add_meter(event_key, entries)
        if recorded.is_new:
            self._announce_meter(standing, spec, entries, recorded.totals)

    def using(self, store: CountingStore) -> Gate:
        """This gate over *store*, such as `sql_store.on(connection)`: it takes part in the host's own transaction.

        The instance's counter stays locked until the host commits, so acquire last.
        """
        refuse_no_store(store)
        bound = Gate(
            license=self._license,
            plans=self._plans,
            subscriptions=self._subscriptions,
            usage=store,
            policy=self.policy,
            clock=self._clock,
        )
        bound.share(self)
        return bound

    # Who is on what

    def resolve_plan(self, org_id: str) -> PlanResolution:
        """The plan that *org_id* is on, where it comes from, and until when it holds by time."""
        return self._standing(org_id).resolution

    def entitlements(self, org_id: str) -> Entitlements:
        """Everything that *org_id* has: license × plan, without keys that the product lacks."""
        return self._entitlements(self._resolution(org_id))

    def assign(self, org_id: str, slug: str, *, actor: str, reason: str, until: datetime | None = None) -> None:
        """Put *org_id* on a plan by hand (`internal`, a comp, a lift during an incident), until *until* or for good.

        Stripe is not touched: a running subscription goes on and counts again when the assignment ends.
        """
        with storage_errors("assign a plan"):
            assignment = self._assignment(org_id, slug, self._catalog(), (actor, reason), until)
            self._subscriptions.put_assignment(assignment)
        self.forget(org_id)

    def unassign(self, org_id: str, *, actor: str, reason: str) -> None:
        """Take an assignment away; the org is on its subscription or the default plan again."""
        checked_id(org_id, "org_id")
        with storage_errors("end an assignment"):
            self._subscriptions.end_assignment(org_id, actor=actor, reason=reason, at=self._clock.now())
        self.forget(org_id)

    # Long answers

    def explain(self, org_id: str, key: str) -> Decision:
        """Why *org_id* has or lacks a feature, or has room under a limit or none: every layer with version and age."""
        decision = self.check_limit(org_id, key) if self.is_limit(key) else self._fresh_feature(org_id, key)
        with storage_errors("load the plans"):
            versions = self._plans.load_plans().versions
        return self._explained(decision, versions)

    def overview(self, org_id: str) -> OrgOverview:
        """Every feature and limit of *org_id* with its use, its share and its level, for a page."""
        standing = self._standing(org_id)
        with storage_errors("read what the org uses"):
            counted = self._usage.usage_of(org_id)
            metered = {spec.key: self._meter_totals(standing, spec)[org_id, spec.key] for spec in self._meters()}
        return self._overview(standing, {**counted, **metered})

    # The shell

    def _feature_decision(self, org_id: str, feature: str, operation: Operation) -> Decision:
        if not self._has_feature(feature):
            return self._unknown(feature)
        return self._feature(feature, operation, self._resolution(org_id))

    def _fresh_feature(self, org_id: str, feature: str) -> Decision:
        if not self._has_feature(feature):
            return self._unknown(feature)
        return self._feature(feature, Operation.USE, self._standing(org_id).resolution)

    def _resolution(self, org_id: str) -> PlanResolution:
        """The plan from memory; else from the stores, to be kept where somebody drops what has changed."""
        kept = self._kept_resolution(org_id)
        if kept is not None:
            return kept
        generation = self._answers.generation
        standing = self._standing(org_id)
        if self._answers.catalog is not None:
            self._keep(standing, self._known_use(standing), generation)
        return standing.resolution

    def _standing(self, org_id: str) -> Standing:
        checked_id(org_id, "org_id")
        with storage_errors("read what the org is on"):
            row = self._subscriptions.standing(org_id)
            return self._resolve(org_id, row, self._catalog())

    def _catalog(self) -> PlanCatalog | None:
        kept = self._answers.catalog
        return self._plans.load_plans().catalog if kept is None else kept

    def _known_use(self, standing: Standing) -> Mapping[str, int]:
        """What tells a new org from a made-up id. It decides on keeping alone, so it may fail: nothing is counted."""
        if not self._asks_for_use(standing):
            return {}
        try:
            with storage_errors("read what the org uses"):
                return self._usage.usage_of(standing.org_id)
        except KitError:
            self._pause_asking_for_use()
            return {}

    def _taken(self, take: Take, key: str | None, ttl: timedelta | None) -> Taken:
        with storage_errors("take the limit"):
            taken = self._usage.take(take.claims, key=key, ttl=ttl)
            if taken.outcome is TakeOutcome.UNSEEDED:
                for counter in taken.unseeded:
                    self._usage.seed_usage(counter, self._first_value(counter))
                taken = self._usage.take(take.claims, key=key, ttl=ttl)
            return self._seeded(taken)

    def _settled(self, scope: str, key: str) -> HoldingState:
        with storage_errors("commit the reservation"):
            return self._usage.settle_holding(scope, key).state

    def _used(self, standing: Standing, spec: LimitSpec) -> dict[CounterKey, int]:
        with storage_errors("read what is used"):
            if spec.kind is LimitKind.METER:
                return self._meter_totals(standing, spec)
            counters = [(scope, spec.key) for scope in self._scopes(standing.org_id, spec)]
            return {counter: self._counted(counter) for counter in counters}

    def _counted(self, counter: CounterKey) -> int:
        scope, key = counter
        used = self._usage.usage_of(scope).get(key)
        if used is not None:
            return used
        self._usage.seed_usage(counter, self._first_value(counter))
        return self._usage.usage_of(scope)[key]

    def _meter_totals(self, standing: Standing, spec: LimitSpec) -> dict[CounterKey, int]:
        periods = self._meter_periods(standing, spec, self._clock.now())
        scopes = self._scopes(standing.org_id, spec)
        return {(scope, spec.key): self._usage.meter_total(scope, spec.key, periods[scope][0]) for scope in scopes}

    def _announce_take(self, take: Take, taken: Taken, standing: Standing) -> None:
        if taken.outcome is not TakeOutcome.TAKEN:
            return
        for claim in take.claims:
            after = taken.used[claim.counter]
            before = {claim.counter: after - claim.amount}
            self._announce(standing, take.allowances[claim.limit].spec, before, {claim.scope: after})

    def _announce(
        self, standing: Standing, spec: LimitSpec, before: Mapping[CounterKey, int], after: Mapping[str, int]
    ) -> None:
        crossings = self._gauge_crossings(standing, spec, before, after)
        self._tell_once(crossings)

    def _announce_meter(
        self,
        standing: Standing,
        spec: LimitSpec,
        entries: list[MeterEntry],
        totals: Mapping[tuple[str, str, datetime], int],
    ) -> None:
        self._tell_once(self._meter_crossings(standing, spec, entries, totals))

    def _tell_once(self, crossings: list[Crossing]) -> None:
        for crossing in crossings:
            with self._only_logged(crossing):
                if self._usage.announce_once(crossing.name).is_first:
                    self._tell(crossing)


class Reservation:
    """Amounts that are taken for a while. Commit them, or give them back; at its end they return by themselves."""

    def __init__(self, gate: Gate, take: Take, ttl: timedelta) -> None:
        self.key = f"reservation-{os.urandom(16).hex()}"
        self._gate = gate
        self._take = take
        self._ttl = ttl
        self._is_open = True

    def take(self) -> Decision:
        """Take the amounts; `LimitExceededError` if there is no room. `Gate.reserve` has called it."""
        decision = self._take.decide(self._gate._taken(self._take, self.key, self._ttl))  # noqa: SLF001 - one shell
        if not decision.granted:
            raise LimitExceededError(decision)
        return decision

    def commit(self) -> None:
        """Keep the amounts for good. After the reservation's end they are taken again, under the caps.

        Raises:
            ReservationExpiredError: it had expired and there is no room any more.
        """
        if not self._is_open:
            return
        if self._gate._settled(self._take.org_id, self.key) is HoldingState.GONE:  # noqa: SLF001 - one shell
            self._take_again()
        self._is_open = False

    def release(self) -> None:
        """Give the amounts back; nothing happens after a commit or a release."""
        if not self._is_open:
            return
        self._is_open = False
        with storage_errors("release the reservation"):
            self._gate._usage.release_holding(self._take.org_id, self.key)  # noqa: SLF001 - one shell

    def _take_again(self) -> None:
        taken = self._gate._taken(self._take, self.key, ttl=None)  # noqa: SLF001 - one shell
        decision = self._take.decide(taken)
        if not decision.granted:
            raise ReservationExpiredError(f"the reservation ran out before it was committed: {decision}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.release()
