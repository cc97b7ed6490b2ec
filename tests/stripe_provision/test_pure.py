"""Names, keys and the diff: pure functions and their laws."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stripe_provision.world import TEST_SPACE, business, catalog, pro

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.changes import Blocked, CreatePrice, CreateProduct
from kuploy_saas_kit.stripe_provision.diff import Observed, provision_changes, wanted_catalog
from kuploy_saas_kit.stripe_provision.keys import StripeKeys, checked_webhook_secrets
from kuploy_saas_kit.stripe_provision.ports import RemotePrice, RemoteProduct

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
    """A revision that somebody overwrote by hand counts as none."""
    assert [naming.written_revision({naming.REVISION: text}) for text in ("7", "", "x", "-1", "²")] == [7, 0, 0, 0, 0]


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
