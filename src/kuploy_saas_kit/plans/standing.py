"""Which plan an org is on, and why: assignment, else a granting subscription, else the default plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Access, Assignment, OrgStanding, OrgSubscription
from kuploy_saas_kit.plans.decision import Layer, LayerValue


class PlanSource(StrEnum):
    """Where an org's plan comes from."""

    ASSIGNMENT = "assignment"
    SUBSCRIPTION = "subscription"
    DEFAULT = "default"
    NONE = "none"
    """There is no catalog yet; the org has nothing."""


@dataclass(frozen=True, slots=True)
class PlanResolution:
    """The plan an org is on and its source. It holds until *valid_until*, or until something is written."""

    plan: Plan | None
    source: PlanSource
    valid_until: datetime | None = None

    @property
    def slug(self) -> str | None:
        """The plan's slug."""
        return None if self.plan is None else self.plan.slug

    @property
    def entitlements(self) -> Entitlements:
        """What the plan alone grants."""
        return Entitlements.BOTTOM if self.plan is None else self.plan.entitlements

    def layer(self, value: LayerValue) -> Layer:
        """The plan's layer of a decision, with the *value* that it gave."""
        return Layer(f"plan:{self.slug or 'none'}", value, status=self.source)


def resolve(
    standing: OrgStanding, catalog: PlanCatalog | None, *, now: datetime, past_due_grace: timedelta
) -> PlanResolution:
    """The plan that *standing* puts the org on at *now*.

    A plan that is inactive keeps its rights for those who are on it. A slug that the catalog does not have grants
    nothing by itself: the next source decides.
    """
    assigned = _assigned(standing.assignment, catalog, now)
    if assigned is not None:
        return assigned
    subscribed = _subscribed(standing.subscription, catalog, now, past_due_grace)
    if subscribed is not None:
        return subscribed
    if catalog is None:
        return PlanResolution(None, PlanSource.NONE)
    return PlanResolution(catalog.default, PlanSource.DEFAULT)


def grace_end(subscription: OrgSubscription, past_due_grace: timedelta) -> datetime | None:
    """When the access of a past-due subscription ends, counted from its oldest unpaid invoice."""
    if subscription.access is not Access.GRACE or subscription.past_due_since is None:
        return None
    return subscription.past_due_since + past_due_grace


def _assigned(assignment: Assignment | None, catalog: PlanCatalog | None, now: datetime) -> PlanResolution | None:
    if assignment is None or not assignment.is_current(now):
        return None
    plan = _plan(catalog, assignment.plan)
    return None if plan is None else PlanResolution(plan, PlanSource.ASSIGNMENT, assignment.until)


def _subscribed(
    subscription: OrgSubscription | None, catalog: PlanCatalog | None, now: datetime, past_due_grace: timedelta
) -> PlanResolution | None:
    if subscription is None or subscription.plan is None or subscription.access is Access.NONE:
        return None
    ends = grace_end(subscription, past_due_grace)
    if ends is not None and now >= ends:
        return None
    plan = None if catalog is None else catalog.get(subscription.plan)
    if plan is None or plan.is_internal:
        return None
    return PlanResolution(plan, PlanSource.SUBSCRIPTION, ends)


def _plan(catalog: PlanCatalog | None, slug: str) -> Plan | None:
    from_kit = INTERNAL if slug == INTERNAL.slug else None
    return from_kit if catalog is None else catalog.get(slug)
