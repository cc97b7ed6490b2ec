"""The endpoints of payment methods."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.cards import attachable, attached
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import invalid, missing_param
from kuploy_saas_kit.testing.stripe.space import Row, Space


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/payment_methods/{payment_method}`."""
    return space.find("payment_method", call.id, param="payment_method", status=404)


def attach(space: Space, call: Call) -> Row:
    """`POST /v1/payment_methods/{payment_method}/attach`; a test token becomes a method of its own."""
    if "customer" not in call.params:
        raise missing_param("customer")
    customer = space.find("customer", call.params["customer"], param="customer")
    attachable(call.id, space, param="payment_method")
    row = space.table("payment_method")[attached(space, call.id, customer["id"], param="payment_method")]
    space.emit("payment_method.attached", row)
    return row


def detach(space: Space, call: Call) -> Row:
    """`POST /v1/payment_methods/{payment_method}/detach`; it can never be used again."""
    row = retrieve(space, call)
    if row["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    row["customer"] = None
    space.emit("payment_method.detached", row)
    return row


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/payment_methods`."""
    if "customer" in call.params:
        space.find("customer", call.params["customer"], param="customer")
    return [row for row in space.rows("payment_method") if matches(row, call.params, "customer", "type")]
