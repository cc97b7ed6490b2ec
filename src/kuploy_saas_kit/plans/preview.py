"""What a change would do before it is made: to one org, to the plans, to the instance's sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import AllFeatures
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import LimitValue, Unlimited
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.plans.composition import ceiling_of, compose


@dataclass(frozen=True, slots=True)
class LimitCut:
    """A limit that becomes smaller: from *before* to *after*."""

    key: str
    before: LimitValue
    after: LimitValue


@dataclass(frozen=True, slots=True)
class OverLimit:
    """A use that is above its limit after the change. Nothing is deleted; creating is refused until it is below."""

    key: str
    used: int
    limit: int

    @property
    def over_by(self) -> int:
        """How many there are too many."""
        return self.used - self.limit


@dataclass(frozen=True, slots=True)
class PlanImpact:
    """What a change takes from (and gives to) one holder of rights."""

    lost_features: tuple[str, ...] = ()
    gained_features: tuple[str, ...] = ()
    cut_limits: tuple[LimitCut, ...] = ()
    over: tuple[OverLimit, ...] = ()

    @property
    def takes_nothing(self) -> bool:
        """Whether nothing is lost, cut or over."""
        return not (self.lost_features or self.cut_limits or self.over)


@dataclass(frozen=True, slots=True)
class OrgUsage:
    """An org for a preview: the plan it is on, and what it uses by limit key, in the limits' units."""

    org_id: str
    plan: Plan
    used: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GrantImpact:
    """What a change of the license, or of the plans, does: by plan slug, by org id, and to the instance's sums.

    Plans and orgs to which nothing happens are left out.
    """

    plans: Mapping[str, PlanImpact]
    orgs: Mapping[str, PlanImpact]
    aggregates: tuple[OverLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class Oversell:
    """How much of one limit is promised to orgs, beside what the license has.

    *promised* is the sum of the orgs' finite limits; *unlimited_orgs* have no limit of their own.
    """

    key: str
    promised: int
    unlimited_orgs: int
    ceiling: LimitValue

    @property
    def ratio(self) -> float | None:
        """Promised ÷ licensed; None where the license has no limit, or 0."""
        return self.promised / self.ceiling if isinstance(self.ceiling, int) and self.ceiling else None

    @property
    def is_oversold(self) -> bool:
        """Whether the orgs' limits together are more than the license has."""
        if isinstance(self.ceiling, Unlimited):
            return False
        return self.promised > self.ceiling or self.unlimited_orgs > 0


def preview_plan_change(
    used: Mapping[str, int], before: Plan, after: Plan, *, grant: LicenseGrant | None = None
) -> PlanImpact:
    """What an org that uses *used* (in the limits' units) loses and gains by going from one plan to another.

    With *grant* both plans are composed with it first.
    """
    if grant is None:
        return _impact(before.entitlements, after.entitlements, used)
    return _impact(compose(grant, before), compose(grant, after), used)


def preview_grant_change(
    before: LicenseGrant | None, after: LicenseGrant | None, plans: Iterable[Plan], orgs: Iterable[OrgUsage] = ()
) -> GrantImpact:
    """What plans, orgs and the instance lose when the license changes from *before* to *after*."""
    known = tuple(orgs)
    by_plan = {plan.slug: _impact(compose(before, plan), compose(after, plan), {}) for plan in plans}
    by_org = {org.org_id: _impact(compose(before, org.plan), compose(after, org.plan), org.used) for org in known}
    return GrantImpact(_happening(by_plan), _happening(by_org), tuple(_over(ceiling_of(after), _sums(known))))


def preview_catalog_change(
    before: PlanCatalog, after: PlanCatalog, orgs: Iterable[OrgUsage] = (), *, grant: LicenseGrant | None = None
) -> GrantImpact:
    """What plans and orgs lose when the catalog changes; a plan that is gone keeps its rights for those on it."""
    pairs = {plan.slug: (plan, after.get(plan.slug) or plan) for plan in before}
    by_plan = {slug: preview_plan_change({}, old, new, grant=grant) for slug, (old, new) in pairs.items()}
    by_org = {
        org.org_id: preview_plan_change(org.used, org.plan, after.get(org.plan.slug) or org.plan, grant=grant)
        for org in orgs
    }
    return GrantImpact(_happening(by_plan), _happening(by_org))


def oversell_report(orgs: Iterable[OrgUsage], grant: LicenseGrant | None) -> tuple[Oversell, ...]:
    """For each limit that the license caps: the sum of the orgs' limits against it."""
    plans = [org.plan for org in orgs]
    return tuple(_oversell(key, ceiling, plans) for key, ceiling in ceiling_of(grant).limits.items())


def _oversell(key: str, ceiling: LimitValue, plans: list[Plan]) -> Oversell:
    limits = [plan.limits[key] for plan in plans]
    promised = sum(limit for limit in limits if isinstance(limit, int))
    return Oversell(key, promised, sum(isinstance(limit, Unlimited) for limit in limits), ceiling)


def _impact(before: Entitlements, after: Entitlements, used: Mapping[str, int]) -> PlanImpact:
    lost, gained = _difference(before, after), _difference(after, before)
    cuts = (LimitCut(key, before.limit(key), after.limit(key)) for key in sorted({*before.limits, *after.limits}))
    return PlanImpact(lost, gained, tuple(cut for cut in cuts if cut.after < cut.before), tuple(_over(after, used)))


def _difference(one: Entitlements, other: Entitlements) -> tuple[str, ...]:
    if isinstance(one.features, AllFeatures):
        return ()
    return tuple(sorted(key for key in one.features if not other.allows(key)))


def _over(rights: Entitlements, used: Mapping[str, int]) -> Iterator[OverLimit]:
    for key, count in sorted(used.items()):
        limit = rights.limit(key)
        if isinstance(limit, int) and count > limit:
            yield OverLimit(key, count, limit)


def _sums(orgs: Iterable[OrgUsage]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for org in orgs:
        for key, count in org.used.items():
            sums[key] = sums.get(key, 0) + count
    return sums


def _happening(impacts: Mapping[str, PlanImpact]) -> dict[str, PlanImpact]:
    return {key: impact for key, impact in impacts.items() if impact != PlanImpact()}
