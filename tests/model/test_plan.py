"""Plans, catalogs, grants, products and subscriptions as values."""

import copy
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from kuploy_saas_kit.errors import CatalogError, InvalidValueError, NeverGateKeyError, UnknownKeyError, UnknownPlanError
from kuploy_saas_kit.model.features import ALL
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import UNLIMITED, Limits
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, LEERAM_BUSINESS, FeatureSpec, LimitSpec
from kuploy_saas_kit.model.subscription import Access, Assignment, OrgSubscription, StripeSpace, effective_subscription
from kuploy_saas_kit.testing.strategies import catalogs, plans

FREE = Plan("free", "Free", is_default=True)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


@given(plans())
def test_plans_are_values(plan: Plan) -> None:
    """A plan equals its copy, hashes alike, and an absent limit is a limit of 0."""
    assert copy.deepcopy(plan) == plan == pickle.loads(pickle.dumps(plan))  # noqa: S301 - our own bytes
    same = Plan(
        plan.slug,
        plan.name,
        plan.price,
        plan.features,
        {**plan.limits, "maxNothing": 0},
        is_default=plan.is_default,
        is_active=plan.is_active,
        description=plan.description,
    )
    assert same == plan
    assert hash(same) == hash(plan)


@given(catalogs())
def test_catalogs_know_their_plans(catalog: PlanCatalog) -> None:
    """Every plan is found by its slug, Internal too, and equal catalogs are equal values in any order."""
    assert [catalog.plan(plan.slug) for plan in catalog] == list(catalog.plans)
    assert catalog.plan("internal") is INTERNAL
    assert PlanCatalog(reversed(catalog.plans)) == catalog
    assert hash(PlanCatalog(reversed(catalog.plans))) == hash(catalog)
    assert catalog.default.is_default
    assert len(catalog) == len(catalog.plans)
    assert catalog.default.slug in repr(catalog)
    assert catalog != "catalog"


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([], "exactly one plan must be the default; marked as default: none is"),
        ([FREE, Plan("two", "Two", is_default=True)], "marked as default: free, two"),
        ([FREE, FREE], "more than once: free"),
        ([FREE, INTERNAL], "'internal' is reserved"),
        ([Plan("free", "Free", is_default=True, is_active=False)], "must be active"),
    ],
    ids=["none", "two defaults", "twice", "internal", "inactive default"],
)
def test_contradicting_catalogs_are_refused(listed: list[Plan], message: str) -> None:
    """A catalog that contradicts itself is an error that names the plans."""
    with pytest.raises(CatalogError, match=message):
        PlanCatalog(listed)


def test_unknown_plans_are_named() -> None:
    """Asking for a plan that is not there lists those that are."""
    with pytest.raises(UnknownPlanError, match="no plan 'gold'; the catalog has free, internal"):
        PlanCatalog([FREE]).plan("gold")


@pytest.mark.parametrize("slug", ["", "x" * 201, "a\nb", " pro", "\x00", None, 7])
def test_impossible_slugs_are_refused(slug: Any) -> None:
    """A slug is one to 200 printable characters."""
    with pytest.raises(InvalidValueError, match="a plan slug is"):
        Plan(slug, "X")


def test_only_internal_has_everything() -> None:
    """The slug `internal` and rights without end belong together and to the kit."""
    assert INTERNAL.is_internal
    for arguments in (
        {"slug": "internal"},
        {"slug": "all", "features": ALL},
        {"slug": "all", "limits": Limits(default=UNLIMITED)},
    ):
        settings: dict[str, Any] = {"name": "X", **arguments}
        with pytest.raises(InvalidValueError, match=r"reserved|one by one"):
            Plan(**settings)


@pytest.mark.parametrize(
    ("plan", "billable"),
    [
        (Plan("a", "A", Price(1, "cad")), True),
        (Plan("a", "A", Price(0, "cad")), False),
        (Plan("a", "A"), False),
        (Plan("a", "A", Price(1, "cad"), is_default=True), False),
        (Plan("a", "A", Price(1, "cad"), is_active=False), False),
    ],
    ids=["paid", "zero", "no price", "default", "inactive"],
)
def test_what_is_sold(plan: Plan, billable: bool) -> None:  # noqa: FBT001 - a column of the table
    """Active plans with a price above 0 are sold, the default plan never."""
    assert plan.is_billable is billable


def test_warnings_for_odd_catalogs() -> None:
    """A default plan with a price and an amount too small to charge are said, not refused."""
    catalog = PlanCatalog([Plan("free", "F", Price(5, "usd"), is_default=True), Plan("tiny", "T", Price(5, "usd"))])
    assert len(catalog.warnings) == 3


def test_grants_cap_only_what_they_name() -> None:
    """A limit that a grant does not name is unlimited there; in a plan it is 0."""
    assert LicenseGrant("growth", limits={"maxApps": 3}).limits["maxNew"] is UNLIMITED
    assert Plan("p", "P", limits={"maxApps": 3}).limits["maxNew"] == 0


def test_schema_normalises_and_refuses() -> None:
    """Aliases lead to the wire spelling, unknown keys raise with what there is, never-gate keys always raise."""
    assert KUPLOY_CLOUD.feature("white-label").key == KUPLOY_CLOUD.feature("whitelabel").key == "whiteLabel"
    assert KUPLOY_CLOUD.limit("maxApps").unit == "count"
    with pytest.raises(UnknownKeyError, match="kuploy-cloud has no feature 'x'; it has aiAssistant"):
        KUPLOY_CLOUD.feature("x")
    with pytest.raises(UnknownKeyError, match="has no limit"):
        LEERAM_BUSINESS.limit("maxApps")
    for key in KUPLOY_CLOUD.never_gate:
        with pytest.raises(NeverGateKeyError):
            KUPLOY_CLOUD.limit(key)
        with pytest.raises(NeverGateKeyError):
            KUPLOY_CLOUD.check_plan(Plan("p", "P", features={key}))


def test_unknown_keys_are_values_with_words() -> None:
    """Keys that the schema lacks are told as objects that say where they were and that they stay off."""
    unknown = KUPLOY_CLOUD.check_plan(Plan("p", "P", features={"timeTravel", "whitelabel"}, limits={"maxTardis": 1}))
    assert [(one.kind, one.key) for one in unknown] == [("feature", "timeTravel"), ("limit", "maxTardis")]
    assert "plan p names the feature 'timeTravel'" in str(unknown[0])
    assert KUPLOY_CLOUD.check_plan(INTERNAL) == ()


def test_plans_are_normalised_at_the_edge() -> None:
    """A plan that was written with aliases is the plan in wire spelling; Internal is itself."""
    plan = Plan("p", "P", None, {"white-label", "whiteLabel", "timeTravel"}, {"maxApps": 3}, description="d")
    assert KUPLOY_CLOUD.normalised(plan) == Plan(
        "p", "P", None, {"whiteLabel", "timeTravel"}, {"maxApps": 3}, description="d"
    )
    assert KUPLOY_CLOUD.normalised(INTERNAL) is INTERNAL
    doubled = KUPLOY_CLOUD.with_keys(limits=[LimitSpec("maxSms", "SMS", aliases=("sms",))])
    assert doubled.normalised(Plan("p", "P", limits={"sms": 5, "maxSms": UNLIMITED})).limits["maxSms"] == 5


def test_hosts_add_keys() -> None:
    """A host's own keys join a shipped schema, which itself stays as it is."""
    mine = LEERAM_BUSINESS.with_keys(features=[FeatureSpec("sms", "SMS")], limits=[LimitSpec("maxSms", "SMS")])
    assert mine.known.allows("sms")
    assert mine.known.limit("maxSms") is UNLIMITED
    assert not LEERAM_BUSINESS.known.allows("sms")
    assert set(LEERAM_BUSINESS.tiers) == {"solo", "studio", "agency", "reseller"}


def _subscription(name: str, status: str, days: int = 0, **fields: Any) -> OrgSubscription:
    settings: dict[str, Any] = {
        "subscription_id": name,
        "space": StripeSpace("acct_1", livemode=False),
        "org_id": "acme",
        "customer_id": "cus_1",
        "plan": "pro",
        "price_id": "price_1",
        "status": status,
        "known_status": status,
        "created": NOW + timedelta(days=days),
        **fields,
    }
    return OrgSubscription(**settings)


def test_the_best_subscription_counts() -> None:
    """Of several the one with the best access counts, then the newest; of none, none."""
    active, newer = _subscription("a", "active"), _subscription("b", "trialing", 1)
    late, ended = _subscription("c", "past_due", 2), _subscription("d", "canceled", 3)
    assert effective_subscription([late, active, ended, newer]) is newer
    assert effective_subscription([ended, late]) is late
    assert effective_subscription([]) is None


def test_access_needs_org_and_plan() -> None:
    """A subscription whose org or plan is unknown grants nothing; a cancelling one does until it ends."""
    assert _subscription("a", "active", plan=None).access is Access.NONE
    assert _subscription("a", "active", org_id=None).access is Access.NONE
    assert _subscription("a", "active", cancel_at=NOW).is_cancelling
    assert not _subscription("a", "canceled", cancel_at=NOW).is_cancelling
    assert _subscription("a", "canceled").is_terminal
    assert str(StripeSpace("acct_1", livemode=True)) == "acct_1 (live)"


def test_assignments_end() -> None:
    """An assignment holds until its end, which is not part of it."""
    given_ = Assignment(org_id="a", plan="pro", actor="x", reason="y", assigned_at=NOW, until=NOW)
    assert not given_.is_current(NOW)
    assert given_.is_current(NOW - timedelta(seconds=1))
