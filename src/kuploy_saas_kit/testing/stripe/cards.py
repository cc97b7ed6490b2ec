"""Stripe's test cards, and the payment methods that are made of them."""

from __future__ import annotations

from enum import StrEnum

from kuploy_saas_kit.testing.stripe.refusals import card_declined, no_such
from kuploy_saas_kit.testing.stripe.space import Row, Space


class Outcome(StrEnum):
    """What becomes of an attempt to charge a card."""

    PAID = "paid"
    DECLINED = "declined"
    ACTION = "action"


GOOD_CARD = "4242424242424242"
"""Every charge succeeds."""
BAD_CARD = "4000000000000341"
"""Can be attached, and every charge fails."""

_OUTCOMES = {
    GOOD_CARD: Outcome.PAID,
    "5555555555554444": Outcome.PAID,
    "4000000000000002": Outcome.DECLINED,
    "4000000000009995": Outcome.DECLINED,
    BAD_CARD: Outcome.DECLINED,
    "4000002760003184": Outcome.ACTION,
    "4000000000003220": Outcome.ACTION,
}
_TOKENS = {
    "pm_card_visa": GOOD_CARD,
    "pm_card_mastercard": "5555555555554444",
    "pm_card_chargeDeclined": "4000000000000002",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeCustomerFail": BAD_CARD,
    "pm_card_authenticationRequired": "4000002760003184",
    "pm_card_threeDSecure2Required": "4000000000003220",
}
_UNATTACHABLE = ("4000000000000002", "4000000000009995")


def outcome_of(card: str) -> Outcome:
    """What a charge of this card number comes to; its last four digits suffice to name it."""
    for number, outcome in _OUTCOMES.items():
        if card == number or (len(card) == 4 and number.endswith(card)):
            return outcome
    raise ValueError(f"no such test card: {card}; there are {', '.join(_OUTCOMES)}")


def new_method(space: Space, card: str, customer: str | None) -> Row:
    """Keep a payment method made of this card."""
    row: Row = {
        "id": space.world.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "limited",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "card": {
            "brand": "visa",
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "funding": "credit",
            "last4": card[-4:],
        },
        "created": space.now,
        "customer": customer,
        "livemode": space.livemode,
        "metadata": {},
        "type": "card",
    }
    space.cards[row["id"]] = card
    return space.add(row)


def attached(space: Space, token: str, customer: str, *, param: str) -> str:
    """The id of the payment method that *token* names, made and attached if it is one of Stripe's test tokens."""
    if token in space.table("payment_method"):
        space.table("payment_method")[token]["customer"] = customer
        return token
    if token not in _TOKENS:
        raise no_such("PaymentMethod", token, param=param)
    require_attachable(_TOKENS[token])
    return str(new_method(space, _TOKENS[token], customer)["id"])


def attachable(token: str, space: Space, *, param: str) -> None:
    """Refuse what `attached` would refuse, before anything is changed."""
    if token not in space.table("payment_method") and token not in _TOKENS:
        raise no_such("PaymentMethod", token, param=param)
    if token in _TOKENS:
        require_attachable(_TOKENS[token])


def require_attachable(card: str) -> None:
    """Refuse a card that its issuer declines already when it is stored."""
    if card in _UNATTACHABLE:
        raise card_declined()


def number_of(space: Space, method: str) -> str:
    """The card number behind a payment method or one of Stripe's test tokens."""
    return _TOKENS.get(method) or space.cards[method]


def card_of(space: Space, subscription: Row) -> str | None:
    """The number of the card that pays this subscription, if any."""
    method = subscription["default_payment_method"]
    if method is None:
        customer = space.table("customer").get(subscription["customer"], {})
        method = customer.get("invoice_settings", {}).get("default_payment_method")
    return space.cards.get(method)
