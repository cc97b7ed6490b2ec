"""Edit time: what a plan asks for that the license does not grant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kuploy_saas_kit.errors import CeilingExceededError
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import AllFeatures
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import LimitValue
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.plans.composition import ceiling_of


@dataclass(frozen=True, slots=True)
class CeilingViolation:
    """One key of a plan above the license: what the plan *wanted*, and the *ceiling*."""

    kind: Literal["feature", "limit"]
    key: str
    wanted: bool | LimitValue
    ceiling: bool | LimitValue

    def __str__(self) -> str:
        if self.kind == "feature":
            return f"the license does not grant {self.key}"
        return f"{self.key} {self.wanted} is above the license's {self.ceiling}"


def ceiling_violations(plan: Plan, grant: LicenseGrant | None) -> tuple[CeilingViolation, ...]:
    """What of *plan* is above *grant*: features first, then limits, each by key. `INTERNAL` has none by definition."""
    if plan.is_internal:
        return ()
    ceiling = ceiling_of(grant)
    return (*_features_above(plan, ceiling), *_limits_above(plan, ceiling))


def require_within_ceiling(plan: Plan, grant: LicenseGrant | None, *, limits: bool = False) -> None:
    """Refuse a plan with a feature above *grant*, and with *limits* also one with a limit above it.

    A limit above the license is normal (an unlimited plan under a finite license) and is clamped when composed.

    Raises:
        CeilingExceededError: with the violations that count.
    """
    violations = tuple(one for one in ceiling_violations(plan, grant) if limits or one.kind == "feature")
    if not violations:
        return
    tier = "no license" if grant is None else f"the license ({grant.tier})"
    told = "; ".join(str(one) for one in violations)
    raise CeilingExceededError(
        f"plan {plan.slug!r} is above {tier}: {told}. Take these out of the plan, or upgrade the license at the hub",
        violations,
    )


def _features_above(plan: Plan, ceiling: Entitlements) -> list[CeilingViolation]:
    named = () if isinstance(plan.features, AllFeatures) else plan.features
    above = sorted(key for key in named if not ceiling.allows(key))
    return [CeilingViolation("feature", key, wanted=True, ceiling=False) for key in above]


def _limits_above(plan: Plan, ceiling: Entitlements) -> list[CeilingViolation]:
    above = [(key, wanted) for key, wanted in plan.limits.items() if wanted > ceiling.limit(key)]
    return [CeilingViolation("limit", key, wanted, ceiling.limit(key)) for key, wanted in above]
