"""Plans: license × plan composed under a provable ceiling, answers that say why, limits that cannot be overrun."""

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
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding
from kuploy_saas_kit.plans.aio import AsyncGate, AsyncReservation
from kuploy_saas_kit.plans.ceiling import CeilingViolation, ceiling_violations, require_within_ceiling
from kuploy_saas_kit.plans.compose import compose, compose_feature
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
    "oversell_report",
    "preview_catalog_change",
    "preview_grant_change",
    "preview_plan_change",
    "require_within_ceiling",
]
