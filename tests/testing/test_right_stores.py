"""Stores that are right in a way of their own: the suite judges what the ports say, not how ours do it."""

from dataclasses import replace
from datetime import datetime
from itertools import count
from threading import Event
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from tests.conftest import examples

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.adapters._rules import PlansUpdate
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.subscription import Assignment, OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import Announced, AssignmentSaved, Changes, Everyone, PlanSaved
from kuploy_saas_kit.stripe_provision.ports import OnChange, SubscriptionPut
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, _rehearsed
from kuploy_saas_kit.testing.conformance.crew import Crew, ThreadCrew
from kuploy_saas_kit.testing.conformance.stateful import books_machine


class Polls(MemoryStore):
    """Asks again and again whether its lock is free, as is done with a lock in a table."""

    def announce_once(self, name: str) -> Announced:
        while not self._lock.acquire(blocking=False):
            Event().wait(0.001)
        try:
            return super().announce_once(name)
        finally:
            self._lock.release()


class OneSequence(MemoryStore):
    """Its versions rise by two from one sequence for all that it holds, and each of its cursors is another one."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self._sequence = count(1, 2)
        self._tokens = count()

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        with self._lock:
            put = super().put_plan(plan, expected_version=expected_version)
            return replace(put, version=self._state.plan_versions.get(plan.slug, 0))

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        with self._lock:
            before = self.load_subscription(row.subscription_id)
            put = super().put_subscription(
                row, expected_version=expected_version, event_id=event_id, on_change=on_change
            )
            after = self.load_subscription(row.subscription_id)
            if after != before:
                self._state.subscriptions[row.subscription_id] = replace(after, version=next(self._sequence))
            return put

    def changes(self, cursor: str | None) -> Changes:
        _, _, known = (cursor or "").partition("@")
        changes = super().changes(known or None)
        return replace(changes, cursor=f"{next(self._tokens)}@{changes.cursor}")

    def _apply(self, update: PlansUpdate) -> None:
        super()._apply(update)
        self._state.plan_versions.update({plan.slug: next(self._sequence) for plan in update.rows})

    def _changed(self, org_id: str | None) -> None:
        super()._changed(org_id)
        if org_id is not None:
            self._state.standing_versions[org_id] = next(self._sequence)


class Lists(MemoryStore):
    """Its sequences are lists, as rows come from drivers."""

    def subscriptions_of(self, org_id: str) -> Any:
        return list(super().subscriptions_of(org_id))

    def unmatched_subscriptions(self, space: StripeSpace) -> Any:
        return list(super().unmatched_subscriptions(space))


@pytest.mark.parametrize("kind", [OneSequence, Lists])
def test_random_histories(kind: type[MemoryStore]) -> None:
    """Random histories ask of versions that they rise, not which ones they are, and take any sequence for one."""
    few = settings(max_examples=examples(20), stateful_step_count=20, deadline=None)
    run_state_machine_as_test(books_machine(kind), settings=few)


@pytest.mark.parametrize("suite", [conformance.StandingStoreTests, conformance.SubscriptionStoreTests])
def test_what_is_seen_of_a_deed(suite: type[CrashTests]) -> None:
    """Crash tests see the same before a deed and the same after it, whatever versions were given out until then."""
    for deed in suite.deeds:
        store = OneSequence(ManualClock(NOW))
        first, *others = (_rehearsed(store, deed, number) for number in range(3))
        assert others == [first, first]


class RowNumbers:
    """A host's standings with a feed whose cursors are the numbers of its rows; plans it leaves to another store."""

    def __init__(self, clock: ManualClock) -> None:
        self._store = MemoryStore(clock)
        self._rows: list[str] = []
        self.standing = self._store.standing

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        with self._store._lock:
            self._rows.append(assignment.org_id)
            return self._store.put_assignment(assignment)

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        with self._store._lock:
            ended = self._store.end_assignment(org_id, actor=actor, reason=reason, at=at)
            if ended.previous is not None:
                self._rows.append(org_id)
            return ended

    def changes(self, cursor: str | None) -> Changes:
        with self._store._lock:
            last = len(self._rows)
            if cursor is None or not cursor.isdecimal() or int(cursor) > last:
                return Changes(str(last), Everyone.ALL)
            return Changes(str(last), frozenset(self._rows[int(cursor) :]))


class RightTests:
    test_killed_at_any_instant: Any = None  # it lives in this process
    test_failing_at_each_step: Any = None
    test_dying_at_a_step: Any = None

    @pytest.fixture
    def store(self, clock: ManualClock) -> OneSequence:
        return OneSequence(clock)

    @pytest.fixture
    def crew(self, store: OneSequence) -> Crew:
        return ThreadCrew(store)


class TestPlans(RightTests, conformance.PlanStoreTests): ...


class TestStandings(RightTests, conformance.StandingStoreTests): ...


class TestFeed(RightTests, conformance.ChangeFeedTests): ...


class TestFeedOfRows(RightTests, conformance.ChangeFeedTests):
    @pytest.fixture
    def store(self, clock: ManualClock) -> Any:
        return RowNumbers(clock)


class TestSubscriptions(RightTests, conformance.SubscriptionStoreTests): ...


class TestSpaces(RightTests, conformance.CurrentSpaceTests): ...


def test_who_polls_for_a_lock_gets_it() -> None:
    """Whoever holds it goes on, though the other one never stops asking."""
    conformance.AnnouncementStoreTests().test_a_race_at_every_line(Polls(ManualClock(NOW)))
