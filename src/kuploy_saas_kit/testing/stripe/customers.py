"""Customers: who pays, with which stored payment method, and on which test clock."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import machine
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.cards import attachable, attached
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

_PLAIN = ("address", "description", "email", "name", "phone", "shipping")


def create(space: Space, call: Call) -> Row:
    """`POST /v1/customers`."""
    token = _default_method(call)
    clock = call.get("test_clock")
    if clock is not None:
        space.find("test_helpers.test_clock", clock, param="test_clock")
    if token is not None:
        attachable(token, space, param="payment_method")
    row = blank(space, call.given(*_PLAIN), clock)
    row["metadata"] = metadata_of({}, call.get("metadata") or {})
    row["preferred_locales"] = call.get("preferred_locales") or []
    row["tax_exempt"] = call.get("tax_exempt") or "none"
    if token is not None:
        row["invoice_settings"]["default_payment_method"] = attached(space, token, row["id"], param="payment_method")
    return space.add(row, "customer.created")


def blank(space: Space, fields: Row, clock: str | None = None) -> Row:
    """A new customer that nobody was told of yet."""
    plain: Row = dict.fromkeys(_PLAIN)
    return {
        "id": space.world.new_id("cus"),
        "object": "customer",
        "balance": 0,
        "created": space.clocked(clock),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "discount": None,
        "invoice_prefix": f"SIM{len(space.table('customer')) + 1:05d}",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": space.livemode,
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
        "test_clock": clock,
        **plain,
        **fields,
    }


def _default_method(call: Call) -> str | None:
    settings = call.get("invoice_settings") or {}
    token: str | None = settings.get("default_payment_method") or call.get("payment_method")
    return token


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/customers/{customer}`; of a deleted one, only that it was."""
    if call.id in space.deleted.get("customer", set()):
        return {"id": call.id, "object": "customer", "deleted": True}
    return space.find("customer", call.id, param="id", status=404)


def update(space: Space, call: Call) -> Row:
    """`POST /v1/customers/{customer}`."""
    row = space.find("customer", call.id, param="id", status=404)
    changes = call.given(*_PLAIN, "preferred_locales", "tax_exempt")
    if "metadata" in call.params:
        changes["metadata"] = metadata_of(row["metadata"], call.params["metadata"])
    token = _default_method(call)
    if token is not None:
        method = attached(space, token, row["id"], param="invoice_settings[default_payment_method]")
        changes["invoice_settings"] = {**row["invoice_settings"], "default_payment_method": method}
    with space.changing(row, "customer.updated"):
        row.update(changes)
    return row


def delete(space: Space, call: Call) -> Row:
    """`DELETE /v1/customers/{customer}`: at once, with all its subscriptions."""
    row = space.find("customer", call.id, param="id", status=404)
    for subscription in space.rows("subscription"):
        if subscription["customer"] == row["id"] and not machine.has_ended(subscription):
            machine.cancel(space, subscription, reason="cancellation_requested")
    return space.drop(row, "customer.deleted")


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/customers`."""
    clock = call.params.get("test_clock")
    found = [row for row in space.rows("customer") if row["test_clock"] == clock]
    return [row for row in found if matches(row, call.params, "created", "email")]
