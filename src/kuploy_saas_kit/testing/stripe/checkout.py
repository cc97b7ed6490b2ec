"""Checkout sessions: what a server opens, what a buyer pays, and what comes of it."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import prices
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import invalid, missing_param, no_such
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

_ECHOED = (
    "allow_promotion_codes", "billing_address_collection", "cancel_url", "client_reference_id", "customer",
    "customer_email", "locale", "return_url", "submit_type", "success_url",
)  # fmt: skip
_NEVER_SET = (
    "after_expiration", "client_secret", "collected_information", "consent", "consent_collection",
    "currency_conversion", "customer_account", "customer_details", "invoice", "invoice_creation", "payment_intent",
    "payment_link", "payment_method_configuration_details", "permissions", "recovered_from",
    "saved_payment_method_options", "setup_intent", "shipping_address_collection", "shipping_cost", "subscription",
    "wallet_options",
)  # fmt: skip
_DAY = 86400
_SHORTEST = 1800


def create(space: Space, call: Call) -> Row:
    """`POST /v1/checkout/sessions`."""
    mode = _mode(call)
    call.refuse_both("customer", "customer_email")
    customer = call.get("customer")
    if customer is not None:
        space.find("customer", customer, param="customer")
    expires_at = _expires_at(space, call)
    lines = _lines(space, call)
    _require_fitting(space, mode, lines)
    subscription_data = call.get("subscription_data") or {}
    metadata_of({}, subscription_data.get("metadata") or {}, param="subscription_data[metadata]")
    id_ = space.world.new_id(f"cs_{'live' if space.livemode else 'test'}")
    is_trial = bool(subscription_data.get("trial_period_days") or subscription_data.get("trial_end"))
    total = 0 if is_trial else sum(line["amount_total"] for line in lines)
    row: Row = {
        "id": id_,
        "object": "checkout.session",
        **dict.fromkeys(_NEVER_SET),
        **dict.fromkeys(_ECHOED),
        "amount_subtotal": None if mode == "setup" else total,
        "amount_total": None if mode == "setup" else total,
        "automatic_tax": {"enabled": _wants_tax(call), "liability": None, "provider": None, "status": None},
        "created": space.now,
        "currency": lines[0]["currency"] if lines else call.get("currency"),
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer_creation": None if customer is not None or mode == "subscription" else "if_required",
        "discounts": [],
        "expires_at": expires_at,
        "line_items": lines,
        "livemode": space.livemode,
        "metadata": metadata_of({}, call.get("metadata") or {}),
        "mode": mode,
        "origin_context": None,
        "payment_method_collection": call.get("payment_method_collection", "always")
        if mode == "subscription"
        else None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required" if mode == "setup" else "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": call.get("ui_mode", "hosted_page"),
        "url": f"https://checkout.stripe.com/c/pay/{id_}",
        **call.given(*_ECHOED),
        "_subscription_data": subscription_data,
        "_pending": None,
    }
    return space.add(row)


def _wants_tax(call: Call) -> bool:
    return bool((call.get("automatic_tax") or {}).get("enabled"))


def _mode(call: Call) -> str:
    mode: str | None = call.get("mode")
    if mode is None:
        raise missing_param("mode")
    if mode != "setup" and not call.get("line_items"):
        raise missing_param("line_items")
    if call.get("ui_mode", "hosted_page") == "hosted_page" and call.get("success_url") is None:
        raise missing_param("success_url")
    if mode != "subscription" and "subscription_data" in call.params:
        raise invalid("You can not pass `subscription_data` in `" + mode + "` mode.", param="subscription_data")
    return mode


def _expires_at(space: Space, call: Call) -> int:
    expires_at: int = call.get("expires_at", space.now + _DAY)
    if not space.now + _SHORTEST <= expires_at <= space.now + _DAY:
        message = "The `expires_at` timestamp must be at least 30 minutes and at most 24 hours from creation."
        raise invalid(message, param="expires_at")
    return expires_at


def _lines(space: Space, call: Call) -> list[Row]:
    given: list[Row] = call.get("line_items") or []
    for index, item in enumerate(given):
        if "price" in item:
            require_sellable(space, item["price"], param=f"line_items[{index}][price]")
        elif "price_data" in item:
            prices.shape_of(Call((), item["price_data"]))
        else:
            raise missing_param(f"line_items[{index}][price]")
    return [_line(space, item) for item in given]


def require_sellable(space: Space, price_id: str, *, param: str) -> Row:
    """The price with this id, or Stripe's refusal of one that cannot be bought."""
    price = space.table("price").get(price_id)
    if price is None:
        raise no_such("price", price_id, param=param)
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param=param)
    if not space.table("product")[price["product"]]["active"]:
        message = f"Price `{price_id}` is not available to be purchased because its product is not active."
        raise invalid(message, param=param)
    return price


def _line(space: Space, item: Row) -> Row:
    if "price" in item:
        price = space.table("price")[item["price"]]
    else:
        price = prices.add(space, Call((), item["price_data"]))
        space.inline.add(price["id"])
    quantity = item.get("quantity", 1)
    amount = (price["unit_amount"] or 0) * quantity
    return {
        "id": space.world.new_id("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": space.table("product")[price["product"]]["name"],
        "price": price["id"],
        "quantity": quantity,
    }


def _require_fitting(space: Space, mode: str, lines: list[Row]) -> None:
    recurring = [space.table("price")[line["price"]]["type"] == "recurring" for line in lines]
    if mode == "subscription" and not any(recurring):
        raise invalid("You must provide at least one recurring price in `subscription` mode when using prices.")
    if mode == "payment" and any(recurring):
        message = (
            "You specified `payment` mode but passed a recurring price. "
            "Either switch to `subscription` mode or use only one-time prices."
        )
        raise invalid(message, param="mode")
    if len({line["currency"] for line in lines}) > 1:
        raise invalid("All prices on a Checkout Session must use the same currency.", param="line_items")


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/checkout/sessions/{session}`."""
    return space.find("checkout.session", call.id, param="session", status=404)


def expire(space: Space, call: Call) -> Row:
    """`POST /v1/checkout/sessions/{session}/expire`."""
    row = retrieve(space, call)
    if row["status"] != "open":
        message = (
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {row['status']}."
        )
        raise invalid(message)
    close(space, row)
    return row


def close(space: Space, row: Row) -> None:
    """Let an open session expire."""
    row.update(status="expired", url=None)
    space.touched = True
    space.emit("checkout.session.expired", row)


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/checkout/sessions`."""
    names = ("created", "customer", "payment_intent", "status", "subscription")
    return [row for row in space.rows("checkout.session") if matches(row, call.params, *names)]
