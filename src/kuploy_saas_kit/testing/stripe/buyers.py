"""What a buyer does on Stripe's checkout page."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import billing, customers, machine
from kuploy_saas_kit.testing.stripe.cards import Outcome, new_method, outcome_of
from kuploy_saas_kit.testing.stripe.invoice_rows import new_intent
from kuploy_saas_kit.testing.stripe.space import Row, Space

_DAY = 86400


def pay(space: Space, session: Row, card: str | None) -> None:
    """Pay an open session by card: it completes, stays open where the card is declined, or waits for 3-D Secure.

    Without a card only a session can be completed that asks for none.
    """
    _require(session, "status", "open")
    if card is None:
        _require(session, "payment_method_collection", "if_required")
        _require(session, "amount_total", 0)
    outcome = Outcome.PAID if card is None else outcome_of(card)
    if outcome is Outcome.DECLINED or not _is_sellable(space, session):
        return
    with space.on(_clock_of(space, session)):
        customer = _customer(space, session)
        method = None if card is None else new_method(space, card, customer)["id"]
        if session["mode"] != "subscription":
            _pay_once(space, session, customer, method, outcome)
            return
        subscription = _pending(space, session, customer, method)
        invoice = space.table("invoice")[subscription["latest_invoice"]]
        if outcome is Outcome.ACTION and invoice["status"] == "open":
            billing.challenge(space, invoice, method)
            return
        if invoice["status"] == "open":
            billing.attempt(space, invoice, Outcome.PAID, method)
            machine.recover(space, subscription)
        _complete(space, session, subscription)


def authenticate(space: Space, session: Row, *, ok: bool) -> None:
    """Answer the 3-D Secure challenge of a session."""
    if session["_pending"] is None:
        raise ValueError(f"{session['id']} waits for no authentication")
    with space.on(_clock_of(space, session)):
        if session["mode"] != "subscription":
            _answer_once(space, session, ok=ok)
            return
        subscription = space.table("subscription")[session["_pending"]]
        invoice = space.table("invoice")[subscription["latest_invoice"]]
        if invoice["status"] != "open":
            raise ValueError(f"{session['id']} waited too long: its subscription is {subscription['status']}")
        if not ok:
            billing.reject(space, invoice)
            return
        billing.attempt(space, invoice, Outcome.PAID, subscription["default_payment_method"])
        machine.recover(space, subscription)
        _complete(space, session, subscription)


def pay_later(space: Space, session: Row) -> None:
    """Complete an open session by a payment method that takes days, such as a bank debit."""
    _require(session, "status", "open")
    _require(session, "mode", "subscription")
    with space.on(_clock_of(space, session)):
        customer = _customer(space, session)
        subscription = _pending(space, session, customer, None)
        invoice = space.table("invoice")[subscription["latest_invoice"]]
        if invoice["status"] == "open":
            billing.process(space, invoice)
            if space.world.quirks.async_starts_active:
                machine.activate(space, subscription)
        _complete(space, session, subscription)


def settle(space: Space, session: Row, *, ok: bool) -> None:
    """Let the payment of a completed session arrive, or fail."""
    _require(session, "status", "complete")
    _require(session, "payment_status", "unpaid")
    with space.on(_clock_of(space, session)):
        subscription = space.table("subscription")[session["subscription"]]
        invoice = space.table("invoice")[session["invoice"]]
        if ok:
            billing.attempt(space, invoice, Outcome.PAID)
            machine.recover(space, subscription)
            session["payment_status"] = "paid"
        else:
            machine.collect(space, subscription, invoice, Outcome.DECLINED)
        space.emit(f"checkout.session.async_payment_{'succeeded' if ok else 'failed'}", session)


def _require(session: Row, name: str, value: object) -> None:
    if session[name] != value:
        raise ValueError(f"the {name} of {session['id']} is {session[name]}, not {value}")


def _clock_of(space: Space, session: Row) -> str | None:
    clock: str | None = space.table("customer").get(session["customer"], {}).get("test_clock")
    return clock


def _is_sellable(space: Space, session: Row) -> bool:
    if space.world.quirks.sells_archived_prices:
        return True
    sold = [space.table("price")[line["price"]] for line in session["line_items"]]
    return all(price["active"] and space.table("product")[price["product"]]["active"] for price in sold)


def _customer(space: Space, session: Row) -> str:
    if session["customer"] is not None:
        return str(session["customer"])
    email = session["customer_email"] or "buyer@example.test"
    row = space.add(customers.blank(space, {"email": email, "name": "Test Buyer"}), "customer.created")
    session["customer"] = row["id"]
    return str(row["id"])


def _pending(space: Space, session: Row, customer: str, method: str | None) -> Row:
    held = space.table("subscription").get(session["_pending"])
    if held is not None and held["status"] == "incomplete":
        with space.changing(held, machine.UPDATED):
            held["default_payment_method"] = method
        return held
    given = session["_subscription_data"]
    end_behavior = given.get("trial_settings", {}).get("end_behavior", {})
    order = machine.Order(
        customer=customer,
        method=method,
        items=[(line["price"], line["quantity"]) for line in session["line_items"] if _recurs(space, line)],
        metadata=given.get("metadata") or {},
        trial_end=_trial_end(space, given),
        without_method=end_behavior.get("missing_payment_method", "create_invoice"),
        clock=_clock_of(space, session),
        fields={"description": given["description"]} if "description" in given else {},
    )
    row = machine.begin(space, order)
    session["_pending"] = row["id"]
    return row


def _recurs(space: Space, line: Row) -> bool:
    return bool(space.table("price")[line["price"]]["type"] == "recurring")


def _trial_end(space: Space, given: Row) -> int | None:
    if given.get("trial_period_days"):
        return space.now + int(given["trial_period_days"]) * _DAY
    end: int | None = given.get("trial_end")
    return end


def _complete(space: Space, session: Row, subscription: Row) -> None:
    invoice = space.table("invoice")[subscription["latest_invoice"]]
    session.update(subscription=subscription["id"], invoice=invoice["id"], payment_status=_paid(invoice))
    _close(space, session)


def _paid(invoice: Row) -> str:
    if invoice["status"] != "paid":
        return "unpaid"
    return "paid" if invoice["amount_due"] else "no_payment_required"


def _close(space: Space, session: Row) -> None:
    customer = space.table("customer").get(session["customer"], {})
    details = {"address": None, "email": customer.get("email"), "name": customer.get("name"), "phone": None}
    session.update(
        status="complete", url=None, customer_details={**details, "tax_exempt": "none", "tax_ids": []}, _pending=None
    )
    space.touched = True
    space.emit("checkout.session.completed", session)


def _pay_once(space: Space, session: Row, customer: str, method: str | None, outcome: Outcome) -> None:
    if session["mode"] == "setup":
        session["setup_intent"] = space.world.new_id("seti")
        _close(space, session)
        return
    intent = new_intent(space, amount=session["amount_total"], currency=session["currency"], customer=customer)
    intent["payment_method"] = method
    space.add(intent, "payment_intent.created")
    session["_pending"] = intent["id"]
    if outcome is Outcome.ACTION:
        intent["status"] = "requires_action"
        space.emit("payment_intent.requires_action", intent)
    else:
        _answer_once(space, session, ok=True)


def _answer_once(space: Space, session: Row, *, ok: bool) -> None:
    intent = space.table("payment_intent")[session["_pending"]]
    if not ok:
        intent["status"] = "requires_payment_method"
        space.emit("payment_intent.payment_failed", intent)
        return
    intent.update(status="succeeded", amount_received=intent["amount"])
    space.emit("payment_intent.succeeded", intent)
    session.update(payment_intent=intent["id"], payment_status="paid")
    _close(space, session)
