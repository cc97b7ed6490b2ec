"""Decisions on limits as pure functions: what may be claimed, under which caps, and what a refusal means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.limits import UNLIMITED, LimitValue, Unlimited
from kuploy_saas_kit.model.product import LimitKind, LimitSpec
from kuploy_saas_kit.model.status import Operation, permits
from kuploy_saas_kit.plans.decision import Decision, Layer, Reason
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, CounterKey, SnapshotView
from kuploy_saas_kit.plans.standing import PlanResolution
from kuploy_saas_kit.plans.verdicts import STATUS_REASONS, LicenseFacts


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit of one org at one moment: who it is for, what the layers say, and where taking stops.

    *org_cap* and *instance_cap* include the hard stop (110 % for build minutes).
    """

    org_id: str
    spec: LimitSpec
    facts: LicenseFacts
    resolution: PlanResolution
    instance_limit: LimitValue

    @property
    def key(self) -> str:
        """The limit's canonical key."""
        return self.spec.key

    @property
    def plan_limit(self) -> LimitValue:
        """What the org's plan alone allows."""
        return self.resolution.entitlements.limit(self.key)

    @property
    def license_limit(self) -> LimitValue:
        """What the license alone allows, over all its instances."""
        return self.facts.ceiling.limit(self.key)

    @property
    def limit(self) -> LimitValue:
        """What the org may have: the smaller of the two."""
        return min(self.plan_limit, self.license_limit)

    @property
    def org_cap(self) -> LimitValue:
        """Where taking stops for the org."""
        return hard_stop(self.plan_limit, self.spec)

    @property
    def instance_cap(self) -> LimitValue:
        """Where taking stops for all orgs of the instance together."""
        return hard_stop(self.instance_limit, self.spec)

    def claims(self, amount: int) -> tuple[Claim, ...]:
        """What must be taken, all or none, for *amount* more."""
        org = Claim(self.org_id, self.key, amount, self.org_cap)
        if self.spec.hub_enforced:
            return (org,)
        return (org, Claim(INSTANCE, self.key, amount, self.instance_cap))

    def refusal(self) -> Decision | None:
        """Why nothing can be taken at all, however much is free; None if it can be tried."""
        layers = self._layers({})
        return next((self._refuse(reason, layers, layers[at]) for reason, at in self._refusals()), None)

    def decide(self, blocking: Claim | None, counters: Mapping[CounterKey, int]) -> Decision:
        """Granted where no claim blocks; otherwise whose cap left no room."""
        layers = self._layers(counters)
        used = counters.get((self.org_id, self.key))
        if blocking is None:
            return Decision.grant(self.key, layers, limit=self.limit, used=used)
        if blocking.scope == INSTANCE:
            return Decision.refuse(
                Reason.AGGREGATE_LIMIT_REACHED,
                self.key,
                layers,
                blocking=layers[0],
                limit=self.instance_limit,
                used=counters.get((INSTANCE, self.key)),
            )
        return Decision.refuse(Reason.LIMIT_REACHED, self.key, layers, blocking=layers[1], limit=self.limit, used=used)

    def _refusals(self) -> Iterator[tuple[Reason, int]]:
        if not permits(self.facts.status, Operation.CREATE):
            yield STATUS_REASONS[self.facts.status], 0
        if self.license_limit == 0:
            yield Reason.NOT_IN_LICENSE, 0
        if self.plan_limit == 0:
            yield Reason.NOT_IN_PLAN, 1

    def _refuse(self, reason: Reason, layers: tuple[Layer, ...], blocking: Layer) -> Decision:
        return Decision.refuse(reason, self.key, layers, blocking=blocking, limit=self.limit)

    def _layers(self, counters: Mapping[CounterKey, int]) -> tuple[Layer, ...]:
        named = {"counter:org": (self.org_id, self.key), "counter:instance": (INSTANCE, self.key)}
        counted = [Layer(name, counters[counter]) for name, counter in named.items() if counter in counters]
        return (self.facts.layer(self.license_limit), self.resolution.layer(self.plan_limit), *counted)


def allowance(
    org_id: str, spec: LimitSpec, facts: LicenseFacts, snapshot: SnapshotView, resolution: PlanResolution
) -> Allowance:
    """The allowance of *org_id* under *snapshot* and *resolution*."""
    instance_limit = snapshot.instance_cap(spec.key) if facts.grant is not None else 0
    return Allowance(org_id, spec, facts, resolution, instance_limit)


def hard_stop(cap: LimitValue, spec: LimitSpec) -> LimitValue:
    """Where taking stops: *cap* and the tolerated excess, rounded down."""
    return UNLIMITED if isinstance(cap, Unlimited) else cap * spec.hard_stop_percent // 100


def first_without_room(claims: Iterable[Claim], counters: Mapping[CounterKey, int]) -> Claim | None:
    """The first claim that would not fit now; an absent counter counts as 0."""
    return next((one for one in claims if counters.get(one.counter, 0) + one.amount > one.cap), None)


def checked_amount(amount: object, key: str, *, at_least: int = 1) -> int:
    """*amount*, if that many can be taken, given back or set."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidValueError(f"the amount of {key} must be an int, not {type(amount).__name__}")
    if amount < at_least:
        raise InvalidValueError(f"the amount of {key} must be at least {at_least}; got {amount}")
    return amount


def check_countable(spec: LimitSpec) -> None:
    """Refuse to take or give back what is not counted one by one."""
    if spec.kind is LimitKind.METER:
        raise InvalidValueError(
            f"{spec.key} adds up by itself: call record() with what was used, and check_limit() before"
        )
