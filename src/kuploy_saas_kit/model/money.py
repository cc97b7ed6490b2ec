"""Amounts of money as payment services count them: whole minor units of a currency.

Source: Stripe's documentation "Supported currencies" (zero-decimal and three-decimal currencies, special cases,
minimum charge amounts). Some currencies have no minor unit there: 5000 XOF is the amount 5000.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from kuploy_saas_kit.errors import InvalidValueError

MAX_AMOUNT: Final = 99_999_999
"""The largest amount of a price, in minor units."""

_ZERO_DECIMAL: Final = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"
_TWO_DECIMAL: Final = (
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc "
    "cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr "
    "kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk "
    "php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd "
    "uyu uzs wst xcd xcg yer zar zmw"
)
_THREE_DECIMAL: Final = "bhd jod kwd omr tnd"
_THREE: Final = 3
_THREE_DECIMAL_STEP: Final = 10  # the last of three decimals must be 0

# Sent with two decimals that must be 00, although people write them without any.
_WHOLE_ONLY: Final = frozenset({"isk", "ugx"})

# Below these, in minor units, a charge fails (not the price): a warning and no error.
_MINIMUM: Final[dict[str, int]] = {
    **dict.fromkeys(("usd", "cad", "eur", "aud", "nzd", "chf", "sgd", "brl"), 50),
    **dict.fromkeys(("sek", "nok"), 300),
    **dict.fromkeys(("mxn", "thb"), 1000),
    **dict.fromkeys(("aed", "myr", "pln", "ron"), 200),
    "gbp": 30,
    "jpy": 50,
    "czk": 1500,
    "dkk": 250,
    "huf": 17500,
    "hkd": 400,
}


@dataclass(frozen=True, slots=True)
class Currency:
    """How a currency is counted: *exponent* decimals, amounts in multiples of *step*, charges from *minimum* on."""

    code: str
    exponent: int
    step: int
    minimum: int

    @property
    def shown_decimals(self) -> int:
        """The decimals that people write; ISK and UGX are sent with two and written with none."""
        return 0 if self.code in _WHOLE_ONLY else self.exponent


def _table() -> dict[str, Currency]:
    exponents = {0: _ZERO_DECIMAL, 2: _TWO_DECIMAL, 3: _THREE_DECIMAL}
    return {
        code: Currency(code, exponent, _step(code, exponent), _MINIMUM.get(code, 0))
        for exponent, codes in exponents.items()
        for code in codes.split()
    }


def _step(code: str, exponent: int) -> int:
    if code in _WHOLE_ONLY:
        return 100
    return _THREE_DECIMAL_STEP if exponent == _THREE else 1


CURRENCIES: Final = _table()
"""Every currency that Stripe can present, by lower-case code."""


class BillingCycle(StrEnum):
    """How often a price is paid."""

    MONTHLY = "monthly"
    ANNUAL = "annual"


_CYCLES: Final[dict[str, BillingCycle]] = {cycle.value: cycle for cycle in BillingCycle}


@dataclass(frozen=True, slots=True, init=False)
class Price:
    """What a plan costs: *amount* in minor units (2000 CAD is 20.00 dollars, 5000 XOF is 5000 francs) each *cycle*."""

    amount: int
    currency: str
    cycle: BillingCycle

    def __init__(self, amount: int, currency: str, cycle: BillingCycle | str = BillingCycle.MONTHLY) -> None:
        assign: Any = object.__setattr__
        table = checked_currency(currency)
        assign(self, "currency", table.code)
        assign(self, "cycle", _checked_cycle(cycle))
        assign(self, "amount", _checked_amount(amount, table))

    @property
    def below_minimum(self) -> bool:
        """Whether a charge of this amount will fail for being too small, although the price can be made."""
        return 0 < self.amount < CURRENCIES[self.currency].minimum

    def __str__(self) -> str:
        return f"{format_amount(self.amount, self.currency)} {self.cycle}"


def checked_currency(code: object) -> Currency:
    """The currency that *code* names in any case; others are refused."""
    table = CURRENCIES.get(code.lower()) if isinstance(code, str) and code.isascii() else None
    if table is None:
        raise InvalidValueError(f"{str(code)[:20]!r} is no currency that can be charged: use a code such as 'usd'")
    return table


def format_amount(amount: int, currency: str) -> str:
    """*amount* minor units as people write them: `20.00 CAD`, `5 000 XOF`."""
    table = checked_currency(currency)
    units, rest = divmod(amount, 10**table.exponent)
    whole = f"{units:,}".replace(",", " ")
    decimals = f".{rest:0{table.exponent}d}" if table.shown_decimals else ""
    return f"{whole}{decimals} {table.code.upper()}"


def _checked_cycle(cycle: object) -> BillingCycle:
    known = _CYCLES.get(cycle) if isinstance(cycle, str) else None
    if known is None:
        raise InvalidValueError(f"a billing cycle is 'monthly' or 'annual', not {str(cycle)[:20]!r}")
    return known


def _checked_amount(amount: object, currency: Currency) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidValueError(f"an amount is an int in minor units, not {type(amount).__name__}")
    if not 0 <= amount <= MAX_AMOUNT:
        raise InvalidValueError(f"an amount is from 0 to {MAX_AMOUNT} minor units; got {amount}")
    if amount % currency.step:
        raise InvalidValueError(
            f"amounts in {currency.code.upper()} are multiples of {currency.step} minor units; got {amount}"
        )
    return amount
