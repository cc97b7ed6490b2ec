"""Names, keys and the diff: pure functions and their laws."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stripe_provision.world import TEST_SPACE, business, catalog, pro

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.changes import ArchivePrice, Blocked, CreatePrice, CreateProduct
from kuploy_saas_kit.stripe_provision.diff import Observed, is_in_place, provision_changes, wanted_catalog
from kuploy_saas_kit.stripe_provision.keys import StripeKeys, checked_webhook_secrets
from kuploy_saas_kit.stripe_provision.ports import PriceMapping, RemotePrice, RemoteProduct

slugs = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=200)
prices = st.builds(
    Price, st.integers(1, 99_999_999), st.sampled_from(["cad", "usd", "xof", "gnf"]), st.sampled_from(BillingCycle)
)


@given(slugs, prices)
def test_names_fit_at_stripe(slug: str, price: Price) -> None:
    """Whatever the slug: ids and keys are short, plain, and the same at each call."""
    key = naming.lookup_key("kuploy", slug, price)
    product_id = naming.product_id("kuploy", slug)
    assert len(key) < 200
    assert len(product_id) < 100
    assert (key + product_id).isascii()
    assert key == naming.lookup_key("kuploy", slug, price)


@given(slugs, slugs, prices, prices)
def test_a_lookup_key_names_its_content(one: str, other: str, price: Price, dearer: Price) -> None:
    """Two plans have one key only if slug and terms are the same."""
    same = naming.lookup_key("kuploy", one, price) == naming.lookup_key("kuploy", other, dearer)
    assert same == (one == other and price == dearer)


def test_namespaces_keep_apart() -> None:
    """Two licenses in one account have other ids, and one's prefix never begins the other's."""
    one, other = naming.namespace_for("lic_1"), naming.namespace_for("lic_2")
    assert naming.product_id(one, "pro") != naming.product_id(other, "pro")
    assert not naming.product_id(one, "pro").startswith(naming.product_prefix("kuploy"))


@pytest.mark.parametrize("namespace", ["", "A", "a_b", "a" * 41, "ä", "a b"])
def test_a_namespace_is_plain(namespace: str) -> None:
    """A namespace that would blur the border between namespace and slug is refused."""
    with pytest.raises(ConfigurationError, match="namespace"):
        naming.checked_namespace(namespace)


def test_rights_are_no_part_of_the_fingerprint() -> None:
    """Stripe has nothing to do with features and limits: changing them changes nothing there."""
    plain, rich = pro(), pro(features={"customDomains"}, limits={"maxProjects": 3})
    assert naming.plan_fingerprint("kuploy", plain) == naming.plan_fingerprint("kuploy", rich)
    assert naming.plan_fingerprint("kuploy", plain) != naming.plan_fingerprint("kuploy", pro(2001))


def test_revisions_survive_mangled_metadata() -> None:
    """A revision that somebody overwrote by hand counts as none, and other metadata is none."""
    revisions = [naming.written_revision({naming.REVISION + text: "1"}) for text in ("7", "", "x", "-1", "²")]
    assert revisions == [7, 0, 0, 0, 0]
    assert naming.written_revision({"9": "1", naming.PLAN: "8"}) == 0


@given(st.lists(st.integers(1, 5), min_size=1), st.randoms())
def test_no_replica_unwrites_a_higher_revision(revisions: list[int], order: random.Random) -> None:
    """Whatever each has seen when it writes, Stripe's merge keeps the highest, and a next one clears the others."""
    kept: dict[str, str] = {}
    seen = [dict(kept)]
    for revision in revisions:
        written = naming.product_metadata("kuploy", "pro", revision, seen=order.choice(seen))
        kept = {key: value for key, value in {**kept, **written}.items() if value}
        seen.append(dict(kept))
    assert naming.written_revision(kept) == max(revisions)
    last = naming.product_metadata("kuploy", "pro", 6, seen=kept)
    assert {key for key, value in {**kept, **last}.items() if value and key.startswith(naming.REVISION)} == {
        f"{naming.REVISION}6"
    }


def _product(slug: str, **changes: object) -> RemoteProduct:
    fields: dict[str, object] = {
        "id": naming.product_id("kuploy", slug),
        "name": "Old",
        "description": "",
        "active": True,
        "default_price": None,
        "metadata": naming.product_metadata("kuploy", slug),
        "livemode": False,
        **changes,
    }
    return RemoteProduct(**fields)  # type: ignore[arg-type]


def _price(number: int, plan: Plan, *, active: bool) -> RemotePrice:
    assert plan.price is not None
    return RemotePrice(
        id=f"price_{number}",
        product=naming.product_id("kuploy", plan.slug),
        active=active,
        lookup_key=naming.lookup_key("kuploy", plan.slug, plan.price),
        amount=plan.price.amount,
        currency=plan.price.currency,
        interval="month",
        interval_count=1,
        usage_type="licensed",
        metadata=naming.price_metadata("kuploy", plan.slug),
        livemode=False,
    )


def test_the_diff_does_not_depend_on_order() -> None:
    """Plans in any order and answers in any order make the same changes (I10)."""
    plans = (pro(), business(), Plan("mini", "Mini", Price(500, "cad")))
    seen_products = [_product("pro"), _product("gone"), _product("business", active=False)]
    seen_prices = [_price(1, pro(1000), active=True), _price(2, pro(), active=False), _price(3, pro(500), active=True)]
    results = set()
    for order in permutations(range(3)):
        wanted = wanted_catalog(catalog(*(plans[i] for i in order)), namespace="kuploy")
        observed = Observed(
            space=TEST_SPACE,
            products={seen_products[i].id: seen_products[i] for i in order},
            prices={seen_prices[i].id: seen_prices[i] for i in order},
        )
        results.add(repr(provision_changes(wanted, observed)))
    assert len(results) == 1


def test_slugs_that_share_an_id_are_both_blocked() -> None:
    """A slug that is spelled like another one's shortened form makes neither plan sell the other's product (14)."""
    taken = naming.product_id("kuploy", "Pro!").removeprefix("kuploy_")
    plans = catalog(Plan("Pro!", "A", Price(100, "cad")), Plan(taken, "B", Price(200, "cad")))
    changes = provision_changes(wanted_catalog(plans, namespace="kuploy"), Observed(space=TEST_SPACE))
    assert [type(change) for change in changes] == [Blocked, Blocked]


def test_a_diff_prints_like_a_plan() -> None:
    """Each change is one line that people understand."""
    changes = provision_changes(wanted_catalog(catalog(pro()), namespace="kuploy"), Observed(space=TEST_SPACE))
    assert [str(change) for change in changes] == [
        "+ pro: product kuploy_pro 'Pro'",
        "+ pro: price 20.00 CAD monthly",
        "~ pro: default price is the new price",
        "~ pro: checkouts sell the new price",
    ]
    assert isinstance(changes[0], CreateProduct)
    assert isinstance(changes[1], CreatePrice)


@pytest.mark.parametrize(
    ("secret", "mend"),
    [
        ("pk_test_x", "publishable"),
        ("sk_test_x\n", "whitespace"),
        (" sk_test_x", "whitespace"),
        ("sk_test_a b", "whitespace"),
        ("", "empty"),
        ("whsec_x", "begins with"),
        ("sk_prod_x", "begins with"),
    ],
)
def test_a_wrong_secret_key_is_refused_with_the_mend(secret: str, mend: str) -> None:
    """A key that cannot work is refused before any call, and the message does not show it (33)."""
    with pytest.raises(ConfigurationError, match=mend) as caught:
        StripeKeys(secret=secret)
    assert len(secret) < 4 or secret.strip() not in str(caught.value)


@pytest.mark.parametrize("publishable", ["sk_test_x", "pk_live_x", "pk_x", "pk_test_x\n"])
def test_a_wrong_publishable_key_is_refused(publishable: str) -> None:
    """A secret on a page, or keys of two modes, are refused where they are saved."""
    with pytest.raises(ConfigurationError):
        StripeKeys(secret="sk_test_x", publishable=publishable)


def test_keys_know_their_mode_and_hide() -> None:
    """Mode comes from the prefix; no repr shows a secret."""
    keys = StripeKeys(secret="rk_live_abcdef", publishable="pk_live_x", webhook_secrets=("whsec_abcdef",))
    assert keys.livemode
    assert not StripeKeys(secret="sk_test_x").livemode
    assert "abcdef" not in repr(keys)


@pytest.mark.parametrize("secrets", [[], [""], [" "], ["whsec_x\n"], ["nope"], "whsec_x"])
def test_an_endpoint_is_never_open(secrets: list[str]) -> None:
    """No, empty or mangled webhook secrets are refused when the endpoint is made (54)."""
    with pytest.raises(ConfigurationError):
        checked_webhook_secrets(secrets)


def _changes(wanted: PlanCatalog, revision: int | None = None, **seen: Any) -> list[str]:
    observed = Observed(space=TEST_SPACE, **seen)
    return [
        str(change)
        for change in provision_changes(wanted_catalog(wanted, namespace="kuploy", revision=revision), observed)
    ]


def _mapping(plan: Plan, price_id: str, revision: int = 0) -> dict[str, PriceMapping]:
    mapping = PriceMapping(
        slug=plan.slug,
        product_id=naming.product_id("kuploy", plan.slug),
        price_id=price_id,
        fingerprint=naming.plan_fingerprint("kuploy", plan),
        revision=revision,
    )
    return {plan.slug: mapping}


def test_the_fingerprint_alone_does_not_say_that_all_is_in_place() -> None:
    """A run that another one interfered with looks at Stripe: what is mapped must be what is to be sold."""
    wanted = wanted_catalog(catalog(pro(), business(is_active=False)), namespace="kuploy", revision=3)
    right = _mapping(pro(), "price_1")
    assert is_in_place(wanted, wanted.fingerprint, right)
    assert not is_in_place(wanted, None, right)
    assert not is_in_place(wanted, wanted.fingerprint, {})
    assert not is_in_place(wanted, wanted.fingerprint, _mapping(pro(2500), "price_1"))
    assert not is_in_place(wanted, wanted.fingerprint, {**right, **_mapping(business(), "price_2")})


def test_a_retired_plan_prints_each_step() -> None:
    """Taking a plan out of sale is announced and drops the mapping, then its other prices go, then the product."""
    product = _product("pro", default_price="price_1")
    prices = [_price(1, pro(), active=True), _price(2, pro(900), active=True)]
    lines = _changes(
        catalog(pro(is_active=False)),
        revision=4,
        products={product.id: product},
        prices={price.id: price for price in prices},
        mappings=_mapping(pro(), "price_1"),
    )
    assert lines == [
        "~ pro: product kuploy_pro metadata",
        "- pro: checkouts do not sell it any more",
        "- pro: price price_2 9.00 CAD is archived",
        "- pro: product kuploy_pro is inactive",
    ]


def test_a_newer_catalog_is_left_alone_also_where_it_sells_no_more() -> None:
    """A plan that a newer catalog has put on sale is not taken out by an older one."""
    product = _product("pro", metadata=naming.product_metadata("kuploy", "pro", 9))
    (line,) = _changes(catalog(pro(is_active=False)), revision=4, products={product.id: product})
    assert line == "· pro: catalog revision 9 was applied already, newer than 4"


@pytest.mark.parametrize("is_sold", [True, False])
@pytest.mark.parametrize(
    ("mapped", "mended"),
    [(9, "~ pro: product kuploy_pro active"), (8, "- pro: checkouts do not sell it any more"), (None, None)],
)
def test_an_older_catalog_mends_what_it_may_have_broken(is_sold: bool, mapped: int | None, mended: str | None) -> None:  # noqa: FBT001 - the question
    """What the newest catalog sells is offered again, and what it has taken out of sale is sold no more."""
    product = _product("pro", active=False, metadata=naming.product_metadata("kuploy", "pro", 9))
    mappings = {} if mapped is None else _mapping(pro(), "price_1", revision=mapped)
    lines = _changes(catalog(pro(is_active=is_sold)), revision=4, products={product.id: product}, mappings=mappings)
    left_alone = ["· pro: catalog revision 9 was applied already, newer than 4"]
    assert lines == ([] if mended is None else [mended]) + (left_alone if is_sold or mapped else [])


def test_a_foreign_product_of_a_retired_plan_is_left_alone() -> None:
    """Only our own mapping goes; a product without our mark stays as it is."""
    product = _product("pro", metadata={})
    lines = _changes(catalog(pro(is_active=False)), products={product.id: product}, mappings=_mapping(pro(), "price_1"))
    assert lines == ["- pro: checkouts do not sell it any more"]
    (line,) = _changes(catalog(pro()), products={product.id: product})
    assert line.startswith("! pro: product kuploy_pro exists and does not carry the mark")


def test_an_old_price_is_sold_again_and_a_lost_mark_mended() -> None:
    """A price that has the wanted terms is used again; a product of ours whose plan was edited away gets it back."""
    product = _product("pro", name="Pro", description="For teams", metadata=naming.price_metadata("kuploy", "other"))
    price = _price(1, pro(), active=False)
    assert _changes(catalog(pro()), products={product.id: product}, prices={price.id: price}) == [
        "~ pro: product kuploy_pro metadata",
        "~ pro: price price_1 20.00 CAD monthly is sold again",
        "~ pro: default price is price_1",
        "~ pro: checkouts sell price_1",
    ]


def test_counted_subscriptions_print() -> None:
    """The number of subscriptions that stay is part of the line and no part of equality."""
    plain = ArchivePrice(space=TEST_SPACE, slug="pro", price_id="price_1", amount=None, currency="cad")
    counted = replace(plain, subscribers=3)
    assert str(counted) == "- pro: price price_1 is archived (3 subscriptions stay on it)"
    assert plain == counted
