"""Stores that are right in a way of their own: the suite judges what the ports say, not how ours do it."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.subscription import OrgStanding, OrgSubscription
from kuploy_saas_kit.plans.ports import Changes, PlanSaved, StoredPlans
from kuploy_saas_kit.stripe_provision.ports import OnChange, SubscriptionPut
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crew import Crew, ThreadCrew


class RisesByTwo(MemoryStore):
    """Its versions are even numbers, and each of its cursors is another one."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._tokens = count()

    def load_plans(self) -> StoredPlans:
        stored = super().load_plans()
        return replace(stored, versions={slug: 2 * version for slug, version in stored.versions.items()})

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        saved = super().put_plan(plan, expected_version=_halved(expected_version))
        return replace(saved, version=2 * saved.version)

    def standing(self, org_id: str) -> OrgStanding:
        standing = super().standing(org_id)
        return replace(standing, version=2 * standing.version)

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        with self._lock:
            put = super().put_subscription(
                row, expected_version=expected_version, event_id=event_id, on_change=on_change
            )
            held = self._state.subscriptions.get(row.subscription_id)
            if held is not None:
                self._state.subscriptions[row.subscription_id] = replace(held, version=held.version + held.version % 2)
            return put

    def changes(self, cursor: str | None) -> Changes:
        _, _, known = (cursor or "").partition("@")
        changes = super().changes(known or None)
        return replace(changes, cursor=f"{next(self._tokens)}@{changes.cursor}")


def _halved(version: int) -> int:
    return -1 if version % 2 else version // 2


class RightTests:
    test_killed_at_any_instant: Any = None  # it lives in this process
    test_failing_at_each_step: Any = None
    test_dying_at_a_step: Any = None

    @pytest.fixture
    def store(self, clock: ManualClock) -> RisesByTwo:
        return RisesByTwo(clock)

    @pytest.fixture
    def crew(self, store: RisesByTwo) -> Crew:
        return ThreadCrew(store)


class TestPlans(RightTests, conformance.PlanStoreTests): ...


class TestStandings(RightTests, conformance.StandingStoreTests): ...


class TestFeed(RightTests, conformance.ChangeFeedTests): ...


class TestSubscriptions(RightTests, conformance.SubscriptionStoreTests): ...


class TestSpaces(RightTests, conformance.CurrentSpaceTests): ...
