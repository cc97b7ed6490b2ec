"""The ceiling through every public door of the gate, under any license, catalog, standing and time."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.errors import FeatureDeniedError
from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits
from kuploy_saas_kit.model.subscription import OrgStanding
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Entitlements, Gate, PlanCatalog
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.gates import FixedLicense, FixedPlans, FixedSnapshot
from kuploy_saas_kit.testing.strategies import catalogs, grants, instants, limit_values, standings

FEATURES = [*KUPLOY_CLOUD.features, "whitelabel", "futureFeature"]
GAUGES = [key for key, spec in KUPLOY_CLOUD.limits.items() if spec.kind == "gauge"]


class Standings:
    """A standing store that says what it was made with; it refuses to write."""

    def __init__(self, row: OrgStanding) -> None:
        self.row = row

    def standing(self, org_id: str) -> OrgStanding:
        """The same for every org."""
        return self.row

    def put_assignment(self, assignment: Any) -> Any:
        """Not in these tests."""
        raise NotImplementedError

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> Any:
        """Not in these tests."""
        raise NotImplementedError


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Gate, FixedSnapshot, PlanCatalog, Standings, ManualClock]:
    """A gate over anything."""
    catalog = draw(catalogs())
    snapshot = FixedSnapshot(
        draw(grants),
        draw(st.sampled_from(LicenseStatus)),
        caps=draw(st.dictionaries(st.sampled_from(GAUGES), limit_values)),
    )
    standing = Standings(draw(standings("acme", catalog)))
    clock = ManualClock(draw(instants))
    gate = Gate(
        license=FixedLicense(snapshot),
        plans=FixedPlans(catalog),
        subscriptions=standing,
        usage=MemoryStore(clock),
        clock=clock,
    )
    return gate, snapshot, catalog, standing, clock


def _ceiling(snapshot: FixedSnapshot) -> Entitlements:
    if not permits(snapshot.status, Operation.USE) or snapshot.grant is None:
        return Entitlements.BOTTOM
    return snapshot.grant.entitlements


@given(worlds(), st.sampled_from(FEATURES))
def test_no_door_opens_above_the_ceiling(world: Any, feature: str) -> None:
    """Whatever is asked, and however, a feature is granted only where license and plan and schema grant it."""
    gate, snapshot, _, _, _ = world
    key = KUPLOY_CLOUD.canonical(feature)
    plan = gate.resolve_plan("acme").plan
    expected = (
        key in KUPLOY_CLOUD.features
        and _ceiling(snapshot).allows(key)
        and plan is not None
        and plan.entitlements.allows(key)
    )
    assert gate.allows("acme", feature) is expected
    assert gate.check_feature("acme", feature).granted is expected
    assert gate.explain("acme", feature).granted is expected
    assert gate.entitlements("acme").allows(key) is expected
    assert {row.key: row.granted for row in gate.overview("acme").features}.get(key, False) is expected
    if not expected:
        with pytest.raises(FeatureDeniedError):
            gate.require_feature("acme", feature)
    assert gate.entitlements("acme") <= _ceiling(snapshot) & KUPLOY_CLOUD.known


@given(worlds(), st.sampled_from(FEATURES), st.sampled_from(Operation))
def test_configuring_needs_more_than_using(world: Any, feature: str, operation: Operation) -> None:
    """An operation that the status forbids is refused for every feature, but what runs is never refused."""
    gate, snapshot, _, _, _ = world
    decision = gate.check_feature("acme", feature, operation)
    known = KUPLOY_CLOUD.canonical(feature) in KUPLOY_CLOUD.features
    if operation is Operation.RUN:
        assert decision.granted is known
    elif decision.granted:
        assert permits(snapshot.status, operation)
        assert gate.check_feature("acme", feature).granted


@given(worlds(), st.lists(st.sampled_from(FEATURES), min_size=1, max_size=8))
def test_kept_answers_are_the_cold_ones(world: Any, features: list[str]) -> None:
    """What memory answers is what the stores would have answered, before and after a new license and a new catalog."""
    gate, _, catalog, standing, _ = world
    cold = [gate.check_feature("acme", feature) for feature in features]
    gate.begin_keeping(catalog)
    standing.row = OrgStanding(standing.row.subscription, standing.row.assignment, version=1)
    for _ in range(2):
        assert [gate.check_feature("acme", feature) for feature in features] == cold
        assert [gate.allows("acme", feature) for feature in features] == [decision.granted for decision in cold]
    gate._license.set(status=LicenseStatus.REVOKED)
    gate.publish_license(gate._license.snapshot())
    assert not any(gate.allows("acme", feature) for feature in features)


@given(
    worlds(),
    st.lists(st.tuples(st.sampled_from(GAUGES), st.sampled_from(["one", "two"]), st.integers(1, 9)), max_size=12),
)
def test_limits_are_never_overrun(world: Any, takes: list[tuple[str, str, int]]) -> None:
    """However orgs acquire, none exceeds its plan and together they never exceed the instance's cap."""
    gate, snapshot, _, _, _ = world
    plan = gate.resolve_plan("acme").entitlements
    for key, org_id, amount in takes:
        decision = gate.acquire(org_id, key, amount)
        used = gate._usage.usage_of(org_id).get(key, 0)
        total = gate._usage.usage_of("").get(key, 0)
        assert used <= plan.limit(key)
        assert key == "maxInstances" or total <= snapshot.instance_cap(key)
        assert not decision.granted or permits(snapshot.status, Operation.CREATE)


@given(worlds())
def test_answers_that_end_by_time_are_dropped(world: Any) -> None:
    """An answer that is kept until an instant is not given after it."""
    gate, _, catalog, standing, clock = world
    standing.row = OrgStanding(standing.row.subscription, standing.row.assignment, version=1)
    gate.begin_keeping(catalog)
    gate.allows("acme", "aiAssistant")
    end = gate.resolve_plan("acme").valid_until
    if end is None:
        return
    clock.advance(max(timedelta(), end - clock.now()))
    gate.drop_ended()
    assert "acme" not in gate._kept
