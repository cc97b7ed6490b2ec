"""Composition of license and plan: the shared cases, and the laws over any grant and plan."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from kuploy_saas_kit.errors import CeilingExceededError
from kuploy_saas_kit.model.limits import LimitValue, limit_from_wire
from kuploy_saas_kit.plans import (
    INTERNAL,
    KUPLOY_CLOUD,
    UNLIMITED,
    Entitlements,
    LicenseGrant,
    Plan,
    ceiling_violations,
    compose,
    compose_feature,
    require_within_ceiling,
)
from kuploy_saas_kit.testing.strategies import feature_keys, grants, limit_keys, plans

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "compose.json").read_text())


def _limits(wire: dict[str, int]) -> dict[str, LimitValue]:
    return {key: limit_from_wire(value, key) for key, value in wire.items()}


def _grant(wire: Any) -> LicenseGrant | None:
    return None if wire is None else LicenseGrant(wire["tier"], wire["features"], _limits(wire["limits"]))


def _plan(wire: Any) -> Plan:
    return INTERNAL if wire == "internal" else Plan("pro", "Pro", None, wire["features"], _limits(wire["limits"]))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=range(len(VECTORS["cases"])))
def test_shared_cases(case: Any) -> None:
    """Features, limits and violations are those of the cases shared with other implementations."""
    grant, plan = _grant(case["grant"]), _plan(case["plan"])
    rights = compose(grant, plan)
    assert rights.features == frozenset(case["expect"]["features"])
    assert {key: rights.limit(key) for key in case["expect"]["limits"]} == _limits(case["expect"]["limits"])
    assert [[one.kind, one.key] for one in ceiling_violations(plan, grant)] == case["violations"]


def test_shipped_tiers_are_the_documented_ones() -> None:
    """The tiers that ship are the documented tables, row by row."""
    shared = {
        name: LicenseGrant(name, tier["features"], _limits(tier["limits"])) for name, tier in VECTORS["tiers"].items()
    }
    assert dict(KUPLOY_CLOUD.tiers) == shared


@given(grants, plans())
def test_the_ceiling_is_a_theorem(grant: LicenseGrant, plan: Plan) -> None:
    """What an org has is never above the license, and never above its plan."""
    rights = compose(grant, plan)
    assert rights <= grant.entitlements
    assert rights <= plan.entitlements


@given(grants)
def test_internal_is_the_ceiling_exactly(grant: LicenseGrant) -> None:
    """Internal grants up to, and never above, what the license grants."""
    assert compose(grant, INTERNAL) == grant.entitlements
    assert ceiling_violations(INTERNAL, grant) == ()


@given(plans())
def test_without_a_license_there_is_nothing(plan: Plan) -> None:
    """No grant means no rights, also for Internal."""
    assert compose(None, plan) == compose(None, INTERNAL) == Entitlements.BOTTOM


@given(grants, plans(), feature_keys)
def test_a_feature_needs_both_layers(grant: LicenseGrant, plan: Plan, feature: str) -> None:
    """A feature is there only if the license and the plan grant it."""
    assert compose_feature(feature, grant, plan) == (feature in grant.features and feature in plan.features)
    assert compose_feature(feature, grant, plan) == compose(grant, plan).allows(feature)


@given(grants, plans())
def test_accepted_plans_lose_no_feature(grant: LicenseGrant, plan: Plan) -> None:
    """A plan that passes at edit time has every feature it names when composed."""
    above = {key for key in feature_keys_of(plan) if not compose(grant, plan).allows(key)}
    if not above:
        require_within_ceiling(plan, grant)
        return
    with pytest.raises(CeilingExceededError) as caught:
        require_within_ceiling(plan, grant)
    assert {one.key for one in caught.value.violations} == above


@given(grants, plans(), limit_keys)
def test_violations_are_what_composition_clamps(grant: LicenseGrant, plan: Plan, key: str) -> None:
    """A limit is reported at edit time exactly where composing makes it smaller."""
    reported = {one.key for one in ceiling_violations(plan, grant) if one.kind == "limit"}
    assert (key in reported) == (compose(grant, plan).limit(key) != plan.limits[key])


def test_refusal_names_every_feature_and_the_way_out() -> None:
    """The error lists what is above, carries the violations, and says what to do."""
    plan = Plan("gold", "Gold", None, {"whiteLabel", "aiAssistant"}, {"maxProjects": UNLIMITED})
    with pytest.raises(CeilingExceededError, match=r"gold.*growth.*whiteLabel.*upgrade the license") as caught:
        require_within_ceiling(plan, KUPLOY_CLOUD.tiers["growth"])
    assert [one.key for one in caught.value.violations] == ["whiteLabel"]
    with pytest.raises(CeilingExceededError) as unlicensed:
        require_within_ceiling(plan, None)
    assert str(unlicensed.value) == (
        "plan 'gold' is above no license: the license does not grant aiAssistant; the license does not grant"
        " whiteLabel. Take these out of the plan, or upgrade the license at the hub"
    )


def test_limits_are_refused_only_on_request() -> None:
    """An unlimited plan under a finite license is normal, and refused only where asked for."""
    plan = Plan("big", "Big", limits={"maxProjects": UNLIMITED})
    require_within_ceiling(plan, KUPLOY_CLOUD.tiers["growth"])
    with pytest.raises(CeilingExceededError, match="maxProjects unlimited is above the license's 20"):
        require_within_ceiling(plan, KUPLOY_CLOUD.tiers["growth"], limits=True)
    with pytest.raises(CeilingExceededError, match="no license"):
        require_within_ceiling(plan, None, limits=True)


def feature_keys_of(plan: Plan) -> frozenset[str]:
    """The keys that a plan names."""
    assert isinstance(plan.features, frozenset)
    return plan.features
