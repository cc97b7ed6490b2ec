"""Subscriptions, customers and invoices through their endpoints."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.testing.stripe.shop import MONTHLY, Row, Shop, refused


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


def create(shop: Shop, **params: object) -> Row:
    """A subscription made through the API by a customer with a good card."""
    customer = shop.customer(payment_method="pm_card_visa", invoice_settings={"default_payment_method": "pm_card_visa"})
    fields = {"customer": customer, "items": [{"price": shop.price}], **params}
    made: Row = shop.api.subscriptions.create(fields).to_dict()
    return made


def test_a_subscription_is_charged_when_it_is_made(shop: Shop) -> None:
    """Active at once with a good card, and its period is a calendar month, on the item."""
    made = create(shop, metadata={"org_id": "acme"}, description="Pro for Acme")
    assert (made["status"], made["metadata"], made["description"]) == ("active", {"org_id": "acme"}, "Pro for Acme")
    item = made["items"]["data"][0]
    assert item["current_period_end"] - item["current_period_start"] == 30 * 86400
    assert "current_period_end" not in made
    assert shop.api.subscription_items.list({"subscription": made["id"]}).data[0].id == item["id"]


def test_how_the_first_payment_may_fail(shop: Shop) -> None:
    """No card is a 400, a bad one makes it incomplete or, on request, a 402; a payment can be left to the buyer."""
    bare = {"customer": shop.customer(), "items": [{"price": shop.price}]}
    assert "no attached payment source" in refused(shop.api.subscriptions.create, bare)["message"]
    waiting = shop.api.subscriptions.create({**bare, "payment_behavior": "default_incomplete"})
    assert waiting.status == "incomplete"
    bad = create(shop, default_payment_method="pm_card_chargeCustomerFail")
    assert bad["status"] == "incomplete"
    secure = create(shop, default_payment_method="pm_card_threeDSecure2Required")
    assert secure["status"] == "incomplete"
    error = refused(
        lambda: create(
            shop, default_payment_method="pm_card_chargeCustomerFail", payment_behavior="error_if_incomplete"
        )
    )
    assert (error["status"], error["code"], error["decline_code"]) == (402, "card_declined", "generic_decline")
    assert len(shop.api.subscriptions.list({"status": "all"}).data) == 3


def test_a_subscription_needs_a_customer_and_prices(shop: Shop) -> None:
    """Each is named when it is missing, unknown or not recurring."""
    make = shop.api.subscriptions.create
    customer = shop.customer()
    once = shop.api.prices.create({"product": "kuploy_pro", "currency": "cad", "unit_amount": 500}).id
    for params, param in (
        ({"items": [{"price": shop.price}]}, "customer"),
        ({"customer": customer}, "items"),
        ({"customer": customer, "items": [{"quantity": 1}]}, "items[0][price]"),
        ({"customer": customer, "items": [{"price": once}]}, "items[0][price]"),
        ({"customer": "cus_none", "items": [{"price": shop.price}]}, "customer"),
        (
            {"customer": customer, "items": [{"price": shop.price}], "default_payment_method": "pm_x"},
            "default_payment_method",
        ),
    ):
        assert refused(make, params)["param"] == param


def test_a_free_price_and_a_trial_need_no_card(shop: Shop) -> None:
    """Free is active, a trial is trialing; `trial_end=now` ends it."""
    customer = shop.customer()
    free = shop.api.subscriptions.create({"customer": customer, "items": [{"price": shop.new_price(0)}]})
    assert free.status == "active"
    trial = shop.api.subscriptions.create(
        {"customer": customer, "items": [{"price": shop.price}], "trial_period_days": 7}
    )
    assert trial.status == "trialing"
    longer = shop.api.subscriptions.update(trial.id, {"trial_end": trial.trial_end + 86400})
    assert (longer.status, longer.trial_end) == ("trialing", trial.trial_end + 86400)
    assert shop.api.subscriptions.update(trial.id, {"trial_end": "now"}).status == "active"
    shop.sim.advance(timedelta(hours=1))
    assert shop.status(trial.id) == "past_due"


def test_items_are_switched_added_and_removed(shop: Shop) -> None:
    """By their ids; a price of another rhythm begins a new period and is billed."""
    made = create(shop)
    item = made["items"]["data"][0]["id"]
    pro, addon = shop.new_price(3000), shop.new_price(100)
    update = shop.api.subscriptions.update
    changed = update(made["id"], {"items": [{"id": item, "price": pro}, {"price": addon, "quantity": 3}]})
    assert [(row.price.id, row.quantity) for row in changed["items"].data] == [(pro, 1), (addon, 3)]
    changed = update(made["id"], {"items": [{"id": changed["items"].data[1].id, "deleted": True}]})
    changed = update(made["id"], {"items": [{"id": item, "quantity": 2}]})
    assert [(row.price.id, row.quantity) for row in changed["items"].data] == [(pro, 2)]
    annual = shop.new_price(20_000, recurring={"interval": "year"})
    changed = update(made["id"], {"items": [{"id": item, "price": annual}]})
    assert changed["items"].data[0].current_period_end - changed["items"].data[0].current_period_start == 365 * 86400
    assert shop.api.invoices.list({"subscription": made["id"]}).data[0].amount_paid == 40_000
    assert refused(update, made["id"], {"items": [{"id": "si_none"}]})["param"] == "items[0][id]"


def test_a_subscription_keeps_at_least_one_item_of_each_price(shop: Shop) -> None:
    """The last item cannot go, no price comes twice, and all are in one currency; an archived one may stay."""
    made = create(shop)
    item = made["items"]["data"][0]["id"]
    dollars = shop.new_price(1, currency="usd")
    for items in ([{"id": item, "deleted": True}], [{"price": shop.price}], [{"price": dollars}]):
        assert refused(shop.api.subscriptions.update, made["id"], {"items": items})["param"] == "items"
    twice = [{"price": shop.price}, {"price": shop.price}]
    assert refused(lambda: create(shop, items=twice))["param"] == "items"
    shop.api.prices.update(shop.price, {"active": False})
    changed = shop.api.subscriptions.update(made["id"], {"items": [{"id": item, "price": shop.price, "quantity": 2}]})
    assert changed["items"].data[0].quantity == 2


def test_fields_of_a_subscription_are_updated(shop: Shop) -> None:
    """Metadata, description, card, collection pause and cancellation details; an event tells only of real changes."""
    made = create(shop)
    update = shop.api.subscriptions.update
    update(made["id"], {"metadata": {"org_id": "acme"}, "default_payment_method": "pm_card_mastercard"})
    paused = update(made["id"], {"pause_collection": {"behavior": "void"}})
    assert (paused.status, paused.pause_collection.behavior) == ("active", "void")
    assert update(made["id"], {"pause_collection": ""}).pause_collection is None
    assert update(made["id"], {"cancellation_details": {"comment": "hm"}}).cancellation_details.comment == "hm"
    before = shop.told()
    update(made["id"], {"metadata": {"org_id": "acme"}})
    assert shop.told() == before


def test_canceling_at_period_end_and_taking_it_back(shop: Shop) -> None:
    """By flag, by moment, or by name of the moment; the portal sets `cancel_at` only."""
    made = create(shop)
    end = made["items"]["data"][0]["current_period_end"]
    update = shop.api.subscriptions.update
    flagged = update(made["id"], {"cancel_at_period_end": True})
    assert (flagged.cancel_at_period_end, flagged.cancel_at, flagged.status) == (True, end, "active")
    assert update(made["id"], {"cancel_at_period_end": False}).cancel_at is None
    for at in (end, "min_period_end", "max_period_end"):
        moment = update(made["id"], {"cancel_at": at})
        assert (moment.cancel_at_period_end, moment.cancel_at) == (False, end)
    assert update(made["id"], {"cancel_at": ""}).cancel_at is None
    assert shop.sim.portal_cancel(made["id"])["cancel_at"] == end
    assert not shop.sim.subscription(made["id"])["cancel_at_period_end"]
    assert shop.sim.portal_renew(made["id"])["cancel_at"] is None
    assert create(shop, cancel_at_period_end=True)["cancel_at_period_end"]


def test_a_canceled_subscription_stays_canceled(shop: Shop) -> None:
    """It can be read and its metadata changed, and nothing else."""
    made = create(shop)
    gone = shop.api.subscriptions.cancel(made["id"], {"cancellation_details": {"comment": "bye"}})
    assert (gone.status, gone.cancellation_details.comment) == ("canceled", "bye")
    assert gone.canceled_at == gone.ended_at
    assert shop.told()[-1] == "customer.subscription.deleted"
    assert refused(shop.api.subscriptions.cancel, made["id"])["status"] == 404
    error = refused(shop.api.subscriptions.update, made["id"], {"description": "x"})
    assert error["code"] == "invalid_canceled_subscription_fields"
    assert shop.api.subscriptions.update(made["id"], {"metadata": {"a": "b"}}).metadata.a == "b"
    with pytest.raises(ValueError, match="is canceled"):
        shop.sim.cancel(made["id"])


def test_pausing_and_resuming(shop: Shop) -> None:
    """A paused subscription says why; resuming charges a new period, and fails with a bad card."""
    made = create(shop)
    paused = shop.api.subscriptions.pause(made["id"])
    assert paused.status == "paused"
    assert paused.status_details.paused.subscription.type == "pause_requested"
    assert "cannot pause" in refused(shop.api.subscriptions.pause, made["id"])["message"]
    unchanged = shop.api.subscriptions.resume(made["id"], {"billing_cycle_anchor": {"type": "unchanged"}})
    assert (unchanged.status, len(shop.invoices(made["id"]))) == ("active", 1)
    assert "only resume" in refused(shop.api.subscriptions.resume, made["id"])["message"]
    shop.sim.pause(made["id"], why="first_payment_failure")
    assert shop.sim.resume(made["id"])["status"] == "active"
    assert shop.invoices(made["id"]) == ["paid", "paid"]
    assert {"customer.subscription.paused", "customer.subscription.resumed"} <= set(shop.told())
    shop.sim.pause(made["id"])
    shop.api.subscriptions.update(made["id"], {"default_payment_method": "pm_card_chargeCustomerFail"})
    assert shop.sim.resume(made["id"])["status"] == "paused"


def test_subscriptions_are_listed_by_status_customer_and_price(shop: Shop) -> None:
    """Without a status all but canceled ones; ended ones are canceled or expired."""
    alive, dead = create(shop), create(shop, items=[{"price": shop.new_price(100)}])
    shop.api.subscriptions.cancel(dead["id"])

    def found(**params: object) -> list[str]:
        return [row.id for row in shop.api.subscriptions.list(params)]

    assert found() == [alive["id"]]
    assert found(status="all") == [dead["id"], alive["id"]]
    assert found(status="ended") == found(status="canceled") == [dead["id"]]
    assert found(customer=alive["customer"]) == found(price=shop.price) == [alive["id"]]
    assert found(price=shop.price, status="canceled") == []
    assert found(current_period_end={"lt": 1}) == []
    assert refused(shop.api.subscriptions.list, {"customer": "cus_none"})["param"] == "customer"


def test_a_deleted_customer_takes_its_subscriptions_along(shop: Shop) -> None:
    """They are canceled at once; the customer reads back as deleted, also where it is expanded."""
    made = create(shop)
    assert shop.api.customers.delete(made["customer"]).deleted
    assert shop.api.customers.retrieve(made["customer"]).to_dict() == {
        "id": made["customer"],
        "object": "customer",
        "deleted": True,
    }
    opened = shop.api.subscriptions.retrieve(made["id"], {"expand": ["customer"]})
    assert (opened.status, opened.customer.deleted) == ("canceled", True)
    assert shop.api.subscriptions.list({"customer": made["customer"], "status": "all"}).data[0].id == made["id"]
    assert shop.api.invoices.list({"customer": made["customer"]}).data
    assert refused(shop.api.customers.update, made["customer"], {"name": "x"})["status"] == 404
    assert shop.told()[-2:] == ["customer.subscription.deleted", "customer.deleted"]


def test_customers_are_updated_and_found_by_email(shop: Shop) -> None:
    """Fields, metadata and default card; a card that is declined on sight cannot be attached."""
    customer = shop.customer(metadata={"org_id": "acme"})
    changed = shop.api.customers.update(
        customer,
        {"name": "Acme", "metadata": {"x": "y"}, "invoice_settings": {"default_payment_method": "pm_card_visa"}},
    )
    assert (changed.name, changed.metadata.to_dict()) == ("Acme", {"org_id": "acme", "x": "y"})
    method = shop.api.payment_methods.retrieve(changed.invoice_settings.default_payment_method)
    assert (method.customer, method.card.last4) == (customer, "4242")
    assert (
        shop.api.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}}).id == customer
    )
    assert [row.id for row in shop.api.customers.list({"email": "owner@acme.test"})] == [customer]
    error = refused(lambda: shop.customer(payment_method="pm_card_chargeDeclined"))
    assert (error["status"], error["code"]) == (402, "card_declined")
    assert refused(lambda: shop.customer(payment_method="pm_x"))["code"] == "resource_missing"
    assert refused(shop.api.customers.update, customer, {"invoice_settings": {"default_payment_method": "pm_x"}})
    assert len(shop.api.customers.list().data) == 1


def test_payment_methods_are_attached_and_detached(shop: Shop) -> None:
    """A test token becomes a method of its own; a declined card and a stranger are refused."""
    api, customer = shop.api.payment_methods, shop.customer()
    made = api.attach("pm_card_visa", {"customer": customer})
    assert (made.customer, made.id.startswith("pm_")) == (customer, True)
    assert [row.id for row in api.list({"customer": customer, "type": "card"})] == [made.id]
    assert refused(api.attach, "pm_card_chargeDeclined", {"customer": customer})["code"] == "card_declined"
    assert refused(api.attach, "pm_card_visa", {"customer": "cus_none"})["param"] == "customer"
    assert refused(api.attach, "pm_card_visa", {})["param"] == "customer"
    assert refused(api.attach, "pm_x", {"customer": customer})["code"] == "resource_missing"
    assert api.detach(made.id).customer is None
    assert "not attached" in refused(api.detach, made.id)["message"]
    assert shop.told()[-2:] == ["payment_method.attached", "payment_method.detached"]


def test_invoices_are_paid_voided_and_listed(shop: Shop) -> None:
    """An open one can be paid, by card or elsewhere, or voided; a paid one can neither."""
    made = create(shop, payment_behavior="default_incomplete")
    invoice = made["latest_invoice"]
    assert shop.api.invoices.list({"status": "open", "subscription": made["id"]}).data[0].id == invoice
    assert shop.api.invoices.pay(invoice).status == "paid"
    assert shop.status(made["id"]) == "active"
    assert refused(shop.api.invoices.pay, invoice)["message"] == "Invoice is already paid"
    assert refused(shop.api.invoices.void_invoice, invoice)["status"] == 400
    assert refused(shop.api.invoices.finalize_invoice, invoice)["code"] == "invoice_not_editable"
    bad = create(shop, default_payment_method="pm_card_chargeCustomerFail")["latest_invoice"]
    assert refused(shop.api.invoices.pay, bad)["code"] == "card_declined"
    assert shop.api.invoices.pay(bad, {"paid_out_of_band": True}).status == "paid"
    other = create(shop, payment_behavior="default_incomplete")["latest_invoice"]
    assert shop.api.invoices.void_invoice(other).status == "void"
    assert refused(shop.api.invoices.pay, other)["status"] == 400
    assert [row.status for row in shop.api.invoice_payments.list({"invoice": invoice})] == ["paid"]


def test_a_draft_is_finalized_by_hand(shop: Shop) -> None:
    """A renewal's invoice can be finalized and paid before its hour is over."""
    made = create(shop)
    shop.sim.advance(timedelta(days=30))
    draft = shop.api.invoices.list({"status": "draft"}).data[0]
    assert shop.api.invoices.finalize_invoice(draft.id).status == "open"
    assert shop.api.invoices.pay(draft.id).status == "paid"
    shop.sim.advance(timedelta(days=31))
    assert shop.api.invoices.pay(shop.api.invoices.list({"status": "draft"}).data[0].id).status == "paid"
    assert shop.invoices(made["id"]) == ["paid"] * 3


def test_a_plan_is_switched_in_the_portal(shop: Shop) -> None:
    """The new price counts at once, and the event tells the old items."""
    made = create(shop)
    better = shop.new_price(5000, recurring=MONTHLY)
    switched = shop.sim.switch_plan(made["id"], better)
    assert switched["items"]["data"][0]["price"]["id"] == better
    event = shop.sim.events[-1]
    assert event["type"] == "customer.subscription.updated"
    assert event["data"]["previous_attributes"]["items"]["data"][0]["price"]["id"] == shop.price
