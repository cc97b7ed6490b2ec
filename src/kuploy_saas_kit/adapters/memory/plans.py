"""Plans, what orgs are on, and the change feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from kuploy_saas_kit.adapters._rules import PlansUpdate, catalog_update, may_apply, plan_update, trail_entry
from kuploy_saas_kit.adapters.memory.state import Verbs
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding, effective_subscription
from kuploy_saas_kit.plans.ports import (
    AssignmentSaved,
    Changes,
    Everyone,
    PlanSaved,
    PlansReplaced,
    StoredPlans,
    TrailEntry,
    TrailKind,
)


class PlanVerbs(Verbs):
    """`PlanStore` in memory."""

    def load_plans(self) -> StoredPlans:
        with self._lock:
            state = self._state
            catalog = PlanCatalog(state.plans.values()) if state.plans else None
            return StoredPlans(catalog, state.catalog_revision, dict(state.plan_versions), state.catalog_source)

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        with self._lock:
            held = self._state.catalog_revision
            if not may_apply(held, revision, has_plans=bool(self._state.plans)):
                return PlansReplaced(applied=False)
            update = catalog_update(self._state.plans, catalog)
            self._apply(update)
            self._state.catalog_revision, self._state.catalog_source = revision, source
            return PlansReplaced(applied=True, changed=update.changed, deactivated=update.deactivated)

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        with self._lock:
            version = self._state.plan_versions.get(plan.slug, 0)
            if version != expected_version:
                return PlanSaved(saved=False, version=version)
            self._apply(plan_update(self._state.plans, plan))
            return PlanSaved(saved=True, version=version + 1)

    def _apply(self, update: PlansUpdate) -> None:
        state = self._state
        for plan in update.rows:
            state.plans[plan.slug] = plan
            state.plan_versions[plan.slug] = state.plan_versions.get(plan.slug, 0) + 1
        state.plans = {slug: state.plans[slug] for slug in update.order}
        if update.rows:
            self._changed(None)


class StandingVerbs(Verbs):
    """`StandingStore` and `AuditStore` in memory."""

    def standing(self, org_id: str) -> OrgStanding:
        with self._lock:
            state = self._state
            rows = [stored.row for stored in state.subscriptions.values() if stored.row is not None]
            counted = (row for row in rows if row.org_id == org_id and state.space in {None, row.space})
            subscription = effective_subscription(counted)
            version = state.standing_versions.get(org_id, 0)
            return OrgStanding(subscription, state.assignments.get(org_id), version)

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        with self._lock:
            previous = self._state.assignments.get(assignment.org_id)
            self._state.assignments[assignment.org_id] = assignment
            self._state.trail.append(trail_entry(TrailKind.GIVEN, assignment))
            self._changed(assignment.org_id)
            return AssignmentSaved(previous)

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        with self._lock:
            previous = self._state.assignments.pop(org_id, None)
            if previous is not None:
                ended = replace(previous, actor=actor, reason=reason, assigned_at=at, until=at)
                self._state.trail.append(trail_entry(TrailKind.ENDED, ended))
                self._changed(org_id)
            return AssignmentSaved(previous)

    def trail_of(self, org_id: str) -> Sequence[TrailEntry]:
        with self._lock:
            return tuple(entry for entry in self._state.trail if entry.org_id == org_id)


class FeedVerbs(Verbs):
    """`ChangeFeed` in memory."""

    def changes(self, cursor: str | None) -> Changes:
        with self._lock:
            feed = self._state.feed
            # The feed's name is part of a cursor, so that one of another store, or of an earlier life, is unknown.
            epoch, end = self._state.feed_name, len(feed)
            start = _position(cursor, epoch)
            news = feed[start:] if start is not None and start <= end else [None]
            orgs = frozenset(org_id for org_id in news if org_id is not None)
            return Changes(f"{epoch}.{end}", Everyone.ALL if None in news else orgs)


def _position(cursor: str | None, epoch: str) -> int | None:
    made, _, position = (cursor or "").partition(".")
    return int(position) if made == epoch and position.isdecimal() else None
