"""A tenant's plans at the hub, and how the wire writes them."""

from typing import Any

import pytest

from kuploy_saas_kit.errors import CatalogError, CeilingExceededError, InvalidValueError, NeverGateKeyError
from kuploy_saas_kit.hub.catalogs import edit_catalog, plan_to_wire, product_schema, put_plan, tier_grant
from kuploy_saas_kit.hub.records import TenantSubscription
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import INTERNAL, Plan
from kuploy_saas_kit.model.product import SCHEMAS

GROWTH = TenantSubscription(tenant_id="tenant_1", product_type="kuploy-cloud", tier="growth")
FREE = Plan("free", "Free", is_default=True)
PRO = Plan("pro", "Pro", Price(2000, "cad"), {"customDomains"}, {"maxProjects": 10})


def test_every_product_and_tier_has_a_grant() -> None:
    """Both products' tiers are sold under their names; others are refused with a list of what there is."""
    for product, schema in SCHEMAS.items():
        assert product_schema(product) is schema
        assert [tier_grant(product, tier).tier for tier in schema.tiers] == list(schema.tiers)
    with pytest.raises(InvalidValueError, match="kuploy-cloud, leeram-business"):
        tier_grant("kuploy-desktop", "growth")
    with pytest.raises(InvalidValueError, match="hobby, starter, growth"):
        tier_grant("kuploy-cloud", "gold")


def test_the_revision_rises_only_with_a_change() -> None:
    """The same plans again are the same catalog."""
    first = edit_catalog(None, GROWTH, [FREE, PRO])
    assert first.revision == 1
    assert edit_catalog(first, GROWTH, [FREE, PRO]) is first
    assert edit_catalog(first, GROWTH, [FREE]).revision == 2


def test_a_plan_takes_the_place_of_the_one_with_its_slug() -> None:
    """Replacing keeps the order; a new slug comes last; the first plan of all must be the default."""
    both = put_plan(put_plan(None, GROWTH, FREE), GROWTH, PRO)
    renamed = put_plan(both, GROWTH, Plan("free", "Gratis", is_default=True))
    assert [plan.name for plan in renamed.plans] == ["Gratis", "Pro"]
    with pytest.raises(CatalogError):
        put_plan(None, GROWTH, PRO)


def test_a_limit_above_the_tier_is_allowed() -> None:
    """Only features are refused at edit time; limits are clamped where they are used."""
    assert put_plan(None, GROWTH, Plan("free", "Free", limits={"maxProjects": 1000}, is_default=True)).revision == 1


@pytest.mark.parametrize(
    ("plans", "error"),
    [
        ([FREE, Plan("vip", "VIP", features={"whiteLabel"})], CeilingExceededError),
        ([FREE, Plan("odd", "Odd", features={"login"})], NeverGateKeyError),
        ([FREE, FREE], CatalogError),
        ([FREE, Plan("odd", "")], InvalidValueError),
        ([FREE, Plan("odd", "a\nb")], InvalidValueError),
        ([FREE, Plan("odd", "Odd", description="x" * 4097)], InvalidValueError),
        ([FREE, *(Plan(f"plan{number}", "Plan") for number in range(200))], CatalogError),
        ([FREE, INTERNAL], CatalogError),
        ([FREE, Plan("odd", "Odd", limits={f"key{number}": 1 for number in range(257)})], InvalidValueError),
        ([FREE, *(Plan(f"plan{number}", "Plan", description="€" * 4096) for number in range(60))], CatalogError),
    ],
)
def test_what_instances_would_refuse_is_refused_here(plans: list[Plan], error: type[Exception]) -> None:
    """A catalog that an instance would not take does not get into the hub."""
    with pytest.raises(error):
        edit_catalog(None, GROWTH, plans)


@pytest.mark.parametrize(
    ("price", "written"),
    [
        (None, {}),
        (Price(5000, "xof"), {"priceCents": 5000, "currency": "xof", "billingCycle": "monthly"}),
    ],
)
def test_prices_are_minor_units_or_absent(price: Price | None, written: dict[str, Any]) -> None:
    """A plan with a price has all three fields, one without has none."""
    wire = plan_to_wire(Plan("pro", "Pro", price))
    assert {key: value for key, value in wire.items() if key in {"priceCents", "currency", "billingCycle"}} == written
