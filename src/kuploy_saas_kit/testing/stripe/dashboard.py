"""What a tenant or a customer does to a subscription elsewhere: in the dashboard, in the portal, at the bank."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import billing, machine
from kuploy_saas_kit.testing.stripe.cards import BAD_CARD, GOOD_CARD, Outcome, new_method
from kuploy_saas_kit.testing.stripe.checkout import require_sellable
from kuploy_saas_kit.testing.stripe.space import Row, Space


def fail_payment(space: Space, row: Row) -> None:
    """Let the card stop working and the next payment, which is taken now, fail."""
    _require(row, "active", "trialing", "past_due", "unpaid", "incomplete")
    _make_card(space, row, BAD_CARD)
    invoice = _open_invoice(space, row) or _next_invoice(space, row)
    machine.collect(space, row, invoice, Outcome.DECLINED)


def _make_card(space: Space, row: Row, card: str) -> None:
    if row["default_payment_method"] is None:
        with space.changing(row, machine.UPDATED):
            row["default_payment_method"] = new_method(space, card, row["customer"])["id"]
    space.cards[row["default_payment_method"]] = card


def pay_invoice(space: Space, row: Row) -> None:
    """Let the card work again and pay all that is open."""
    _require(row, "active", "trialing", "past_due", "unpaid", "incomplete", "paused")
    _make_card(space, row, GOOD_CARD)
    found = billing.invoices_of(space, row, "draft", "open", "uncollectible")
    if not found:
        raise ValueError(f"{row['id']} has no invoice to pay")
    for invoice in found:
        if invoice["status"] == "draft":
            billing.finalize(space, invoice)
        if invoice["status"] != "paid":
            machine.collect(space, row, invoice, Outcome.PAID)


def _open_invoice(space: Space, row: Row) -> Row | None:
    for invoice in billing.invoices_of(space, row, "draft", "open"):
        if invoice["status"] == "draft":
            billing.finalize(space, invoice)
        if invoice["status"] == "open":
            return invoice
    return None


def _next_invoice(space: Space, row: Row) -> Row:
    if row["status"] == "trialing":
        row["trial_end"] = space.now
        with space.changing(row, machine.UPDATED):
            row["status"] = "active"
    invoice = machine.renew(space, row, now=True)
    billing.finalize(space, invoice)
    if invoice["status"] == "paid":
        raise ValueError(f"{row['id']} costs nothing, so no payment of it can fail")
    return invoice


def cancel(space: Space, row: Row, *, at_period_end: bool) -> None:
    """Cancel in the dashboard, now or when the period ends."""
    _require_alive(row)
    if at_period_end:
        machine.cancel_later(space, row, machine.period_end(row), at_period_end=True)
    else:
        machine.cancel(space, row, reason="cancellation_requested")


def portal_cancel(space: Space, row: Row) -> None:
    """Cancel in the customer portal, which sets `cancel_at` and leaves `cancel_at_period_end` as it is."""
    _require_alive(row)
    machine.cancel_later(space, row, machine.period_end(row), at_period_end=False)


def portal_renew(space: Space, row: Row) -> None:
    """Take a cancellation back in the customer portal."""
    _require_alive(row)
    machine.cancel_later(space, row, None, at_period_end=False)


def switch_plan(space: Space, row: Row, price_id: str) -> None:
    """Choose another price in the customer portal; it counts at once."""
    _require_alive(row)
    price = require_sellable(space, price_id, param="items[0][price]")
    machine.switch(space, row, row["items"][0], price["id"])


def pause(space: Space, row: Row, *, why: str) -> None:
    """Pause in the dashboard or the portal, or let Stripe pause for the reason *why*."""
    _require_alive(row)
    machine.pause(space, row, why=why)


def resume(space: Space, row: Row) -> None:
    """Resume a paused subscription; its first invoice is charged."""
    _require(row, "paused")
    machine.resume(space, row)


def _require(row: Row, *statuses: str) -> None:
    if row["status"] not in statuses:
        raise ValueError(f"{row['id']} is {row['status']}")


def _require_alive(row: Row) -> None:
    if machine.has_ended(row):
        raise ValueError(f"{row['id']} is {row['status']}")
