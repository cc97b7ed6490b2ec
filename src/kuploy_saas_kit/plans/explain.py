"""Long answers: every layer with its version and age, and the listing of all that an org has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from kuploy_saas_kit.model.product import ProductSchema
from kuploy_saas_kit.plans.allowance import Allowance
from kuploy_saas_kit.plans.decision import Decision, Layer
from kuploy_saas_kit.plans.metering import level_of, to_base_units, to_limit_units
from kuploy_saas_kit.plans.outcomes import FeatureRow, LimitRow
from kuploy_saas_kit.plans.ports import SnapshotView
from kuploy_saas_kit.plans.standing import PlanResolution
from kuploy_saas_kit.plans.verdicts import LicenseFacts


def explained(decision: Decision, snapshot: SnapshotView, plan_version: int | None) -> Decision:
    """*decision* with the license's age and the plan's version in its layers."""
    layers = tuple(_aged(layer, snapshot, plan_version) for layer in decision.layers)
    blocking = None if decision.blocking is None else _aged(decision.blocking, snapshot, plan_version)
    return replace(decision, layers=layers, blocking=blocking)


def feature_rows(facts: LicenseFacts, resolution: PlanResolution, schema: ProductSchema) -> Iterator[FeatureRow]:
    """Every feature of *schema* and who grants it."""
    for key, spec in schema.features.items():
        in_license, in_plan = facts.ceiling.allows(key), resolution.entitlements.allows(key)
        yield FeatureRow(key, spec.label, in_license and in_plan, in_license, in_plan)


def limit_rows(allowances: Iterable[Allowance], used: Mapping[str, int]) -> Iterator[LimitRow]:
    """Every limit with its use; *used* is by key, in base units."""
    for one in allowances:
        count = used.get(one.key, 0)
        level = level_of(count, to_base_units(one.limit, one.spec), one.spec.hard_stop_percent)
        yield LimitRow(one.key, one.spec.label, one.spec.unit, to_limit_units(count, one.spec), one.limit, level)


def _aged(layer: Layer, snapshot: SnapshotView, plan_version: int | None) -> Layer:
    if layer.source.startswith("license:"):
        return replace(layer, age=snapshot.age)
    if layer.source.startswith("plan:"):
        return replace(layer, version=plan_version)
    return layer
