"""Plans: license × plan composed under a provable ceiling, answers that say why, limits that cannot be overrun."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.model.entitlements import Entitlements
    from kuploy_saas_kit.model.grant import LicenseGrant
    from kuploy_saas_kit.model.limits import UNLIMITED
    from kuploy_saas_kit.model.money import BillingCycle, Price
    from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
    from kuploy_saas_kit.model.product import (
        KUPLOY_CLOUD,
        LEERAM_BUSINESS,
        FeatureSpec,
        LimitKind,
        LimitSpec,
        ProductSchema,
    )
    from kuploy_saas_kit.model.status import Operation
    from kuploy_saas_kit.model.subscription import Assignment, OrgStanding, effective_subscription
    from kuploy_saas_kit.plans.aio import AsyncGate, AsyncReservation
    from kuploy_saas_kit.plans.ceiling import CeilingViolation, ceiling_violations, require_within_ceiling
    from kuploy_saas_kit.plans.composition import compose, compose_feature
    from kuploy_saas_kit.plans.decision import Decision, Layer, Reason, Remedy, Who
    from kuploy_saas_kit.plans.gate import Gate, Reservation
    from kuploy_saas_kit.plans.metering import Crossing, Level
    from kuploy_saas_kit.plans.outcomes import Drift, FeatureRow, LimitRow, OrgOverview, Released
    from kuploy_saas_kit.plans.policy import GatePolicy
    from kuploy_saas_kit.plans.presets import SizePreset, copy_plan
    from kuploy_saas_kit.plans.preview import (
        GrantImpact,
        OrgUsage,
        Oversell,
        PlanImpact,
        oversell_report,
        preview_catalog_change,
        preview_grant_change,
        preview_plan_change,
    )
    from kuploy_saas_kit.plans.standing import PlanResolution, PlanSource

__all__ = [
    "INTERNAL",
    "KUPLOY_CLOUD",
    "LEERAM_BUSINESS",
    "UNLIMITED",
    "Assignment",
    "AsyncGate",
    "AsyncReservation",
    "BillingCycle",
    "CeilingViolation",
    "Crossing",
    "Decision",
    "Drift",
    "Entitlements",
    "FeatureRow",
    "FeatureSpec",
    "Gate",
    "GatePolicy",
    "GrantImpact",
    "Layer",
    "Level",
    "LicenseGrant",
    "LimitKind",
    "LimitRow",
    "LimitSpec",
    "Operation",
    "OrgOverview",
    "OrgStanding",
    "OrgUsage",
    "Oversell",
    "Plan",
    "PlanCatalog",
    "PlanImpact",
    "PlanResolution",
    "PlanSource",
    "Price",
    "ProductSchema",
    "Reason",
    "Released",
    "Remedy",
    "Reservation",
    "SizePreset",
    "Who",
    "ceiling_violations",
    "compose",
    "compose_feature",
    "copy_plan",
    "effective_subscription",
    "oversell_report",
    "preview_catalog_change",
    "preview_grant_change",
    "preview_plan_change",
    "require_within_ceiling",
]

_HOMES = {
    "Assignment": "kuploy_saas_kit.model.subscription",
    "AsyncGate": "kuploy_saas_kit.plans.aio",
    "AsyncReservation": "kuploy_saas_kit.plans.aio",
    "BillingCycle": "kuploy_saas_kit.model.money",
    "CeilingViolation": "kuploy_saas_kit.plans.ceiling",
    "Crossing": "kuploy_saas_kit.plans.metering",
    "Decision": "kuploy_saas_kit.plans.decision",
    "Drift": "kuploy_saas_kit.plans.outcomes",
    "Entitlements": "kuploy_saas_kit.model.entitlements",
    "FeatureRow": "kuploy_saas_kit.plans.outcomes",
    "FeatureSpec": "kuploy_saas_kit.model.product",
    "Gate": "kuploy_saas_kit.plans.gate",
    "GatePolicy": "kuploy_saas_kit.plans.policy",
    "GrantImpact": "kuploy_saas_kit.plans.preview",
    "INTERNAL": "kuploy_saas_kit.model.plan",
    "KUPLOY_CLOUD": "kuploy_saas_kit.model.product",
    "LEERAM_BUSINESS": "kuploy_saas_kit.model.product",
    "Layer": "kuploy_saas_kit.plans.decision",
    "Level": "kuploy_saas_kit.plans.metering",
    "LicenseGrant": "kuploy_saas_kit.model.grant",
    "LimitKind": "kuploy_saas_kit.model.product",
    "LimitRow": "kuploy_saas_kit.plans.outcomes",
    "LimitSpec": "kuploy_saas_kit.model.product",
    "Operation": "kuploy_saas_kit.model.status",
    "OrgOverview": "kuploy_saas_kit.plans.outcomes",
    "OrgStanding": "kuploy_saas_kit.model.subscription",
    "OrgUsage": "kuploy_saas_kit.plans.preview",
    "Oversell": "kuploy_saas_kit.plans.preview",
    "Plan": "kuploy_saas_kit.model.plan",
    "PlanCatalog": "kuploy_saas_kit.model.plan",
    "PlanImpact": "kuploy_saas_kit.plans.preview",
    "PlanResolution": "kuploy_saas_kit.plans.standing",
    "PlanSource": "kuploy_saas_kit.plans.standing",
    "Price": "kuploy_saas_kit.model.money",
    "ProductSchema": "kuploy_saas_kit.model.product",
    "Reason": "kuploy_saas_kit.plans.decision",
    "Released": "kuploy_saas_kit.plans.outcomes",
    "Remedy": "kuploy_saas_kit.plans.decision",
    "Reservation": "kuploy_saas_kit.plans.gate",
    "SizePreset": "kuploy_saas_kit.plans.presets",
    "UNLIMITED": "kuploy_saas_kit.model.limits",
    "Who": "kuploy_saas_kit.plans.decision",
    "ceiling_violations": "kuploy_saas_kit.plans.ceiling",
    "compose": "kuploy_saas_kit.plans.composition",
    "compose_feature": "kuploy_saas_kit.plans.composition",
    "copy_plan": "kuploy_saas_kit.plans.presets",
    "effective_subscription": "kuploy_saas_kit.model.subscription",
    "oversell_report": "kuploy_saas_kit.plans.preview",
    "preview_catalog_change": "kuploy_saas_kit.plans.preview",
    "preview_grant_change": "kuploy_saas_kit.plans.preview",
    "preview_plan_change": "kuploy_saas_kit.plans.preview",
    "require_within_ceiling": "kuploy_saas_kit.plans.ceiling",
}


def __getattr__(name: str) -> object:
    """Load a name when it is first asked for, so that a host pays for what it uses."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
