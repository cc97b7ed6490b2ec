"""Invoices and the attempts to collect them."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.cards import Outcome
from kuploy_saas_kit.testing.stripe.invoice_rows import new_intent, new_payment
from kuploy_saas_kit.testing.stripe.space import Row, Space

FINALIZED_AFTER = 3600
"""How long a renewal's invoice stays a draft, in seconds."""

_DECLINED = {
    "code": "card_declined",
    "decline_code": "generic_decline",
    "message": "Your card was declined.",
    "type": "card_error",
}


def finalize(space: Space, invoice: Row) -> None:
    """Turn a draft into an open invoice; one over nothing is paid at once."""
    customer = space.table("customer").get(invoice["customer"], {"invoice_prefix": "SIM", "next_invoice_sequence": 1})
    sequence = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = sequence + 1
    invoice["status"] = "open"
    invoice["automatically_finalizes_at"] = None
    invoice["effective_at"] = invoice["status_transitions"]["finalized_at"] = space.now
    invoice["number"] = f"{customer['invoice_prefix']}-{sequence:04d}"
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/{space.world.account}/{invoice['id']}"
    invoice["invoice_pdf"] = f"https://pay.stripe.com/invoice/{space.world.account}/{invoice['id']}/pdf"
    if invoice["amount_due"]:
        intent = new_intent(
            space, amount=invoice["amount_due"], currency=invoice["currency"], customer=invoice["customer"]
        )
        space.add(intent, "payment_intent.created")
        space.add(new_payment(space, invoice, intent))
    space.emit("invoice.finalized", invoice)
    if not invoice["amount_due"]:
        _settle(space, invoice)


def attempt(
    space: Space, invoice: Row, outcome: Outcome, method: str | None = None, *, again_at: int | None = None
) -> None:
    """Try to collect an open invoice, with this outcome; a failed attempt is repeated at *again_at*."""
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    invoice["next_payment_attempt"] = None if outcome is Outcome.PAID else again_at
    space.touched = True
    intent = intent_of(space, invoice)
    intent["payment_method"] = method
    if outcome is Outcome.PAID:
        _succeed(space, intent)
        _settle(space, invoice)
        return
    _fail(space, intent, outcome)
    space.emit("invoice.payment_failed", invoice)
    if outcome is Outcome.ACTION:
        space.emit("invoice.payment_action_required", invoice)


def challenge(space: Space, invoice: Row, method: str | None) -> None:
    """Ask the buyer, who is there, to authenticate the payment of an open invoice."""
    intent = intent_of(space, invoice)
    intent["payment_method"] = method
    _fail(space, intent, Outcome.ACTION)
    space.emit("invoice.payment_action_required", invoice)


def reject(space: Space, invoice: Row) -> None:
    """Let an authentication fail, or the buyer's card be declined while the buyer is there."""
    _fail(space, intent_of(space, invoice), Outcome.DECLINED)


def process(space: Space, invoice: Row) -> None:
    """Set a payment on its way that takes days to arrive."""
    intent = intent_of(space, invoice)
    intent["status"] = "processing"
    invoice["attempted"] = True
    space.touched = True
    space.emit("payment_intent.processing", intent)


def is_processing(space: Space, subscription: Row) -> bool:
    """Whether the latest invoice of a subscription is being paid by a method that takes days."""
    invoice = space.table("invoice").get(subscription["latest_invoice"])
    if invoice is None or invoice["status"] != "open":
        return False
    return bool(intent_of(space, invoice)["status"] == "processing")


def intent_of(space: Space, invoice: Row) -> Row:
    """The payment intent that collects this invoice."""
    payment = payment_of(space, invoice)
    return space.table("payment_intent")[payment["payment"]["payment_intent"]]


def payment_of(space: Space, invoice: Row) -> Row:
    """The link from this invoice to its payment intent."""
    return next(payment for payment in space.rows("invoice_payment") if payment["invoice"] == invoice["id"])


def _succeed(space: Space, intent: Row) -> None:
    intent.update(status="succeeded", amount_received=intent["amount"], next_action=None, last_payment_error=None)
    space.touched = True
    space.emit("payment_intent.succeeded", intent)


def _fail(space: Space, intent: Row, outcome: Outcome) -> None:
    if outcome is Outcome.ACTION:
        intent.update(status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}})
        space.emit("payment_intent.requires_action", intent)
    else:
        intent.update(status="requires_payment_method", next_action=None, last_payment_error=dict(_DECLINED))
        space.emit("payment_intent.payment_failed", intent)


def _settle(space: Space, invoice: Row) -> None:
    due = invoice["amount_due"]
    invoice.update(status="paid", amount_paid=due, amount_remaining=0, attempted=True, next_payment_attempt=None)
    invoice["status_transitions"]["paid_at"] = space.now
    space.touched = True
    if due:
        payment = payment_of(space, invoice)
        payment.update(status="paid", amount_paid=due)
        payment["status_transitions"]["paid_at"] = space.now
    space.emit("invoice.paid", invoice)
    space.emit("invoice.payment_succeeded", invoice)


def void(space: Space, invoice: Row) -> None:
    """Close an invoice that nobody has to pay any more."""
    invoice.update(status="void", next_payment_attempt=None, auto_advance=False, automatically_finalizes_at=None)
    invoice["status_transitions"]["voided_at"] = space.now
    space.touched = True
    space.emit("invoice.voided", invoice)


def write_off(space: Space, invoice: Row) -> None:
    """Mark an invoice as one that will not be collected."""
    invoice.update(status="uncollectible", next_payment_attempt=None, auto_advance=False)
    invoice["status_transitions"]["marked_uncollectible_at"] = space.now
    space.touched = True
    space.emit("invoice.marked_uncollectible", invoice)


def invoices_of(space: Space, subscription: Row, *statuses: str) -> list[Row]:
    """The invoices of a subscription in these statuses, oldest first."""
    return [
        row for row in space.rows("invoice") if row["status"] in statuses and subscription_of(row) == subscription["id"]
    ]


def is_behind(space: Space, subscription: Row) -> bool:
    """Whether the newest invoice of a subscription that was to be paid is not."""
    due = invoices_of(space, subscription, "open", "paid")
    return bool(due) and due[-1]["status"] == "open"


def subscription_of(invoice: Row) -> str | None:
    """The id of the subscription that an invoice is for."""
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    id_: str | None = details.get("subscription")
    return id_
