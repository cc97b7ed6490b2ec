"""What a change would do, as values; presets and copies of plans."""

from hypothesis import given

from kuploy_saas_kit.plans import (
    INTERNAL,
    KUPLOY_CLOUD,
    UNLIMITED,
    LicenseGrant,
    OrgUsage,
    Oversell,
    Plan,
    PlanCatalog,
    PlanImpact,
    Price,
    SizePreset,
    compose,
    copy_plan,
    oversell_report,
    preview_catalog_change,
    preview_grant_change,
    preview_plan_change,
)
from kuploy_saas_kit.plans.preview import LimitCut
from kuploy_saas_kit.testing.strategies import grants, plans

TIERS = KUPLOY_CLOUD.tiers
FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan("pro", "Pro", Price(2000, "cad"), {"aiAssistant"}, {"maxProjects": 5, "maxApps": UNLIMITED})


def test_a_downgrade_of_one_org() -> None:
    """Going from Pro to Free tells the lost feature, the cut limits, and what is over by how much."""
    impact = preview_plan_change({"maxProjects": 4, "maxApps": 0}, PRO, FREE)
    assert impact.lost_features == ("aiAssistant",)
    assert [(cut.key, cut.before, cut.after) for cut in impact.cut_limits] == [
        ("maxApps", UNLIMITED, 0),
        ("maxProjects", 5, 1),
    ]
    assert [(over.key, over.over_by) for over in impact.over] == [("maxProjects", 3)]
    assert not impact.takes_nothing
    assert preview_plan_change({}, FREE, PRO).gained_features == ("aiAssistant",)
    assert preview_plan_change({}, FREE, PRO).takes_nothing


def test_a_downgrade_of_the_license() -> None:
    """A smaller license tells which plans lose what, which orgs, and which sums are over."""
    orgs = [
        OrgUsage("acme", PRO, {"maxProjects": 4}),
        OrgUsage("lab", INTERNAL, {"maxProjects": 3}),
        OrgUsage("new", FREE),
    ]
    impact = preview_grant_change(TIERS["growth"], TIERS["starter"], [FREE, PRO], orgs)
    assert set(impact.plans) == {"pro"}
    assert impact.plans["pro"].lost_features == ("aiAssistant",)
    assert set(impact.orgs) == {"acme", "lab"}
    assert impact.orgs["lab"].lost_features == ("aiAssistant", "multiServer")
    assert [(over.key, over.used, over.limit, over.over_by) for over in impact.aggregates] == [("maxProjects", 7, 5, 2)]


def test_an_edit_of_the_catalog() -> None:
    """Editing a plan tells who loses what; a plan that is gone keeps its rights."""
    smaller = Plan("pro", "Pro", Price(2000, "cad"), (), {"maxProjects": 2})
    before, after = PlanCatalog([FREE, PRO]), PlanCatalog([FREE, smaller])
    impact = preview_catalog_change(before, after, [OrgUsage("acme", PRO, {"maxProjects": 4})], grant=TIERS["growth"])
    assert impact.orgs["acme"].lost_features == impact.plans["pro"].lost_features == ("aiAssistant",)
    assert preview_catalog_change(before, PlanCatalog([FREE]), [OrgUsage("acme", PRO)]).orgs == {}


def test_previews_under_a_license_count_what_it_grants() -> None:
    """Under a license only what it grants can be lost or gained, for an org, for plans and for orgs of a catalog."""
    white = Plan("pro", "Pro", None, {"aiAssistant", "whiteLabel"}, {"maxProjects": 50})
    grant = TIERS["growth"]
    assert preview_plan_change({}, PRO, white, grant=grant) == PlanImpact(
        cut_limits=(LimitCut("maxApps", 50, 0),),
    )
    assert preview_plan_change({}, white, PRO, grant=grant).lost_features == ()
    before, after = PlanCatalog([FREE, white]), PlanCatalog([FREE, PRO])
    impact = preview_catalog_change(before, after, [OrgUsage("acme", white)], grant=grant)
    assert impact.plans["pro"] == impact.orgs["acme"]
    assert impact.plans["pro"].cut_limits == (LimitCut("maxProjects", 20, 5),)
    assert impact.plans["pro"].lost_features == ()


def test_oversell() -> None:
    """The orgs' limits together against the license, with those that have no limit of their own."""
    report = {one.key: one for one in oversell_report([OrgUsage(str(n), PRO) for n in range(5)], TIERS["growth"])}
    assert (report["maxProjects"].promised, report["maxProjects"].ratio) == (25, 1.25)
    assert report["maxProjects"].is_oversold
    assert (report["maxApps"].unlimited_orgs, report["maxApps"].is_oversold) == (5, True)
    assert not report["maxDatabases"].is_oversold
    assert report["maxPurchasableDomains"].ratio is None


def test_what_has_no_end_cannot_be_listed() -> None:
    """Internal alone has features without end, which are not listed; without a ceiling nothing is oversold."""
    assert preview_plan_change({}, INTERNAL, PRO).lost_features == ()
    assert preview_plan_change({}, PRO, INTERNAL).gained_features == ()
    assert not Oversell("maxApps", promised=10, unlimited_orgs=3, ceiling=UNLIMITED).is_oversold


@given(grants, grants, plans())
def test_previews_agree_with_composition(before: LicenseGrant, after: LicenseGrant, plan: Plan) -> None:
    """What a preview calls lost or cut is exactly what composing with the new license takes."""
    impact = preview_grant_change(before, after, [plan]).plans.get(plan.slug, PlanImpact())
    old, new = compose(before, plan), compose(after, plan)
    assert isinstance(old.features, frozenset)
    assert set(impact.lost_features) == {key for key in old.features if not new.allows(key)}
    assert {cut.key for cut in impact.cut_limits} == {key for key in plan.limits if new.limit(key) < old.limit(key)}
    assert impact.takes_nothing == (old <= new)


def test_presets_copies_and_manual_entry_end_in_the_same_plan() -> None:
    """However a plan is begun, the result names every limit itself and inherits nothing."""
    preset = Plan("team", "Team", Price(1000, "cad"), {"aiAssistant"}, SizePreset.SMALL.limits)
    manual = Plan("team", "Team", Price(1000, "cad"), {"aiAssistant"}, dict(SizePreset.SMALL.limits.items()))
    assert preset == manual == copy_plan(copy_plan(preset, slug="other", name="Other"), slug="team", name="Team")
    sizes = [size.limits for size in SizePreset]
    assert sizes[0] <= sizes[1] <= sizes[2]
    assert all(key in KUPLOY_CLOUD.limits for size in sizes for key in size)
    copied = copy_plan(Plan("a", "A", description="For all", is_default=True), slug="b", name="B")
    assert copied == Plan("b", "B", description="For all")


def test_presets_are_what_the_page_shows() -> None:
    """A preset names every limit of an org's plan that it has a sensible value for."""
    assert SizePreset.SMALL.limits.to_wire() == {
        "maxProjects": 3,
        "maxApps": 9,
        "maxDatabases": 3,
        "maxTeamMembers": 3,
        "maxDomains": 1,
        "maxCustomDomains": 1,
        "maxFreeSubdomains": 3,
        "maxMailboxes": 3,
        "maxStorageBytes": 5 * 10**9,
        "buildMinutesPerMonth": 200,
    }
