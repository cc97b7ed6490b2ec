"""What the sync and the async gate share: all decisions, no store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import (
    ConfigurationError,
    InvalidValueError,
    KeyConflictError,
    KitError,
    StorageError,
    UnknownPlanError,
    storage_errors,
)
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
from kuploy_saas_kit.model.product import LimitKind, LimitSpec
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding
from kuploy_saas_kit.plans import metering
from kuploy_saas_kit.plans.allowance import (
    Allowance,
    allowance,
    check_countable,
    checked_amount,
    first_without_room,
)
from kuploy_saas_kit.plans.answers import Answers
from kuploy_saas_kit.plans.decision import Decision
from kuploy_saas_kit.plans.explain import explained, feature_rows, limit_rows
from kuploy_saas_kit.plans.ids import checked_id
from kuploy_saas_kit.plans.metering import Crossing
from kuploy_saas_kit.plans.outcomes import OrgOverview
from kuploy_saas_kit.plans.policy import GatePolicy
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Claim,
    CounterKey,
    LicenseView,
    MeterEntry,
    SnapshotView,
    Taken,
    TakeOutcome,
)
from kuploy_saas_kit.plans.standing import PlanResolution, resolve
from kuploy_saas_kit.plans.verdicts import (
    LicenseFacts,
    entitlements_of,
    feature_decision,
    license_facts,
    operation_decision,
    unknown_key_decision,
)

_log = logging.getLogger("kuploy_saas_kit.plans")

DEFAULT_RESERVATION: Final = timedelta(minutes=15)
"""How long a reservation lasts unless told otherwise."""

_MAX_LOGGED_KEYS: Final = 1000

_PAUSE: Final = timedelta(seconds=5)
"""So long a counter store that failed is not asked whether orgs may be kept: each question may wait for a timeout."""

CrossingListener = Callable[[Crossing], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """An org as it stands now: what the store said, and the plan that follows."""

    org_id: str
    row: OrgStanding
    resolution: PlanResolution

    @property
    def is_known(self) -> bool:
        """Whether anything was ever written about the org's plan."""
        return self.row.version > 0


@dataclass(frozen=True, slots=True)
class Take:
    """A take to be tried: what for, and the claims that cover it."""

    org_id: str
    amounts: Mapping[str, int]
    allowances: Mapping[str, Allowance]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """All claims, org by org counter first, then the instance's."""
        claims = [claim for key, one in self.allowances.items() for claim in one.claims(self.amounts[key])]
        return tuple(sorted(claims, key=lambda claim: claim.scope == INSTANCE))

    def decide(self, taken: Taken) -> Decision:
        """The answer to a take that was taken, held or refused."""
        if taken.outcome is TakeOutcome.CONFLICT:
            wanted = ", ".join(f"{amount} {key}" for key, amount in self.amounts.items())
            raise KeyConflictError(
                f"this key already holds something other than {wanted}: use a new key, or release it"
            )
        key = taken.blocking.limit if taken.blocking is not None else next(iter(self.allowances))
        return self.allowances[key].decide(taken.blocking, taken.used)


def refuse_no_store(store: object) -> None:
    """`ConfigurationError` for a host's own connection, given as the store over it."""
    if not hasattr(store, "take"):
        raise ConfigurationError(
            f"using() takes a store that counts, such as sql_store.on(connection), and not {type(store).__name__}"
        )


class GateCore:
    """The decisions of a gate: given what a store said, what follows."""

    def __init__(self, license: LicenseView, policy: GatePolicy, clock: Clock | None) -> None:  # noqa: A002
        self.policy = policy
        self._license = license
        self._clock = clock or SystemClock()
        self._schema = policy.schema
        self._answers = Answers(policy.schema, policy.max_kept_orgs)
        self._kept = self._answers.kept
        self._no_use_until = timedelta()
        self._logged_keys: set[str] = set()
        self._crossing_listeners: list[CrossingListener] = []

    def share(self, other: GateCore) -> None:
        """Keep answers, listeners and logged keys together with *other*."""
        self._answers = other._answers
        self._kept = other._kept
        self._crossing_listeners = other._crossing_listeners
        self._logged_keys = other._logged_keys

    def is_limit(self, key: str) -> bool:
        """Whether the product has *key* as a limit."""
        return self._schema.canonical(key) in self._schema.limits

    def add_listener(self, callback: CrossingListener) -> None:
        """Call *callback* when a limit is used up to 80 %, 100 %, or its hard stop, once in each period.

        What it raises is logged and goes no further.
        """
        self._crossing_listeners.append(callback)

    def publish_license(self, snapshot: SnapshotView) -> None:
        """Let all kept answers follow a new license; call it with every publication."""
        self._answers.publish(facts=license_facts(snapshot))

    def publish_plans(self, catalog: PlanCatalog | None) -> None:
        """Let all kept answers follow a new catalog."""
        self._answers.publish(catalog=catalog)

    def begin_keeping(self, catalog: PlanCatalog | None) -> None:
        """Keep answers in memory from now on; whoever calls it publishes and drops until `end_keeping`."""
        self._answers.begin(license_facts(self._license.snapshot()), catalog)

    def end_keeping(self) -> None:
        """Keep no answers any more."""
        self._answers.end()

    def forget(self, org_id: str) -> None:
        """Drop what is kept about *org_id*: the next question reads the store."""
        self._answers.forget((org_id,))

    def forget_all(self) -> None:
        """Drop what is kept about every org."""
        self._answers.forget_all()

    def drop_ended(self) -> None:
        """Drop kept answers that ended by time, such as a past-due grace."""
        self._answers.expire(self._clock.now())

    def check_operation(self, operation: Operation) -> Decision:
        """Whether the license permits *operation* now."""
        return operation_decision(operation, self._facts())

    def _facts(self) -> LicenseFacts:
        return license_facts(self._license.snapshot())

    def _resolve(self, org_id: str, row: OrgStanding, catalog: PlanCatalog | None) -> Standing:
        now = self._clock.now()
        resolution = resolve(row, catalog, now=now, past_due_grace=self.policy.past_due_grace)
        return Standing(org_id, row, resolution)

    def _kept_resolution(self, org_id: str) -> PlanResolution | None:
        """The plan that memory has for *org_id*, unless it has ended by time."""
        kept = self._answers.resolution(org_id)
        if kept is None or kept.valid_until is None:
            return kept
        return kept if self._clock.now() < kept.valid_until else None

    def _asks_for_use(self, standing: Standing) -> bool:
        """Whether its counters decide if the org is kept: its plan does not, and they did not fail just now."""
        return not standing.is_known and self._clock.elapsed() >= self._no_use_until

    def _pause_asking_for_use(self) -> None:
        self._no_use_until = self._clock.elapsed() + _PAUSE

    def _keep(self, standing: Standing, used: Mapping[str, int], generation: int) -> None:
        # Ids that nobody ever wrote about are not kept: anybody can make them up.
        if standing.is_known or used:
            self._answers.keep(standing.org_id, standing.resolution, generation)

    def _has_feature(self, key: str) -> bool:
        """Whether the product has this feature; a key that it lacks is logged, a never-gate key raises."""
        self._schema.check_may_gate(key)
        is_known = self._schema.canonical(key) in self._schema.features
        if not is_known:
            self._log_unknown(key)
        return is_known

    def _feature(self, key: str, operation: Operation, resolution: PlanResolution) -> Decision:
        return feature_decision(self._schema.canonical(key), operation, self._facts(), resolution, self._schema)

    def _entitlements(self, resolution: PlanResolution) -> Entitlements:
        return entitlements_of(self._facts(), resolution, self._schema)

    def _limit_spec(self, key: str) -> LimitSpec | None:
        self._schema.check_may_gate(key)
        spec = self._schema.limits.get(self._schema.canonical(key))
        if spec is None:
            self._log_unknown(key)
        return spec

    def _counted_spec(self, key: str) -> LimitSpec:
        spec = self._schema.limit(key)
        check_countable(spec)
        return spec

    def _allowance(self, spec: LimitSpec, standing: Standing) -> Allowance:
        snapshot = self._license.snapshot()
        return allowance(standing.org_id, spec, license_facts(snapshot), snapshot, standing.resolution)

    def _take(self, amounts: Mapping[str, int], standing: Standing) -> Take | Decision:
        """What must be taken for *amounts*, or the refusal that needs no counter."""
        if not amounts:
            raise InvalidValueError("nothing to acquire: name at least one limit and amount")
        allowances: dict[str, Allowance] = {}
        wanted: dict[str, int] = {}
        for key, amount in amounts.items():
            spec = self._limit_spec(key)
            if spec is None:
                return unknown_key_decision(key, self._schema)
            check_countable(spec)
            wanted[spec.key] = wanted.get(spec.key, 0) + checked_amount(amount, key)
            allowances[spec.key] = self._allowance(spec, standing)
        refusals = (one.refusal() for one in allowances.values())
        refusal = next((one for one in refusals if one is not None), None)
        return Take(standing.org_id, wanted, allowances) if refusal is None else refusal

    def _ask(self, one: Allowance, amount: int, counters: Mapping[CounterKey, int]) -> Decision:
        """Whether *amount* would fit; *counters* are in base units."""
        refusal = one.refusal()
        if refusal is not None:
            return refusal
        base = one.spec.base_units
        claims = [
            Claim(claim.scope, claim.limit, amount * base, metering.to_base_units(claim.cap, one.spec))
            for claim in one.claims(amount)
        ]
        shown = {counter: metering.to_limit_units(used, one.spec) for counter, used in counters.items()}
        return one.decide(first_without_room(claims, counters), shown)

    def _scopes(self, org_id: str, spec: LimitSpec) -> tuple[str, ...]:
        return (org_id,) if spec.hub_enforced else (org_id, INSTANCE)

    def _counters(self, org_id: str, spec: LimitSpec, amount: int) -> dict[CounterKey, int]:
        return {(scope, spec.key): amount for scope in self._scopes(org_id, spec)}

    def _first_value(self, counter: CounterKey) -> int:
        """What a counter without a row begins with: the host's own count, or 0."""
        scope, key = counter
        count = self.policy.counts.get(key)
        if count is None:
            return 0
        return checked_amount(count(None if scope == INSTANCE else scope), key, at_least=0)

    def _meter_periods(self, standing: Standing, spec: LimitSpec, at: datetime) -> dict[str, metering.Period]:
        named = self._license.snapshot().meter_period(spec.key)
        return {
            standing.org_id: metering.org_period(standing.row.subscription, at),
            INSTANCE: metering.license_period(named, at),
        }

    def _meter_entries(self, standing: Standing, spec: LimitSpec, amount: int, at: datetime) -> list[MeterEntry]:
        entries = []
        for scope in self._scopes(standing.org_id, spec):
            parts = metering.split(at, amount, spec, partial(self._meter_period, standing, spec, scope))
            entries += [MeterEntry(scope, spec.key, start, part) for start, part in parts]
        return entries

    def _meter_period(self, standing: Standing, spec: LimitSpec, scope: str, at: datetime) -> metering.Period:
        return self._meter_periods(standing, spec, at)[scope]

    def _meter_spec(self, key: str) -> LimitSpec:
        spec = self._schema.limit(key)
        if spec.kind is not LimitKind.METER:
            raise InvalidValueError(f"{key} is no meter: acquire() and release() count it, set_usage() measures it")
        return spec

    def _unknown(self, key: str) -> Decision:
        return unknown_key_decision(key, self._schema)

    def _meters(self) -> list[LimitSpec]:
        return [spec for spec in self._schema.limits.values() if spec.kind is LimitKind.METER]

    def _explained(self, decision: Decision, versions: Mapping[str, int]) -> Decision:
        slug = next((layer.source[5:] for layer in decision.layers if layer.source.startswith("plan:")), "")
        return explained(decision, self._license.snapshot(), versions.get(slug))

    def _overview(self, standing: Standing, used: Mapping[str, int]) -> OrgOverview:
        facts = self._facts()
        allowances = [self._allowance(spec, standing) for spec in self._schema.limits.values()]
        return OrgOverview(
            standing.org_id,
            standing.resolution,
            tuple(feature_rows(facts, standing.resolution, self._schema)),
            tuple(limit_rows(allowances, used)),
        )

    def _gauge_crossings(
        self, standing: Standing, spec: LimitSpec, before: Mapping[CounterKey, int], after: Mapping[str, int]
    ) -> list[Crossing]:
        """The levels that counters reached; gauges are announced once in each of the meters' periods."""
        one = self._allowance(spec, standing)
        periods = self._meter_periods(standing, spec, self._clock.now())
        return [
            crossing
            for scope, used in after.items()
            for crossing in self._crossings(one, scope, (before[scope, spec.key], used), periods[scope][0])
        ]

    def _meter_crossings(
        self,
        standing: Standing,
        spec: LimitSpec,
        entries: Sequence[MeterEntry],
        totals: Mapping[tuple[str, str, datetime], int],
    ) -> list[Crossing]:
        """The levels that a recorded event reached in each of its periods."""
        one = self._allowance(spec, standing)
        ends = [(entry, totals[entry.scope, entry.limit, entry.period]) for entry in entries]
        return [
            crossing
            for entry, total in ends
            for crossing in self._crossings(one, entry.scope, (total - entry.amount, total), entry.period)
        ]

    def _crossings(self, one: Allowance, scope: str, used: tuple[int, int], period: datetime) -> list[Crossing]:
        """The levels that a counter reached by going from *used[0]* to *used[1]* base units."""
        limit = one.instance_limit if scope == INSTANCE else one.plan_limit
        cap = metering.to_base_units(limit, one.spec)
        if not isinstance(cap, int) or cap == 0:
            return []
        before, after = (metering.level_of(value, cap, one.spec.hard_stop_percent) for value in used)
        org_id = None if scope == INSTANCE else scope
        return [
            Crossing(org_id, one.key, level, used[1], cap, period)
            for level in metering.levels_crossed(before, after, one.spec)
        ]

    def _seeded(self, taken: Taken) -> Taken:
        """*taken*, if its counters have rows by now."""
        if taken.outcome is TakeOutcome.UNSEEDED:
            raise StorageError("the usage store does not keep the first value of a counter: see UsageStore.seed_usage")
        return taken

    @contextmanager
    def _only_logged(self, crossing: Crossing) -> Iterator[None]:
        """What was taken stays taken: a crossing that cannot be announced is logged and told at the next one."""
        try:
            with storage_errors("announce a crossing"):
                yield
        except KitError:
            _log.exception("the crossing %s was not announced", crossing.name)

    def _tell(self, crossing: Crossing) -> None:
        for callback in self._crossing_listeners:
            try:
                callback(crossing)
            except Exception:  # noqa: BLE001 - a host's callback must not undo what was taken
                _log.exception("a listener failed on the crossing %s", crossing.name)

    def _log_unknown(self, key: str) -> None:
        if key in self._logged_keys or len(self._logged_keys) >= _MAX_LOGGED_KEYS:
            return
        self._logged_keys.add(key)
        _log.warning(
            "%r is no key of %s and is denied; declare it in the ProductSchema", key[:64], self._schema.product_type
        )

    def _assignment(
        self, org_id: str, slug: str, catalog: PlanCatalog | None, by: tuple[str, str], until: datetime | None
    ) -> Assignment:
        checked_id(org_id, "org_id")
        actor, reason = by
        now = self._clock.now()
        if not actor or not reason:
            raise InvalidValueError("an assignment needs an actor and a reason: they are its audit trail")
        if until is not None and metering.checked_instant(until) <= now:
            raise InvalidValueError("an assignment must end in the future")
        plan = INTERNAL if catalog is None and slug == INTERNAL.slug else _plan_of(catalog, slug)
        return Assignment(org_id=org_id, plan=plan.slug, actor=actor, reason=reason, assigned_at=now, until=until)


def _plan_of(catalog: PlanCatalog | None, slug: str) -> Plan:
    if catalog is None:
        raise UnknownPlanError(f"there is no plan {slug!r}: no catalog was synced or saved yet")
    return catalog.plan(slug)
