"""Prices: immutable amounts, lookup keys that one price at a time can hold, and archival in place of deletion."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.currencies import SUPPORTED
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.product_rows import new_product
from kuploy_saas_kit.testing.stripe.refusals import invalid, unacceptable
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

_MAX_AMOUNT = 99_999_999
_MAX_LOOKUP_KEY = 200
_MAX_LOOKUP_KEYS = 10
_LONGEST = {"day": 1095, "week": 156, "month": 36, "year": 3}


def create(space: Space, call: Call) -> Row:
    """`POST /v1/prices`."""
    return add(space, call)


def add(space: Space, call: Call, *, announced: bool = True) -> Row:
    """Keep a new price with the parameters of *call*, which are those of the endpoint."""
    shape = shape_of(call)
    if not call.get("transfer_lookup_key"):
        _claim(space, call, holder=None)
    row: Row = {"id": space.world.new_id("price"), "object": "price", **shape}
    row |= {"created": space.now, "livemode": space.livemode, "product": _product(space, call)}
    row.setdefault("tax_behavior", space.world.quirks.default_tax_behavior)
    row["lookup_key"] = _claim(space, call, holder=None)
    if row["lookup_key"] is not None:
        space.lookup_keys[row["lookup_key"]] = row["id"]
    return space.add(row, "price.created" if announced else None)


def shape_of(call: Call) -> Row:
    """What is sold and for how much, or the refusal of what cannot be sold; nothing is changed yet."""
    recurring, amount, currency = _recurring(call), _amount(call), _currency(call)
    return {
        "active": call.get("active", True),
        "billing_scheme": call.get("billing_scheme", "per_unit"),
        "currency": currency,
        "custom_unit_amount": _custom(call.get("custom_unit_amount")),
        "metadata": metadata_of({}, call.get("metadata") or {}),
        "nickname": call.get("nickname"),
        "recurring": recurring,
        "tiers_mode": call.get("tiers_mode"),
        "transform_quantity": call.get("transform_quantity"),
        "type": "one_time" if recurring is None else "recurring",
        **call.given("tax_behavior"),
        **amount,
        "currency_options": _currency_options(call, currency, amount),
        "tiers": [_tier(given) for given in call.get("tiers", [])] or None,
    }


def _amount(call: Call) -> Row:
    call.refuse_both("unit_amount", "unit_amount_decimal")
    if call.get("billing_scheme") == "tiered" or call.get("custom_unit_amount") is not None:
        return {"unit_amount": None, "unit_amount_decimal": None}
    exact = call.get("unit_amount_decimal", call.get("unit_amount"))
    if exact is None:
        raise invalid("Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.")
    if exact < 0:
        message = "This value must be greater than or equal to 0."
        raise invalid(message, param="unit_amount", code="parameter_invalid_integer")
    if exact > _MAX_AMOUNT:
        raise invalid("Amount must be no more than $999,999.99", param="unit_amount", code="amount_too_large")
    whole = exact == int(exact)
    shown = str(int(exact)) if whole else format(Decimal(exact).normalize(), "f")
    return {"unit_amount": int(exact) if whole else None, "unit_amount_decimal": shown}


def _custom(given: Row | None) -> Row | None:
    return None if given is None else {name: given.get(name) for name in ("maximum", "minimum", "preset")}


def _tier(given: Row) -> Row:
    tier: Row = {"up_to": None if given["up_to"] == "inf" else given["up_to"]}
    for name in ("flat_amount", "unit_amount"):
        exact = given.get(f"{name}_decimal", given.get(name))
        tier[name], tier[f"{name}_decimal"] = given.get(name), None if exact is None else str(exact)
    return tier


def _currency(call: Call) -> str:
    currency: str = call.params["currency"].lower()
    if currency not in SUPPORTED:
        known = ", ".join(sorted(SUPPORTED))
        message = f"Invalid currency: {currency}. Stripe currently supports these currencies: {known}"
        raise invalid(message, param="currency")
    return currency


def _currency_options(call: Call, currency: str, amount: Row) -> Row:
    own = {"custom_unit_amount": None, "tax_behavior": call.get("tax_behavior", "unspecified"), **amount}
    options: Row = {currency: own}
    for name, given in (call.get("currency_options") or {}).items():
        options[name] = {
            **own,
            "unit_amount": given.get("unit_amount"),
            "unit_amount_decimal": str(given.get("unit_amount")),
        }
    return options


def _recurring(call: Call) -> Row | None:
    given = call.get("recurring")
    if given is None:
        return None
    if given.get("usage_type") == "metered" and not given.get("meter"):
        raise invalid("Starting with Stripe version `2025-03-31.basil`, metered prices must be backed by meters.")
    count, longest = given.get("interval_count", 1), _LONGEST[given["interval"]]
    if not 1 <= count <= longest:
        message = (
            f"Invalid recurring[interval_count]: must be between 1 and {longest} for an interval of {given['interval']}"
        )
        raise invalid(message, param="recurring[interval_count]", code="parameter_invalid_integer")
    return {
        "interval": given["interval"],
        "interval_count": count,
        "meter": given.get("meter"),
        "trial_period_days": given.get("trial_period_days"),
        "usage_type": given.get("usage_type", "licensed"),
    }


def _product(space: Space, call: Call) -> str:
    call.refuse_both("product", "product_data")
    if "product_data" in call.params:
        row = new_product(space, Call((), call.params["product_data"]))
        space.emit("product.created", row)
        return str(row["id"])
    if "product" not in call.params:
        raise invalid("You must specify either `product` or `product_data` when creating a price.")
    return str(space.find("product", call.params["product"], param="product")["id"])


def _claim(space: Space, call: Call, holder: str | None) -> str | None:
    key: str | None = call.get("lookup_key")
    if key is None:
        return None
    if len(key) > _MAX_LOOKUP_KEY:
        message = f"Invalid string: {key[:12]}...; must be at most {_MAX_LOOKUP_KEY} characters"
        raise unacceptable(message, param="lookup_key")
    other = space.lookup_keys.get(key)
    if other is not None and other != holder:
        if not call.get("transfer_lookup_key"):
            param = None if space.world.quirks.bare_key_conflicts else "lookup_key"
            raise invalid(f"A price (`{other}`) already uses that lookup key.", param=param)
        del space.lookup_keys[key]
        with space.changing(space.table("price")[other], "price.updated") as loser:
            loser["lookup_key"] = None
    return key


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/prices/{price}`."""
    return space.find("price", call.id, param="price", status=404)


def update(space: Space, call: Call) -> Row:
    """`POST /v1/prices/{price}`: everything but what is sold and for how much."""
    row = retrieve(space, call)
    changes = call.given("active", "nickname", "tax_behavior")
    if "metadata" in call.params:
        changes["metadata"] = metadata_of(row["metadata"], call.params["metadata"])
    _require_mutable(space, row, changes)
    if "lookup_key" in call.params:
        changes["lookup_key"] = _claim(space, call, holder=row["id"])
    with space.changing(row, "price.updated"):
        if "lookup_key" in changes:
            space.lookup_keys.pop(row["lookup_key"], None)
        row.update(changes)
        if row["lookup_key"] is not None:
            space.lookup_keys[row["lookup_key"]] = row["id"]
    return row


def _require_mutable(space: Space, row: Row, changes: Row) -> None:
    if changes.get("active") is False and space.table("product")[row["product"]]["default_price"] == row["id"]:
        raise invalid("This price cannot be archived because it is the default price of its product.")
    settled = row["tax_behavior"] != "unspecified"
    if settled and changes.get("tax_behavior", row["tax_behavior"]) != row["tax_behavior"]:
        raise invalid("You cannot change the `tax_behavior` of a price once it is set.", param="tax_behavior")


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/prices`: active ones unless told otherwise, and none that were made inside another request."""
    keys: list[str] | None = call.get("lookup_keys")
    if keys is not None and len(keys) > _MAX_LOOKUP_KEYS:
        raise unacceptable(f"You may only specify up to {_MAX_LOOKUP_KEYS} lookup keys.", param="lookup_keys")
    params = dict(call.params)
    if not space.world.quirks.lists_archived_prices:
        params.setdefault("active", True)
    return [row for row in _candidates(space, keys) if _matches(row, params) and row["id"] not in space.inline]


def _candidates(space: Space, keys: list[str] | None) -> list[Row]:
    if keys is None:
        return space.rows("price")
    held = {space.lookup_keys[key] for key in keys if key in space.lookup_keys}
    return sorted((space.table("price")[id_] for id_ in held), key=lambda row: str(row["id"]))


def _matches(row: Row, params: Row) -> bool:
    recurring: dict[str, Any] = params.get("recurring", {})
    same = all((row["recurring"] or {}).get(name) == value for name, value in recurring.items())
    return same and matches(row, params, "active", "created", "currency", "product", "type")


def plan_of(price: Row) -> Row:
    """The legacy plan object that subscription items still carry beside their price."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": None,
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }
