"""The endpoints of invoices and payment intents."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import billing, machine
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.cards import Outcome, card_of, outcome_of
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import card_declined, invalid
from kuploy_saas_kit.testing.stripe.space import Row, Space


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/invoices/{invoice}`."""
    return space.find("invoice", call.id, param="invoice", status=404)


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/invoices`."""
    wanted = call.params.get("subscription")
    if "customer" in call.params and call.params["customer"] not in space.deleted.get("customer", set()):
        space.find("customer", call.params["customer"], param="customer")
    found = [row for row in space.rows("invoice") if wanted is None or billing.subscription_of(row) == wanted]
    return [row for row in found if matches(row, call.params, "collection_method", "created", "customer", "status")]


def pay(space: Space, call: Call) -> Row:
    """`POST /v1/invoices/{invoice}/pay`."""
    row = retrieve(space, call)
    if row["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if row["status"] not in ("draft", "open", "uncollectible"):
        raise invalid(f"You cannot pay an invoice that is {row['status']}.")
    subscription = space.table("subscription")[billing.subscription_of(row) or ""]
    card = card_of(space, subscription)
    with space.on(row["test_clock"]):
        if row["status"] == "draft":
            billing.finalize(space, row)
        if row["status"] != "paid":
            elsewhere = call.get("paid_out_of_band")
            machine.collect(space, subscription, row, Outcome.PAID if elsewhere else None)
            if row["status"] != "paid" and card is not None and outcome_of(card) is Outcome.DECLINED:
                raise card_declined()
    return row


def void(space: Space, call: Call) -> Row:
    """`POST /v1/invoices/{invoice}/void`."""
    row = retrieve(space, call)
    if row["status"] not in ("open", "uncollectible"):
        raise invalid(f"You can only void an invoice that is open or uncollectible, and this one is {row['status']}.")
    with space.on(row["test_clock"]):
        billing.void(space, row)
    return row


def finalize(space: Space, call: Call) -> Row:
    """`POST /v1/invoices/{invoice}/finalize`."""
    row = retrieve(space, call)
    if row["status"] != "draft":
        raise invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.", code="invoice_not_editable"
        )
    with space.on(row["test_clock"]):
        billing.finalize(space, row)
    return row


def retrieve_intent(space: Space, call: Call) -> Row:
    """`GET /v1/payment_intents/{intent}`."""
    return space.find("payment_intent", call.id, param="intent", status=404)


def list_intents(space: Space, call: Call) -> list[Row]:
    """`GET /v1/payment_intents`."""
    return [row for row in space.rows("payment_intent") if matches(row, call.params, "created", "customer")]


def list_payments(space: Space, call: Call) -> list[Row]:
    """`GET /v1/invoice_payments`."""
    return [row for row in space.rows("invoice_payment") if matches(row, call.params, "created", "invoice", "status")]
