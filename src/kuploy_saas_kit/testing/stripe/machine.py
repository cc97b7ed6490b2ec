"""The state machine of subscriptions: how they start, renew, fail, recover, pause and end."""

from __future__ import annotations

from dataclasses import dataclass, field

from kuploy_saas_kit.testing.stripe import billing
from kuploy_saas_kit.testing.stripe.cards import Outcome, card_of, outcome_of
from kuploy_saas_kit.testing.stripe.invoice_rows import new_invoice
from kuploy_saas_kit.testing.stripe.periods import next_boundary
from kuploy_saas_kit.testing.stripe.space import Row, Space

UPDATED = "customer.subscription.updated"
INCOMPLETE_FOR = 23 * 3600
"""How long the first payment may take, in seconds."""
_ENDED = ("canceled", "incomplete_expired")
_COLLECTED = ("active", "past_due")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a new subscription is to be."""

    customer: str
    items: list[tuple[str, int]]
    method: str | None = None
    metadata: Row = field(default_factory=dict)
    trial_end: int | None = None
    without_method: str = "create_invoice"
    clock: str | None = None
    fields: Row = field(default_factory=dict)


def has_ended(subscription: Row) -> bool:
    """Whether a subscription is in a status that it never leaves."""
    return subscription["status"] in _ENDED


def begin(space: Space, order: Order) -> Row:
    """Keep a new subscription with its first invoice finalized; a trial begins, anything else waits for its payment."""
    row = _blank(space, order)
    for price, quantity in order.items:
        row["items"].append(new_item(space, row, price, quantity))
    row["currency"] = space.table("price")[order.items[0][0]]["currency"]
    invoice = new_invoice(space, row, row["items"], reason="subscription_create", period=(space.now, space.now))
    row["latest_invoice"] = invoice["id"]
    space.add(row, "customer.subscription.created")
    space.add(invoice, "invoice.created")
    billing.finalize(space, invoice)
    if invoice["status"] == "paid" and row["status"] == "incomplete":
        recover(space, row)
    return row


def _blank(space: Space, order: Order) -> Row:
    nothing = (
        "application", "application_fee_percent", "billing_cycle_anchor_config", "billing_thresholds", "cancel_at",
        "canceled_at", "customer_account", "days_until_due", "default_source", "description", "ended_at",
        "next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection", "pending_invoice_item_interval",
        "pending_setup_intent", "pending_update", "schedule", "transfer_data",
    )  # fmt: skip
    return {
        "id": space.world.new_id("sub"),
        "object": "subscription",
        **dict.fromkeys(nothing),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": order.trial_end or space.now,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "billing_schedules": [],
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": space.now,
        "customer": order.customer,
        "default_payment_method": order.method,
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": [],
        "livemode": space.livemode,
        "metadata": dict(order.metadata),
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": space.now,
        "status": "incomplete" if order.trial_end is None else "trialing",
        "test_clock": order.clock,
        "trial_end": order.trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": order.without_method}},
        "trial_start": None if order.trial_end is None else space.now,
        **order.fields,
    }


def new_item(space: Space, subscription: Row, price: str, quantity: int) -> Row:
    """An item of *subscription* for the period that it is in."""
    recurring = space.table("price")[price]["recurring"]
    end = subscription["trial_end"] if subscription["status"] == "trialing" else None
    others = subscription["items"]
    start = others[0]["current_period_start"] if others else space.now
    return {
        "id": space.world.new_id("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": space.now,
        "current_period_end": end or next_boundary(start, recurring, subscription["billing_cycle_anchor"]),
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "price": price,
        "quantity": quantity,
        "subscription": subscription["id"],
        "tax_rates": [],
    }


def period_end(subscription: Row) -> int:
    """The earliest end of a period among the items."""
    ends: list[int] = [item["current_period_end"] for item in subscription["items"]]
    return min(ends)


def renew(space: Space, subscription: Row, *, reason: str = "subscription_cycle", now: bool = False) -> Row:
    """Begin the next period, at once if *now*, and make its invoice, which is a draft for an hour."""
    passed = (subscription["items"][0]["current_period_start"], subscription["items"][0]["current_period_end"])
    with space.changing(subscription, UPDATED):
        if now:
            subscription["billing_cycle_anchor"] = space.now
        due = [item for item in subscription["items"] if now or item["current_period_end"] <= space.now]
        for item in due:
            _roll(space, subscription, item, now=now)
        invoice = new_invoice(space, subscription, due, reason=reason, period=passed)
        subscription["latest_invoice"] = invoice["id"]
    space.add(invoice, "invoice.created")
    _shelve_or_schedule(space, subscription, invoice)
    return invoice


def _roll(space: Space, subscription: Row, item: Row, *, now: bool) -> None:
    start = space.now if now else item["current_period_end"]
    recurring = space.table("price")[item["price"]]["recurring"]
    item["current_period_start"] = start
    item["current_period_end"] = next_boundary(start, recurring, subscription["billing_cycle_anchor"])


def _shelve_or_schedule(space: Space, subscription: Row, invoice: Row) -> None:
    paused = subscription["pause_collection"]
    behavior = paused["behavior"] if paused else None
    if subscription["status"] == "unpaid":
        behavior = "void" if space.world.quirks.voids_unpaid_invoices else "keep_as_draft"
    if behavior is None:
        invoice["automatically_finalizes_at"] = space.now + billing.FINALIZED_AFTER
        return
    invoice["auto_advance"] = False
    if behavior == "void":
        billing.void(space, invoice)
    elif behavior == "mark_uncollectible":
        billing.finalize(space, invoice)
        billing.write_off(space, invoice)


def collect(space: Space, subscription: Row, invoice: Row, outcome: Outcome | None = None) -> None:
    """Attempt an open invoice, by the stored card unless the outcome is given, and let the subscription follow."""
    card = card_of(space, subscription)
    if outcome is None:
        outcome = Outcome.DECLINED if card is None else outcome_of(card)
    again_at = _next_attempt(space, subscription, invoice)
    billing.attempt(space, invoice, outcome, subscription["default_payment_method"], again_at=again_at)
    if outcome is Outcome.PAID:
        recover(space, subscription)
    elif subscription["status"] in _COLLECTED:
        _fall_behind(space, subscription, is_last=again_at is None)


def bill(space: Space, subscription: Row, invoice: Row, outcome: Outcome | None = None) -> None:
    """Finalize a draft and attempt it."""
    billing.finalize(space, invoice)
    if invoice["status"] == "open":
        collect(space, subscription, invoice, outcome)
    else:
        recover(space, subscription)


def recover(space: Space, subscription: Row) -> None:
    """What a paid invoice does for its subscription."""
    behind = ["incomplete", "past_due"]
    if space.world.quirks.unpaid_recovers:
        behind.append("unpaid")
    if subscription["status"] in behind and not billing.is_behind(space, subscription):
        activate(space, subscription)


def activate(space: Space, subscription: Row) -> None:
    """Let a subscription be active."""
    with space.changing(subscription, UPDATED):
        subscription["status"] = "active"


def _next_attempt(space: Space, subscription: Row, invoice: Row) -> int | None:
    retries, done = space.world.settings.retries, invoice["attempt_count"]
    if subscription["status"] not in _COLLECTED or done >= len(retries):
        return None
    return space.now + int(retries[done].total_seconds())


def _fall_behind(space: Space, subscription: Row, *, is_last: bool) -> None:
    if subscription["status"] == "active":
        with space.changing(subscription, UPDATED):
            subscription["status"] = "past_due"
    if is_last:
        give_up(space, subscription)


def give_up(space: Space, subscription: Row) -> None:
    """What the account chose for subscriptions whose last attempt failed."""
    choice = space.world.settings.after_retries
    if choice == "cancel":
        cancel(space, subscription, reason="payment_failed")
    elif choice == "unpaid":
        with space.changing(subscription, UPDATED):
            subscription["status"] = "unpaid"
    elif choice == "pause":
        pause(space, subscription, why="final_payment_failure")


def cancel(space: Space, subscription: Row, *, reason: str | None = None) -> None:
    """End a subscription now."""
    if subscription["canceled_at"] is None:
        subscription["canceled_at"] = space.now
    subscription["status"] = "canceled"
    subscription["ended_at"] = space.now
    if reason is not None:
        subscription["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}
    _stop_collecting(space, subscription)
    space.touched = True
    space.emit("customer.subscription.deleted", subscription)


def _stop_collecting(space: Space, subscription: Row) -> None:
    for invoice in billing.invoices_of(space, subscription, "draft", "open"):
        invoice.update(auto_advance=False, next_payment_attempt=None, automatically_finalizes_at=None)


def expire(space: Space, subscription: Row) -> None:
    """Give up a subscription whose first payment never came."""
    for invoice in billing.invoices_of(space, subscription, "draft", "open"):
        billing.void(space, invoice)
    with space.changing(subscription, UPDATED):
        subscription.update(status="incomplete_expired", ended_at=space.now)


def cancel_later(space: Space, subscription: Row, at: int | None, *, at_period_end: bool) -> None:
    """Set or, with None, take back the moment at which a subscription will end."""
    reason = None if at is None else "cancellation_requested"
    with space.changing(subscription, UPDATED):
        subscription.update(
            cancel_at=at, cancel_at_period_end=at_period_end, canceled_at=None if at is None else space.now
        )
        subscription["cancellation_details"] = {**subscription["cancellation_details"], "reason": reason}


def pause(space: Space, subscription: Row, *, why: str) -> None:
    """Pause a subscription: it makes no invoices until it is resumed."""
    paused = {"subscription": {"type": why}, "transitioned_at": space.now, "type": "subscription"}
    with space.changing(subscription, UPDATED):
        subscription.update(status="paused", status_details={"paused": paused})
    _stop_collecting(space, subscription)
    space.emit("customer.subscription.paused", subscription)


def resume(space: Space, subscription: Row, *, anew: bool = True) -> None:
    """End a pause; *anew* begins a period now, and its invoice has to be paid for the pause to end."""
    if anew:
        invoice = renew(space, subscription, reason="subscription_update", now=True)
        billing.finalize(space, invoice)
        if invoice["status"] == "open":
            collect(space, subscription, invoice)
        if invoice["status"] != "paid":
            return
    with space.changing(subscription, UPDATED):
        subscription["status"] = "active"
        subscription.pop("status_details", None)
    space.emit("customer.subscription.resumed", subscription)


def move_trial(space: Space, subscription: Row, end: int) -> None:
    """Let the trial, a new one if need be, end at *end*; one that ends now is over."""
    with space.changing(subscription, UPDATED):
        subscription.update(trial_end=end, billing_cycle_anchor=end)
        for item in subscription["items"]:
            item["current_period_end"] = end
        if end > space.now:
            subscription["status"] = "trialing"
            subscription["trial_start"] = subscription["trial_start"] or space.now


def end_trial(space: Space, subscription: Row) -> None:
    """What happens at the end of a trial, with and without a card on file."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if card_of(space, subscription) is None and behavior == "cancel":
        cancel(space, subscription)
    elif card_of(space, subscription) is None and behavior == "pause":
        pause(space, subscription, why="trial_end_without_payment_method")
    else:
        activate(space, subscription)
        renew(space, subscription)


def switch(space: Space, subscription: Row, item: Row, price: str, quantity: int | None = None) -> None:
    """Put an item on another price; a different interval begins a new period and bills it."""
    old, new = space.table("price")[item["price"]]["recurring"], space.table("price")[price]["recurring"]
    same_rhythm = all(old[name] == new[name] for name in ("interval", "interval_count"))
    with space.changing(subscription, UPDATED):
        item["price"] = price
        if quantity is not None:
            item["quantity"] = quantity
    if not same_rhythm and subscription["status"] == "active":
        bill(space, subscription, renew(space, subscription, reason="subscription_update", now=True))
