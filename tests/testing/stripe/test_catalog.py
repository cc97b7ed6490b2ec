"""Products and prices answer as reference recordings say that Stripe answers."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from tests.testing.stripe.shop import MONTHLY, Shop, refused

from kuploy_saas_kit.testing.stripe import Quirks


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


def test_a_product_reads_back_as_it_was_made(shop: Shop) -> None:
    """A chosen id, plain fields and metadata survive, and defaults are Stripe's."""
    made = shop.api.products.create({"id": "kuploy_max", "name": "Max", "metadata": {"kuploy_plan": "max"}})
    assert made.to_dict() == shop.api.products.retrieve("kuploy_max").to_dict()
    assert (made.active, made.default_price, made.metadata.to_dict()) == (True, None, {"kuploy_plan": "max"})


def test_a_product_id_is_taken_once(shop: Shop) -> None:
    """The second product with an id is the 400 that adopters look for."""
    error = refused(lambda: shop.api.products.create({"id": "kuploy_pro", "name": "Other"}))
    assert (error["status"], error["code"]) == (400, "resource_already_exists")


def test_metadata_merges_and_empties(shop: Shop) -> None:
    """Keys merge, an empty value drops its key, an empty string drops all."""
    update = shop.api.products.update
    update("kuploy_pro", {"metadata": {"a": "1", "b": "2"}})
    assert update("kuploy_pro", {"metadata": {"a": "", "c": "3"}}).metadata.to_dict() == {"b": "2", "c": "3"}
    assert update("kuploy_pro", {"metadata": ""}).metadata.to_dict() == {}


@pytest.mark.parametrize(
    "metadata",
    [
        {f"k{index}": "v" for index in range(51)},
        {"k" * 41: "v"},
        {"k": "v" * 501},
        {"a[b]": "v"},
    ],
    ids=["many", "long key", "long value", "brackets"],
)
def test_metadata_has_bounds(shop: Shop, metadata: dict[str, str]) -> None:
    """50 keys of 40 characters without brackets, values of 500, and not one more."""
    error = refused(lambda: shop.api.products.update("kuploy_pro", {"metadata": metadata}))
    assert error["status"] == 400
    assert error["param"].startswith("metadata")


def test_a_description_is_cleared_by_an_empty_string(shop: Shop) -> None:
    """Fields that Stripe lets be unset are null afterwards; a name cannot be unset."""
    shop.api.products.update("kuploy_pro", {"description": "For teams"})
    assert shop.api.products.update("kuploy_pro", {"description": ""}).description is None
    assert refused(lambda: shop.api.products.update("kuploy_pro", {"name": ""}))["code"] == "parameter_invalid_empty"


def test_a_deleted_product_is_gone_and_its_id_burnt(shop: Shop) -> None:
    """Only a product without prices can be deleted; then it is 404 and its id stays taken."""
    error = refused(lambda: shop.api.products.delete("kuploy_pro"))
    assert "code" not in error
    assert error["message"] == "This product cannot be deleted because it has one or more user-created prices."
    shop.api.products.create({"id": "kuploy_max", "name": "Max"})
    assert shop.api.products.delete("kuploy_max").deleted
    assert refused(lambda: shop.api.products.retrieve("kuploy_max"))["status"] == 404
    again = refused(lambda: shop.api.products.create({"id": "kuploy_max", "name": "Max"}))
    assert again["code"] == "resource_already_exists"


def test_a_deleted_id_may_come_back_under_a_quirk() -> None:
    """Whether a deleted id can be used again is not documented, so both are there."""
    shop = Shop(quirks=Quirks(reuses_deleted_ids=True))
    shop.api.products.create({"id": "kuploy_max", "name": "Max"})
    shop.api.products.delete("kuploy_max")
    assert shop.api.products.create({"id": "kuploy_max", "name": "Max"}).active


def test_products_are_listed_by_ids(shop: Shop) -> None:
    """Ids, state and expansion work together; ids exclude cursors and end at 100."""
    shop.api.products.update("kuploy_pro", {"default_price": shop.price})
    found = shop.api.products.list({"ids": ["kuploy_pro", "nobody"], "expand": ["data.default_price"]}).data
    assert [row.default_price.unit_amount for row in found] == [2000]
    assert shop.api.products.list({"active": False}).data == []
    assert refused(lambda: shop.api.products.list({"ids": ["a"], "starting_after": "b"}))["param"] == "ids"
    assert refused(lambda: shop.api.products.list({"ids": [f"p{n}" for n in range(101)]}))["param"] == "ids"


def test_a_default_price_is_an_active_price_of_the_product(shop: Shop) -> None:
    """A default price must exist, belong to the product and be active; an empty string takes it away."""
    other = shop.api.products.create({"name": "Other"}).id
    archived = shop.new_price(1)
    shop.api.prices.update(archived, {"active": False})
    for wrong in ("price_none", shop.new_price(1, product=other), archived):
        error = refused(shop.api.products.update, "kuploy_pro", {"default_price": wrong})
        assert (error["status"], error["param"]) == (400, "default_price")
    assert shop.api.products.update("kuploy_pro", {"default_price": shop.price}).default_price == shop.price
    assert shop.api.products.update("kuploy_pro", {"default_price": ""}).default_price is None


def test_a_product_can_be_made_with_its_default_price(shop: Shop) -> None:
    """`default_price_data` makes both or, if the price is refused, neither."""
    made = shop.api.products.create(
        {"id": "kuploy_max", "name": "Max", "default_price_data": {"currency": "cad", "unit_amount": 5000}}
    )
    assert shop.api.prices.retrieve(str(made.default_price)).product == "kuploy_max"
    refused(
        lambda: shop.api.products.create(
            {"id": "kuploy_ultra", "name": "Ultra", "default_price_data": {"currency": "abc", "unit_amount": 5000}}
        )
    )
    assert refused(lambda: shop.api.products.retrieve("kuploy_ultra"))["status"] == 404


def test_the_default_price_cannot_be_archived(shop: Shop) -> None:
    """Archiving it is refused without a code until the default has moved on."""
    shop.api.products.update("kuploy_pro", {"default_price": shop.price})
    error = refused(lambda: shop.api.prices.update(shop.price, {"active": False}))
    assert error["message"] == "This price cannot be archived because it is the default price of its product."
    assert "code" not in error
    shop.api.products.update("kuploy_pro", {"default_price": shop.new_price(2500)})
    assert not shop.api.prices.update(shop.price, {"active": False}).active


def test_lookup_keys_are_unique_even_against_archived_holders(shop: Shop) -> None:
    """A taken key is refused with its holder named, archived or not; sending the own key again is fine."""
    holder = shop.new_price(1, lookup_key="pro")
    shop.api.prices.update(holder, {"active": False})
    error = refused(lambda: shop.new_price(2, lookup_key="pro"))
    assert (error["status"], error["param"]) == (400, "lookup_key")
    assert error["message"] == f"A price (`{holder}`) already uses that lookup key."
    assert refused(lambda: shop.api.prices.update(shop.price, {"lookup_key": "pro"}))["param"] == "lookup_key"
    assert shop.api.prices.update(holder, {"lookup_key": "pro", "active": True}).lookup_key == "pro"


def test_a_lookup_key_can_be_transferred_and_given_up(shop: Shop) -> None:
    """A transfer clears the holder's key and leaves it active; an empty string gives a key up."""
    holder = shop.new_price(1, lookup_key="pro")
    taker = shop.new_price(2, lookup_key="pro", transfer_lookup_key=True)
    assert shop.api.prices.retrieve(holder).lookup_key is None
    assert shop.api.prices.retrieve(holder).active
    assert [row.id for row in shop.api.prices.list({"lookup_keys": ["pro"]})] == [taker]
    assert shop.api.prices.update(taker, {"lookup_key": ""}).lookup_key is None
    assert shop.new_price(3, lookup_key="pro")


def test_quirks_come_one_at_a_time() -> None:
    """Each variant but the first differs from what is documented in exactly one switch."""
    documented, *others = Quirks.variants()
    assert documented == Quirks()
    assert len(set(others)) == len(others) == len(fields(Quirks))
    bare = Shop(quirks=Quirks(bare_key_conflicts=True))
    bare.new_price(1, lookup_key="pro")
    assert "param" not in refused(lambda: bare.new_price(2, lookup_key="pro"))
    taxed = Shop(quirks=Quirks(default_tax_behavior="inclusive"))
    assert taxed.api.prices.retrieve(taxed.price).tax_behavior == "inclusive"
    assert taxed.api.prices.retrieve(taxed.new_price(1, tax_behavior="exclusive")).tax_behavior == "exclusive"


def test_lookup_keys_have_bounds(shop: Shop) -> None:
    """A key has at most 200 characters, and a list asks for at most ten."""
    assert refused(lambda: shop.new_price(1, lookup_key="k" * 201))["param"] == "lookup_key"
    assert refused(lambda: shop.api.prices.list({"lookup_keys": ["k"] * 11}))["param"] == "lookup_keys"


def test_what_is_sold_never_changes(shop: Shop) -> None:
    """Amount, currency and interval are no parameters of an update."""
    for name, value in (("unit_amount", 1), ("currency", "usd"), ("recurring", MONTHLY)):
        error = refused(shop.api.prices.update, shop.price, {name: value})
        assert (error["code"], error["param"].partition("[")[0]) == ("parameter_unknown", name)


def test_tax_behavior_is_set_once(shop: Shop) -> None:
    """From unspecified to one of the two, and then no more."""
    assert shop.api.prices.update(shop.price, {"tax_behavior": "exclusive"}).tax_behavior == "exclusive"
    shop.api.prices.update(shop.price, {"tax_behavior": "exclusive", "nickname": "pro"})
    assert refused(lambda: shop.api.prices.update(shop.price, {"tax_behavior": "inclusive"}))["param"] == "tax_behavior"


def test_prices_are_listed_active_unless_asked(shop: Shop) -> None:
    """Archived prices come with `active=False` only."""
    archived = shop.new_price(1)
    shop.api.prices.update(archived, {"active": False})
    assert [row.id for row in shop.api.prices.list()] == [shop.price]
    assert [row.id for row in shop.api.prices.list({"active": False, "product": shop.product})] == [archived]
    assert [row.id for row in shop.api.prices.list({"recurring": {"interval": "year"}})] == []


def test_prices_may_be_listed_with_archived_ones_under_a_quirk() -> None:
    """Whether lookup keys find archived prices without `active` is not documented, so both are there."""
    shop = Shop(quirks=Quirks(lists_archived_prices=True))
    archived = shop.new_price(1, lookup_key="old")
    shop.api.prices.update(archived, {"active": False})
    assert [row.id for row in shop.api.prices.list({"lookup_keys": ["old"]})] == [archived]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "abc"}, "currency"),
        ({"unit_amount": -1}, "unit_amount"),
        ({"unit_amount": 100_000_000}, "unit_amount"),
        ({"product": "prod_none"}, "product"),
        ({"recurring": {"interval": "year", "interval_count": 4}}, "recurring[interval_count]"),
        ({"recurring": {"interval": "month", "usage_type": "metered"}}, None),
        ({"unit_amount_decimal": Decimal("1.5")}, "unit_amount"),
        ({"product_data": {"name": "x"}}, "product"),
    ],
)
def test_a_price_that_cannot_be_is_refused(shop: Shop, params: dict[str, Any], param: str | None) -> None:
    """Unknown currencies, amounts out of range, foreign products, long intervals, two that exclude each other."""
    error = refused(lambda: shop.new_price(params.pop("unit_amount", 2000), **params))
    assert (error["status"], error.get("param")) == (400, param)


def test_a_price_needs_an_amount_and_a_product(shop: Shop) -> None:
    """Neither has a default."""
    create = shop.api.prices.create
    assert "unit_amount" in refused(lambda: create({"product": "kuploy_pro", "currency": "cad"}))["message"]
    assert "product_data" in refused(lambda: create({"currency": "cad", "unit_amount": 1}))["message"]


def test_amounts_read_back_in_both_forms(shop: Shop) -> None:
    """A fraction of a minor unit has no whole amount; a free price is a price; a currency is lower case."""
    fraction = shop.api.prices.create(
        {"product": "kuploy_pro", "currency": "CAD", "unit_amount_decimal": Decimal("2000.5")}
    )
    assert (fraction.unit_amount, fraction.unit_amount_decimal, fraction.currency) == (None, Decimal("2000.5"), "cad")
    free = shop.api.prices.retrieve(shop.new_price(0))
    assert (free.unit_amount, free.unit_amount_decimal, free.type) == (0, Decimal(0), "recurring")


def test_tiers_and_currencies_stand_in_an_answer_only_if_expanded(shop: Shop) -> None:
    """What is left out by default is there when asked for."""
    made = shop.new_price(1, currency_options={"usd": {"unit_amount": 2}})
    assert "currency_options" not in shop.api.prices.retrieve(made)
    opened = shop.api.prices.retrieve(made, {"expand": ["currency_options", "product"]})
    assert opened.currency_options["usd"].unit_amount == 2
    tiered = shop.api.prices.create(
        {
            "product": "kuploy_pro",
            "currency": "cad",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "recurring": {"interval": "month"},
            "tiers": [{"up_to": 5, "unit_amount": 100}, {"up_to": "inf", "unit_amount": 50}],
            "expand": ["tiers"],
        }
    )
    assert [tier.up_to for tier in tiered.tiers or []] == [5, None]
    assert tiered.unit_amount is None


def test_an_inline_product_is_made_with_its_price(shop: Shop) -> None:
    """`product_data` makes a product; pay-what-you-want prices have bounds and no amount."""
    made = shop.api.prices.create(
        {"currency": "cad", "product_data": {"name": "Tip"}, "custom_unit_amount": {"enabled": True, "minimum": 100}}
    )
    assert shop.api.products.retrieve(str(made.product)).name == "Tip"
    assert made.custom_unit_amount is not None
    assert made.custom_unit_amount.minimum == 100
