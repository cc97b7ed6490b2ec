"""The account itself, and what its country can be paid in."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.currencies import SUPPORTED
from kuploy_saas_kit.testing.stripe.refusals import RefusalError, no_such
from kuploy_saas_kit.testing.stripe.space import Row, Space

_COUNTRY_LENGTH = 2


def current(space: Space, _: Call) -> Row:
    """`GET /v1/account`: whose key it is."""
    settings = space.world.settings
    return {
        "id": space.world.account,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": settings.country,
        "default_currency": settings.currency,
        "details_submitted": True,
        "email": "owner@example.test",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/accounts/{account}`; no other account is connected."""
    if call.id != space.world.account:
        message = f"The provided key does not have access to account '{call.id}' (or that account does not exist)."
        raise RefusalError(403, message, code="account_invalid", executed=True)
    return current(space, call)


def country_spec(space: Space, call: Call) -> Row:
    """`GET /v1/country_specs/{country}`: every country takes every supported currency here."""
    if len(call.id) != _COUNTRY_LENGTH or not call.id.isalpha() or not call.id.isupper():
        raise no_such("country_spec", call.id, param="country", status=404)
    own = space.world.settings.currency
    fields: Row = {"additional": [], "minimum": []}
    return {
        "id": call.id,
        "object": "country_spec",
        "default_currency": own,
        "supported_bank_account_currencies": {own: [call.id]},
        "supported_payment_currencies": sorted(SUPPORTED),
        "supported_payment_methods": ["card", "stripe"],
        "supported_transfer_countries": [call.id],
        "verification_fields": {"company": fields, "individual": fields},
    }
