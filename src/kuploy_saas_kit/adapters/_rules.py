"""What every store of the kit decides the same way: values in, values out, no storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from kuploy_saas_kit.errors import CatalogError, InvalidValueError
from kuploy_saas_kit.license.ports import LicenseRecord
from kuploy_saas_kit.model.limits import MAX_LIMIT, Unlimited
from kuploy_saas_kit.model.plan import INTERNAL_SLUG, Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, CounterKey, MeterEntry, TrailEntry, TrailKind

Place = TypeVar("Place", bound=tuple[Any, ...])


def lock_order(claim: Claim) -> tuple[bool, str, str]:
    """Sorts claims by scope and limit, those of orgs first and the instance's, whose rows are hot, last."""
    return claim.scope == INSTANCE, claim.scope, claim.limit


def order_of(place: Place) -> tuple[bool, Place]:
    """Sorts counters and meters, which begin with their scope, as `lock_order` sorts claims."""
    return place[0] == INSTANCE, place


def checked_claims(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The claims in the order in which their rows are locked.

    None at all, a counter twice or a negative amount is refused.
    """
    if not claims:
        raise InvalidValueError("a take needs at least one claim")
    if len({(claim.scope, claim.limit) for claim in claims}) < len(claims):
        raise InvalidValueError("a take names each counter once: add the amounts up")
    for claim in claims:
        if not 0 <= claim.amount <= MAX_LIMIT:
            checked_amount(claim.amount, claim.limit)
    return tuple(sorted(claims, key=lock_order))


def checked_amount(amount: int, limit: str) -> int:
    """*amount*, if a 64-bit counter can be moved by it."""
    if not 0 <= amount <= MAX_LIMIT:
        raise InvalidValueError(f"an amount of {limit} is from 0 to 2**63-1; got {amount}")
    return amount


def highest_before(claim: Claim) -> int:
    """The highest use at which the claim still fits; below 0 it never does. Nothing overflows 64 bits."""
    cap = MAX_LIMIT if isinstance(claim.cap, Unlimited) else claim.cap
    return cap - claim.amount


def amounts_of(claims: Iterable[Claim]) -> dict[CounterKey, int]:
    """What the claims hold once taken. Caps are no part of it: they may have moved since."""
    return {claim.counter: claim.amount for claim in claims}


def meter_sums(entries: Iterable[MeterEntry]) -> dict[tuple[str, str, datetime], int]:
    """The entries' amounts, those of one (scope, limit, period) added up."""
    sums: dict[tuple[str, str, datetime], int] = {}
    for entry in entries:
        place = (entry.scope, entry.limit, entry.period)
        sums[place] = sums.get(place, 0) + checked_amount(entry.amount, entry.limit)
    return sums


@dataclass(frozen=True, slots=True)
class PlansUpdate:
    """What to write so that the stored plans become a catalog. *order* has every slug, gone ones last."""

    rows: tuple[Plan, ...]
    order: tuple[str, ...]
    changed: tuple[str, ...] = ()
    deactivated: tuple[str, ...] = ()


def catalog_update(stored: Mapping[str, Plan], catalog: PlanCatalog) -> PlansUpdate:
    """The rows that differ. A stored plan that the catalog lacks becomes inactive and keeps all else."""
    for plan in catalog:
        check_storable(plan)
    changed = tuple(plan for plan in catalog if stored.get(plan.slug) != plan)
    gone = tuple(plan for slug, plan in stored.items() if catalog.get(slug) is None)
    retired = tuple(replace_flags(plan, is_default=False, is_active=False) for plan in gone if plan.is_active)
    return PlansUpdate(
        rows=_default_last((*retired, *changed)),
        order=(*(plan.slug for plan in catalog), *(plan.slug for plan in gone)),
        changed=tuple(plan.slug for plan in changed),
        deactivated=tuple(plan.slug for plan in retired),
    )


def may_apply(held: int | None, revision: int, *, has_plans: bool) -> bool:
    """Whether a catalog of *revision* is applied where the one of *held* was last.

    It is no older; and one below 0, which stands in before a hub's first, takes the place of no plan.
    """
    if revision < 0 and has_plans:
        return False
    return held is None or revision >= held


def _default_last(plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    # Whoever writes row by row never has two defaults in between.
    return tuple(sorted(plans, key=lambda plan: plan.is_default))


def plan_update(stored: Mapping[str, Plan], plan: Plan) -> PlansUpdate:
    """The rows to write so that *plan* is stored: it, and the default that it takes over from.

    `CatalogError` if the plans would be no catalog then, such as one without a default.
    """
    check_storable(plan)
    after = {**stored, plan.slug: plan}
    demoted = tuple(
        replace_flags(other, is_default=False, is_active=other.is_active)
        for other in stored.values()
        if plan.is_default and other.is_default and other.slug != plan.slug
    )
    after.update({other.slug: other for other in demoted})
    PlanCatalog(after.values())
    return PlansUpdate(rows=(*demoted, plan), order=tuple(after), changed=(plan.slug,))


def check_storable(plan: Plan) -> None:
    """Refuse the kit's own plan: it is no row."""
    if plan.slug == INTERNAL_SLUG:
        raise CatalogError(f"the plan {INTERNAL_SLUG!r} comes with the kit and is never stored")


def replace_flags(plan: Plan, *, is_default: bool, is_active: bool) -> Plan:
    """The plan with other flags."""
    return Plan(
        plan.slug,
        plan.name,
        plan.price,
        plan.features,
        plan.limits,
        is_default=is_default,
        is_active=is_active,
        description=plan.description,
    )


def may_replace(held: LicenseRecord | None, record: LicenseRecord, instead_of: LicenseRecord | None) -> bool:
    """Whether *record* takes the place of *held*: it is newer, or *held* is the one that it is to replace.

    The time mark tells no two records apart: it moves while they stay what they are.
    """
    if held is None or (held.epoch, held.revision) < (record.epoch, record.revision):
        return True
    return instead_of is not None and held == replace(instead_of, mark=held.mark)


def trail_entry(kind: TrailKind, assignment: Assignment) -> TrailEntry:
    """The line of the audit trail for an assignment that was given, or ended by its actor at its instant."""
    return TrailEntry(
        kind=kind,
        org_id=assignment.org_id,
        plan=assignment.plan,
        actor=assignment.actor,
        reason=assignment.reason,
        at=assignment.assigned_at,
        until=assignment.until if kind is TrailKind.GIVEN else None,
    )
