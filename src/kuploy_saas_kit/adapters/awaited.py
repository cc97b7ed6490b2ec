"""Stores for code that awaits: each verb is the sync one, run by whatever the subclass awaits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding
from kuploy_saas_kit.plans.ports import (
    Announced,
    AssignmentSaved,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    MeterEntry,
    MeterRecorded,
    PlanSaved,
    PlansReplaced,
    StoredPlans,
    Taken,
    UsagePut,
)

T = TypeVar("T")


class AwaitedVerbs(ABC):
    """How a verb of the sync store is awaited."""

    @abstractmethod
    async def _run(self, verb: Callable[[Any], T]) -> T:
        """The answer of *verb*, which is called with the sync store."""


class AwaitedPlans(AwaitedVerbs):
    """The async ports of plans and standings."""

    async def load_plans(self) -> StoredPlans:
        return await self._run(lambda store: store.load_plans())

    async def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        return await self._run(lambda store: store.replace_plans(catalog, revision=revision, source=source))

    async def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        return await self._run(lambda store: store.put_plan(plan, expected_version=expected_version))

    async def standing(self, org_id: str) -> OrgStanding:
        return await self._run(lambda store: store.standing(org_id))

    async def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        return await self._run(lambda store: store.put_assignment(assignment))

    async def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        return await self._run(lambda store: store.end_assignment(org_id, actor=actor, reason=reason, at=at))


class AwaitedCounting(AwaitedVerbs):
    """The async ports of counting."""

    async def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return await self._run(lambda store: store.take(claims, key=key, ttl=ttl))

    async def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        return await self._run(lambda store: store.give_back(amounts))

    async def usage_of(self, scope: str) -> Mapping[str, int]:
        return await self._run(lambda store: store.usage_of(scope))

    async def seed_usage(self, counter: CounterKey, value: int) -> None:
        await self._run(lambda store: store.seed_usage(counter, value))

    async def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        return await self._run(lambda store: store.put_usage(org_id, limit, value))

    async def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        return await self._run(lambda store: store.settle_holding(scope, key))

    async def release_holding(self, scope: str, key: str) -> GivenBack:
        return await self._run(lambda store: store.release_holding(scope, key))

    async def sweep_holdings(self) -> GivenBack:
        return await self._run(lambda store: store.sweep_holdings())

    async def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        return await self._run(lambda store: store.add_meter(event_key, entries))

    async def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        return await self._run(lambda store: store.meter_total(scope, limit, period))

    async def announce_once(self, name: str) -> Announced:
        return await self._run(lambda store: store.announce_once(name))


class AwaitedFromMemory(AwaitedPlans, AwaitedCounting):
    """A store that answers from memory, awaited: no verb waits for anything, so each runs in the event loop."""

    def __init__(self, store: object) -> None:
        self._store = store

    async def _run(self, verb: Callable[[Any], T]) -> T:
        return verb(self._store)

    async def close(self) -> None:
        """Nothing to let go of."""
