"""Money: minor units, the currency table, and amounts as people write them."""

import json
from typing import Any

import iso4217
import pytest
from hypothesis import given

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.money import CURRENCIES, MAX_AMOUNT, BillingCycle, Price, format_amount
from kuploy_saas_kit.testing.strategies import prices

KNOWN_DIFFERENCES = {"isk": 2, "ugx": 2, "mga": 0}
"""Where Stripe's exponent is not ISO 4217's: source, Stripe's "Supported currencies"."""


@pytest.mark.parametrize("code", sorted(CURRENCIES))
def test_exponents_are_isos_or_known_to_differ(code: str) -> None:
    """Each currency has the decimals of ISO 4217, but for the ones that Stripe counts differently."""
    if code.upper() not in iso4217.Currency._member_names_ and code not in {c.code.lower() for c in iso4217.Currency}:
        pytest.skip(f"{code} is not in this edition of ISO 4217")
    expected = KNOWN_DIFFERENCES.get(code, iso4217.Currency(code.upper()).exponent)
    assert CURRENCIES[code].exponent == expected


@given(prices())
def test_prices_round_to_their_own_text(price: Price) -> None:
    """A price prints its amount in its currency, and its parts survive JSON."""
    text = format_amount(price.amount, price.currency)
    assert text.endswith(price.currency.upper())
    digits = int("".join(char for char in text if char.isdigit()))
    scale = CURRENCIES[price.currency].exponent - CURRENCIES[price.currency].shown_decimals
    assert digits * 10**scale == price.amount
    parts = json.loads(json.dumps([price.amount, price.currency, price.cycle]))
    assert Price(*parts) == price


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2000, "CAD", "20.00 CAD"),
        (5000, "xof", "5 000 XOF"),
        (290_000, "gnf", "290 000 GNF"),
        (5, "usd", "0.05 USD"),
        (12_340, "kwd", "12.340 KWD"),
        (150_000, "isk", "1 500 ISK"),
    ],
)
def test_amounts_as_people_write_them(amount: int, currency: str, text: str) -> None:
    """Minor units become the decimals that people use for the currency."""
    assert format_amount(amount, currency) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2000, "abc"), "'abc' is no currency"),
        ((2000, "ﬁm"), "is no currency"),
        ((2000, 840), "is no currency"),
        ((-1, "cad"), "from 0 to 99999999"),
        ((MAX_AMOUNT + 1, "cad"), "from 0 to 99999999"),
        ((20.0, "cad"), "minor units, not float"),
        ((True, "cad"), "minor units, not bool"),
        ((1234, "kwd"), "multiples of 10"),
        ((150, "isk"), "multiples of 100"),
        ((150, "ugx"), "multiples of 100"),
        ((100, "cad", "weekly"), "'monthly' or 'annual'"),
    ],
)
def test_impossible_prices_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    """What no one can charge is refused with what to mend."""
    with pytest.raises(InvalidValueError, match=message):
        Price(*arguments)


def test_small_amounts_only_warn() -> None:
    """An amount below the smallest charge is a price all the same, and says so."""
    assert Price(10, "usd").below_minimum
    assert not Price(50, "jpy").below_minimum
    assert not Price(0, "usd").below_minimum
    assert str(Price(2000, "cad", BillingCycle.ANNUAL)) == "20.00 CAD annual"
