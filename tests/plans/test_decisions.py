"""Decisions as whole values: every field of what the pure rules answer, and the words that people read."""

from datetime import timedelta
from typing import Any

import pytest

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.features import ALL
from kuploy_saas_kit.model.limits import Limits
from kuploy_saas_kit.model.status import LicenseStatus
from kuploy_saas_kit.plans import (
    INTERNAL,
    KUPLOY_CLOUD,
    UNLIMITED,
    CeilingViolation,
    Decision,
    Drift,
    Entitlements,
    FeatureRow,
    Layer,
    Level,
    LicenseGrant,
    LimitRow,
    Operation,
    Plan,
    PlanResolution,
    PlanSource,
    Reason,
    Released,
    Who,
    ceiling_violations,
)
from kuploy_saas_kit.plans.allowance import allowance, checked_amount, first_without_room, hard_stop
from kuploy_saas_kit.plans.explain import explained, feature_rows, limit_rows
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Claim,
    GivenBack,
    HoldingSettled,
    HoldingState,
    Taken,
    TakeOutcome,
)
from kuploy_saas_kit.plans.verdicts import (
    entitlements_of,
    feature_decision,
    license_facts,
    operation_decision,
    unknown_key_decision,
)
from kuploy_saas_kit.stripe_provision.ports import MappingDrop, MappingPut, PutOutcome, SubscriptionPut
from kuploy_saas_kit.testing.gates import FixedSnapshot

GRANT = LicenseGrant("growth", {"aiAssistant", "multiServer"}, {"maxProjects": 20, "maxApps": 0})
PLAN = Plan("pro", "Pro", None, {"aiAssistant", "whiteLabel"}, {"maxProjects": 5, "maxApps": 3})
SNAPSHOT = FixedSnapshot(GRANT, revision=42, age=timedelta(seconds=90))
ON_PLAN = PlanResolution(PLAN, PlanSource.SUBSCRIPTION)
NO_PLAN = PlanResolution(None, PlanSource.NONE)
FACTS = license_facts(SNAPSHOT)
PROJECTS, APPS, DATABASES = (KUPLOY_CLOUD.limits[key] for key in ("maxProjects", "maxApps", "maxDatabases"))
MINUTES = KUPLOY_CLOUD.limits["buildMinutesPerMonth"]


def _license(value: Any, status: str = "active") -> Layer:
    return Layer("license:growth", value, version=42, status=status)


def _plan(value: Any) -> Layer:
    return Layer("plan:pro", value, status="subscription")


def test_operations() -> None:
    """An operation's decision names itself, the license's layer, and that layer as what blocks."""
    granted = _license(value=True)
    assert operation_decision(Operation.CREATE, FACTS) == Decision(
        granted=True, reason=Reason.GRANTED, key="create", layers=(granted,)
    )
    expired = license_facts(FixedSnapshot(GRANT, LicenseStatus.EXPIRED, revision=42))
    refused = _license(value=False, status="expired")
    assert operation_decision(Operation.CREATE, expired) == Decision(
        granted=False, reason=Reason.LICENSE_EXPIRED, key="create", layers=(refused,), blocking=refused
    )


def test_features() -> None:
    """A feature's decision has the license's and the plan's layer, and the first that refuses blocks."""
    in_license, not_in_license = _license(value=True), _license(value=False)
    in_plan, not_in_plan = _plan(value=True), _plan(value=False)
    expected = {
        "aiAssistant": Decision(granted=True, reason=Reason.GRANTED, key="aiAssistant", layers=(in_license, in_plan)),
        "whiteLabel": Decision(
            granted=False,
            reason=Reason.NOT_IN_LICENSE,
            key="whiteLabel",
            layers=(not_in_license, in_plan),
            blocking=not_in_license,
        ),
        "multiServer": Decision(
            granted=False,
            reason=Reason.NOT_IN_PLAN,
            key="multiServer",
            layers=(in_license, not_in_plan),
            blocking=not_in_plan,
        ),
    }
    for key, decision in expected.items():
        assert feature_decision(key, Operation.USE, FACTS, ON_PLAN, KUPLOY_CLOUD) == decision
    layer = Layer("schema:kuploy-cloud", value=False)
    unknown = Decision(granted=False, reason=Reason.UNKNOWN_KEY, key="nope", layers=(layer,), blocking=layer)
    assert unknown_key_decision("nope", KUPLOY_CLOUD) == unknown
    assert feature_decision("nope", Operation.RUN, FACTS, ON_PLAN, KUPLOY_CLOUD) == unknown


def test_without_a_license_or_a_plan() -> None:
    """No license and no plan are layers with names of their own, and grant nothing."""
    facts = license_facts(FixedSnapshot(GRANT, LicenseStatus.REVOKED, revision=42))
    layers = (
        Layer("license:none", value=False, version=42, status="revoked"),
        Layer("plan:none", value=False, status="none"),
    )
    decision = feature_decision("aiAssistant", Operation.USE, facts, NO_PLAN, KUPLOY_CLOUD)
    assert decision.layers == layers
    assert decision.blocking == layers[0]
    assert entitlements_of(FACTS, NO_PLAN, KUPLOY_CLOUD) == Entitlements.BOTTOM
    assert entitlements_of(facts, ON_PLAN, KUPLOY_CLOUD) == Entitlements.BOTTOM
    assert entitlements_of(FACTS, PlanResolution(INTERNAL, PlanSource.ASSIGNMENT), KUPLOY_CLOUD) == (
        GRANT.entitlements & KUPLOY_CLOUD.known
    )


def test_limits() -> None:
    """A limit's decision counts, and names the layer of whoever has no room: the plan's or the license's."""
    one = allowance("acme", PROJECTS, FACTS, SNAPSHOT, ON_PLAN)
    assert one.refusal() is None
    own, instance = one.claims(2)
    assert (own, instance) == (Claim("acme", "maxProjects", 2, 5), Claim(INSTANCE, "maxProjects", 2, 20))
    counters = {("acme", "maxProjects"): 4, (INSTANCE, "maxProjects"): 19}
    layers = (_license(20), _plan(5), Layer("counter:org", 4), Layer("counter:instance", 19))
    common = {"key": "maxProjects", "layers": layers}
    assert one.decide(None, counters) == Decision(
        granted=True,
        reason=Reason.GRANTED,
        limit=5,
        used=4,
        **common,  # type: ignore[arg-type]
    )
    assert one.decide(own, counters) == Decision(
        granted=False,
        reason=Reason.LIMIT_REACHED,
        limit=5,
        used=4,
        blocking=layers[1],
        **common,  # type: ignore[arg-type]
    )
    assert one.decide(instance, counters) == Decision(
        granted=False,
        reason=Reason.AGGREGATE_LIMIT_REACHED,
        limit=20,
        used=19,
        blocking=layers[0],
        **common,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("spec", "status", "reason", "license_limit", "plan_limit", "blocking"),
    [
        (PROJECTS, LicenseStatus.EXPIRED, Reason.LICENSE_EXPIRED, 20, 5, 0),
        (APPS, LicenseStatus.ACTIVE, Reason.NOT_IN_LICENSE, 0, 3, 0),
        (DATABASES, LicenseStatus.ACTIVE, Reason.NOT_IN_PLAN, UNLIMITED, 0, 1),
    ],
)
def test_limits_that_need_no_counter(
    spec: Any, status: LicenseStatus, reason: Reason, license_limit: Any, plan_limit: Any, blocking: int
) -> None:
    """What cannot be taken at all is refused before anything is counted, with both layers."""
    snapshot = FixedSnapshot(GRANT, status, revision=42)
    layers = (_license(license_limit, status), _plan(plan_limit))
    assert allowance("acme", spec, license_facts(snapshot), snapshot, ON_PLAN).refusal() == Decision(
        granted=False,
        reason=reason,
        key=spec.key,
        limit=min(license_limit, plan_limit),
        layers=layers,
        blocking=layers[blocking],
    )


def test_caps_and_claims() -> None:
    """The hard stop is a whole number, rounded down; an absent counter is 0; the hub's own limits claim no instance."""
    assert hard_stop(5, MINUTES) == 5
    assert isinstance(hard_stop(5, MINUTES), int)
    assert hard_stop(19, MINUTES) == 20
    assert hard_stop(UNLIMITED, MINUTES) is UNLIMITED
    assert first_without_room([Claim("acme", "maxApps", 1, 1)], {}) is None
    assert first_without_room([Claim("acme", "maxApps", 2, 1)], {}) == Claim("acme", "maxApps", 2, 1)
    revoked = FixedSnapshot(GRANT, LicenseStatus.REVOKED)
    assert allowance("acme", PROJECTS, license_facts(revoked), revoked, ON_PLAN).instance_limit == 0
    instances = allowance("acme", KUPLOY_CLOUD.limits["maxInstances"], FACTS, SNAPSHOT, ON_PLAN)
    assert [claim.scope for claim in instances.claims(1)] == ["acme"]


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (True, "the amount of maxApps must be an int, not bool"),
        ("2", "the amount of maxApps must be an int, not str"),
        (0, "the amount of maxApps must be at least 1; got 0"),
    ],
)
def test_words_for_bad_amounts(amount: object, message: str) -> None:
    """A bad amount is named with its type or value."""
    with pytest.raises(InvalidValueError) as caught:
        checked_amount(amount, "maxApps")
    assert str(caught.value) == message


def test_over_limit_counts_only_what_has_a_limit() -> None:
    """Use without a limit, and a limit without a count, are not over."""
    assert Decision.grant("x", (), limit=UNLIMITED, used=7).over_limit == 0
    assert Decision.grant("x", (), limit=5).over_limit == 0
    assert Decision.grant("x", (), limit=5, used=7).over_limit == 2


def test_words_for_people() -> None:
    """Decisions, layers and violations print as lines that a person can act on."""
    assert str(Layer("license:growth", 20)) == "license:growth = 20"
    assert str(Layer("license:growth", 20, 42, timedelta(seconds=90.5), "active")) == (
        "license:growth = 20 (v42, active, 90 s old)"
    )
    assert str(Layer("plan:pro", value=True, status="default")) == "plan:pro = True (default)"
    layer = Layer("plan:pro", 5)
    assert str(Decision.grant("maxApps", (layer,))) == "maxApps: granted"
    refused = Decision.refuse(Reason.LIMIT_REACHED, "maxApps", (layer,), blocking=layer, limit=5, used=5)
    assert str(refused) == ("maxApps: limit_reached (5 of 5 used); the org removes some or changes to a larger plan")
    assert str(Decision.refuse(Reason.NOT_IN_PLAN, "x", (layer,), blocking=layer)) == (
        "x: not_in_plan; the org changes to a plan that has it"
    )
    above = ceiling_violations(Plan("p", "P", None, {"whiteLabel"}, {"maxProjects": 30}), GRANT)
    assert above == (
        CeilingViolation("feature", "whiteLabel", wanted=True, ceiling=False),
        CeilingViolation("limit", "maxProjects", 30, 20),
    )
    assert [str(one) for one in above] == [
        "the license does not grant whiteLabel",
        "maxProjects 30 is above the license's 20",
    ]
    assert (
        repr(Entitlements({"b", "a"}, {"maxApps": 1})) == "Entitlements(['a', 'b'], Limits({'maxApps': 1}, default=0))"
    )
    assert repr(Entitlements(ALL)) == "Entitlements(ALL, Limits({}, default=0))"
    assert Entitlements(limits={"maxApps": 1}, default=UNLIMITED).limit("maxNew") is UNLIMITED
    assert hash(Entitlements({"a"})) != hash(Entitlements({"b"}))
    assert hash(Entitlements({"a"})) == hash(Entitlements(["a"], Limits()))


def test_every_refusal_has_a_remedy() -> None:
    """Each reason but GRANTED says who can lift it and how."""
    layer = Layer("x", value=None)
    for reason in Reason:
        remedy = Decision.refuse(reason, "key", (layer,), blocking=layer).remedy
        assert (remedy is None) == (reason is Reason.GRANTED)
        assert remedy is None or (remedy.who in Who and str(remedy) == remedy.what)


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (Decision.grant("x", ()), "use .granted"),
        (Taken(TakeOutcome.TAKEN), "use .outcome"),
        (HoldingSettled(HoldingState.HELD), "use .state"),
        (MappingPut(saved=True, revision=1), "use .saved"),
        (MappingDrop(dropped=True, revision=1), "use .dropped"),
        (SubscriptionPut(PutOutcome.SAVED), "use .outcome"),
        (Released({}, {}), "use .returned"),
        (Drift("maxApps", 1, 2), "use .difference"),
    ],
    ids=["decision", "taken", "holding", "mapping", "drop", "subscription", "released", "drift"],
)
def test_outcomes_are_no_truths(outcome: object, word: str) -> None:
    """An outcome in an `if` is a mistake, and the error names the field to use."""
    with pytest.raises(TypeError) as caught:
        bool(outcome)
    assert str(caught.value) == word


def test_released_is_the_orgs_side() -> None:
    """What a release returns is the org's, not the instance's counter."""
    both = {("acme", "maxApps"): 2, (INSTANCE, "maxApps"): 3}
    assert Released.of(GivenBack({}, both, {(INSTANCE, "maxApps"): 1})) == Released({"maxApps": 2}, {})


def test_explained_ages_its_layers() -> None:
    """An explained decision has the license's age and the plan's version, in its layers and in what blocks."""
    decision = feature_decision("multiServer", Operation.USE, FACTS, ON_PLAN, KUPLOY_CLOUD)
    told = explained(decision, SNAPSHOT, 7)
    assert told.layers == (
        Layer("license:growth", value=True, version=42, age=timedelta(seconds=90), status="active"),
        Layer("plan:pro", value=False, version=7, status="subscription"),
    )
    assert told.blocking == told.layers[1]
    granted = explained(feature_decision("aiAssistant", Operation.USE, FACTS, ON_PLAN, KUPLOY_CLOUD), SNAPSHOT, 7)
    assert granted.blocking is None
    layer = Layer("counter:org", 3)
    assert explained(Decision.grant("x", (layer,)), SNAPSHOT, 7).layers == (layer,)


def test_rows_of_a_page() -> None:
    """A listing's rows have labels, units, both layers and the level."""
    rows = {row.key: row for row in feature_rows(FACTS, ON_PLAN, KUPLOY_CLOUD)}
    assert rows["whiteLabel"] == FeatureRow("whiteLabel", "White label", granted=False, in_license=False, in_plan=True)
    assert rows["multiServer"] == FeatureRow(
        "multiServer", "Multiple servers", granted=False, in_license=True, in_plan=False
    )
    assert rows["aiAssistant"].granted
    minutes = Plan("m", "M", None, limits={"buildMinutesPerMonth": 100})
    on_minutes = PlanResolution(minutes, PlanSource.DEFAULT)
    one = allowance("acme", MINUTES, FACTS, SNAPSHOT, on_minutes)
    assert list(limit_rows([one], {"buildMinutesPerMonth": 6601})) == [
        LimitRow("buildMinutesPerMonth", "Build minutes", "minutes", 111, 100, Level.HARD_STOP)
    ]
    assert next(limit_rows([one], {})).used == 0
