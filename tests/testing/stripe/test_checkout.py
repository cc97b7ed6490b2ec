"""Checkout sessions: what can be opened, and what the buyer's card makes of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.testing.stripe.shop import Row, Shop, refused

from kuploy_saas_kit.testing.stripe import Quirks

GOOD, DECLINED, SECURE = "4242424242424242", "4000000000000002", "4000000000003220"


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


def test_a_paid_session_makes_an_active_subscription(shop: Shop) -> None:
    """Metadata reaches the subscription, the invoice is paid, and the session is complete."""
    customer = shop.customer()
    session = shop.session(
        customer=customer, metadata={"org_id": "acme"}, subscription_data={"metadata": {"org_id": "acme"}}
    )
    paid = shop.sim.pay(session, card=GOOD)
    assert (paid["status"], paid["payment_status"], paid["url"]) == ("complete", "paid", None)
    assert paid["customer"] == customer
    subscription = shop.api.subscriptions.retrieve(paid["subscription"])
    assert (subscription.status, subscription.metadata.to_dict()) == ("active", {"org_id": "acme"})
    assert subscription["items"].data[0].price.id == shop.price
    invoice = shop.api.invoices.retrieve(subscription.latest_invoice)
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == ("paid", 2000, "subscription_create")
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata.to_dict() == {"org_id": "acme"}


def test_the_events_of_a_purchase(shop: Shop) -> None:
    """Created incomplete, then active: the order that trips up who trusts payloads."""
    before = len(shop.told())
    shop.sim.pay(shop.session(customer_email="buyer@acme.test"))
    assert shop.told()[before:] == [
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "payment_intent.created",
        "invoice.finalized",
        "payment_intent.succeeded",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.subscription.updated",
        "checkout.session.completed",
    ]
    by_type = {event["type"]: event["data"] for event in shop.sim.events}
    assert by_type["customer.subscription.created"]["object"]["status"] == "incomplete"
    assert by_type["customer.subscription.updated"]["previous_attributes"] == {"status": "incomplete"}
    assert by_type["customer.created"]["object"]["email"] == "buyer@acme.test"


def test_a_declined_card_leaves_the_session_open(shop: Shop) -> None:
    """No subscription, no event; another card may still pay."""
    session, before = shop.session(), shop.told()
    tried = shop.sim.pay(session, card=DECLINED)
    assert (tried["status"], tried["subscription"]) == ("open", None)
    assert shop.told() == before
    assert shop.sim.pay(session, card="4242")["status"] == "complete"


def test_3d_secure_waits_for_the_buyer(shop: Shop) -> None:
    """The subscription is incomplete and the session open until the challenge is passed."""
    session = shop.session()
    assert shop.sim.pay(session, card=SECURE)["status"] == "open"
    waiting = shop.api.subscriptions.list({"status": "incomplete"}).data[0]
    intent = shop.api.payment_intents.list().data[0]
    assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
    done = shop.sim.authenticate(session)
    assert (done["status"], done["subscription"]) == ("complete", waiting.id)
    assert shop.status(waiting.id) == "active"
    assert shop.api.payment_intents.retrieve(intent.id).status == "succeeded"


def test_a_failed_challenge_can_be_paid_otherwise_or_expires(shop: Shop) -> None:
    """The same subscription is paid by another card; unpaid, it expires after 23 hours."""
    session, other = shop.session(), shop.session()
    for waiting in (session, other):
        shop.sim.pay(waiting, card=SECURE)
        assert shop.sim.authenticate(waiting, ok=False)["status"] == "open"
    expiring, first = (row.id for row in shop.api.subscriptions.list())
    assert shop.sim.pay(session)["subscription"] == first
    shop.sim.advance(timedelta(hours=23))
    assert (shop.status(first), shop.status(expiring)) == ("active", "incomplete_expired")
    assert shop.invoices(expiring) == ["void"]
    with pytest.raises(ValueError, match="waited too long"):
        shop.sim.authenticate(other)
    assert shop.sim.pay(other)["subscription"] not in (first, expiring)


@pytest.mark.parametrize(("ok", "status", "paid"), [(True, "active", "paid"), (False, "incomplete_expired", "unpaid")])
def test_an_async_payment_arrives_later(shop: Shop, ok: object, status: str, paid: str) -> None:
    """The session completes unpaid and the subscription waits, however many days it takes; a failure ends it."""
    session = shop.session()
    done = shop.sim.pay(session, method="async")
    assert (done["status"], done["payment_status"]) == ("complete", "unpaid")
    shop.sim.advance(timedelta(days=3))
    assert shop.status(done["subscription"]) == "incomplete"
    assert shop.sim.settle(session, ok=bool(ok))["payment_status"] == paid
    assert f"checkout.session.async_payment_{'succeeded' if ok else 'failed'}" in shop.told()
    assert shop.status(done["subscription"]) == status
    assert shop.sim.events[-1]["created"] == int(shop.clock.now().timestamp())


def test_an_async_payment_may_start_active_under_a_quirk() -> None:
    """Then a failure makes the subscription past due."""
    shop = Shop(quirks=Quirks(async_starts_active=True))
    session = shop.session()
    subscription = shop.sim.pay(session, method="async")["subscription"]
    assert shop.status(subscription) == "active"
    shop.sim.settle(session, ok=False)
    assert shop.status(subscription) == "past_due"


def test_a_trial_may_need_no_card(shop: Shop) -> None:
    """Where the session asks for none; its trial then ends as it was set."""
    data = {"trial_period_days": 7, "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}}}
    session = shop.session(payment_method_collection="if_required", subscription_data=data)
    made = shop.sim.pay(session, card=None)["subscription"]
    shop.sim.advance(timedelta(days=7))
    assert shop.status(made) == "paused"
    for wrong in (shop.session(), shop.session(payment_method_collection="if_required")):
        with pytest.raises(ValueError, match=r"payment_method_collection|amount_total"):
            shop.sim.pay(wrong, card=None)


def test_a_trial_costs_nothing_yet(shop: Shop) -> None:
    """The session needs no payment, and the subscription is trialing."""
    session = shop.sim.pay(shop.session(subscription_data={"trial_period_days": 14, "description": "try"}))
    assert session["payment_status"] == "no_payment_required"
    subscription = shop.api.subscriptions.retrieve(session["subscription"])
    assert (subscription.status, subscription.trial_end - subscription.trial_start) == ("trialing", 14 * 86400)
    end = subscription.trial_end + 86400
    later = shop.sim.pay(shop.session(subscription_data={"trial_end": end}))
    assert shop.api.subscriptions.retrieve(later["subscription"]).trial_end == end


@pytest.mark.parametrize("mode", ["payment", "setup"])
def test_other_modes_make_no_subscription(shop: Shop, mode: str) -> None:
    """They complete with an event that a subscription handler has to ignore."""
    once = shop.api.prices.create({"product": "kuploy_pro", "currency": "cad", "unit_amount": 500}).id
    lines: Row = {"line_items": [{"price": once, "quantity": 2}]} if mode == "payment" else {"currency": "cad"}
    session = shop.api.checkout.sessions.create({"mode": mode, "success_url": "https://host.test", **lines})
    done = shop.sim.pay(session.id)
    assert (done["status"], done["subscription"], done["mode"]) == ("complete", None, mode)
    assert (done["payment_intent"] is not None) == (mode == "payment")
    assert shop.told()[-1] == "checkout.session.completed"


def test_a_single_payment_knows_3d_secure_too(shop: Shop) -> None:
    """It waits, may fail, and may then be paid."""
    line = {"price_data": {"currency": "cad", "product": "kuploy_pro", "unit_amount": 500}, "quantity": 1}
    session = shop.session(mode="payment", line_items=[line])
    assert shop.sim.pay(session, card=SECURE)["status"] == "open"
    assert shop.sim.authenticate(session, ok=False)["status"] == "open"
    assert shop.sim.authenticate(session)["payment_status"] == "paid"
    assert len(shop.api.prices.list().data) == 1


def test_what_cannot_be_bought_is_refused(shop: Shop) -> None:
    """Archived prices, inactive products, one-time prices in a subscription, mixed currencies, strangers."""
    archived, dollars = shop.new_price(1), shop.new_price(1, currency="usd")
    shop.api.prices.update(archived, {"active": False})
    error = refused(lambda: shop.session(line_items=[{"price": archived, "quantity": 1}]))
    assert error["message"] == "The price specified is inactive. This field only accepts active prices."
    assert error["param"] == "line_items[0][price]"
    assert refused(lambda: shop.session(line_items=[{"price": "price_x"}]))["code"] == "resource_missing"
    assert refused(lambda: shop.session(line_items=[{"quantity": 1}]))["param"] == "line_items[0][price]"
    mixed = [{"price": shop.price, "quantity": 1}, {"price": dollars, "quantity": 1}]
    assert "same currency" in refused(lambda: shop.session(line_items=mixed))["message"]
    once = shop.api.prices.create({"product": "kuploy_pro", "currency": "cad", "unit_amount": 500}).id
    assert "recurring" in refused(lambda: shop.session(line_items=[{"price": once, "quantity": 1}]))["message"]
    assert refused(lambda: shop.session(mode="payment"))["param"] == "mode"
    assert refused(lambda: shop.session(customer="cus_none"))["param"] == "customer"
    shop.api.products.update("kuploy_pro", {"active": False})
    assert "product is not active" in refused(shop.session)["message"]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"mode": "payment", "subscription_data": {}, "line_items": []}, "line_items"),
        ({"customer": "a", "customer_email": "b"}, "customer"),
        ({"expires_at": 1}, "expires_at"),
        ({"subscription_data": {"metadata": {"k": "v" * 501}}}, "subscription_data[metadata][k]"),
        ({"ui_mode": "hosted_page", "success_url": None}, "success_url"),
        ({"mode": "payment", "subscription_data": {"description": "x"}}, "subscription_data"),
        ({"mode": None}, "mode"),
    ],
)
def test_a_session_needs_its_parameters(shop: Shop, params: Row, param: str) -> None:
    """What is missing or contradicts itself is named."""
    assert refused(lambda: shop.session(**params))["param"] == param


def test_a_session_expires_by_time_or_by_hand(shop: Shop) -> None:
    """After a day, or at once; then it cannot be paid nor expired again."""
    by_time, by_hand = shop.session(), shop.session(expires_at=int(shop.clock.now().timestamp()) + 3600)
    assert shop.api.checkout.sessions.expire(by_hand).status == "expired"
    shop.sim.advance(timedelta(days=1))
    listed = shop.api.checkout.sessions.list({"status": "expired"}).data
    assert [row.id for row in listed] == [by_hand, by_time]
    assert shop.told().count("checkout.session.expired") == 2
    assert "can be expired" in refused(lambda: shop.api.checkout.sessions.expire(by_time))["message"]
    with pytest.raises(ValueError, match="is expired, not open"):
        shop.sim.pay(by_time)


@pytest.mark.parametrize("sells", [True, False])
def test_whether_an_archived_price_can_still_be_paid_is_a_quirk(sells: object) -> None:
    """A session from before the archival either completes or stays open."""
    shop = Shop(quirks=Quirks(sells_archived_prices=bool(sells)))
    session = shop.session()
    shop.api.prices.update(shop.price, {"active": False})
    assert shop.sim.pay(session)["status"] == ("complete" if sells else "open")


def test_what_a_buyer_cannot_do_is_a_mistake_of_the_test(shop: Shop) -> None:
    """Unknown sessions and cards, challenges and payments that nobody waits for."""
    session = shop.session()
    for do, error in (
        (lambda: shop.sim.pay("cs_none"), LookupError),
        (lambda: shop.sim.pay(session, card="1234"), ValueError),
        (lambda: shop.sim.authenticate(session), ValueError),
        (lambda: shop.sim.settle(session), ValueError),
    ):
        with pytest.raises(error):
            do()


def test_a_portal_session_is_opened(shop: Shop) -> None:
    """For a customer that exists, where the operator has configured the portal."""
    customer = shop.customer()
    create = shop.api.billing_portal.sessions.create
    made = create({"customer": customer, "return_url": "https://host.test"})
    assert (made.customer, made.return_url) == (customer, "https://host.test")
    assert refused(create, {"customer": "cus_none"})["param"] == "customer"
    assert refused(create, {})["param"] == "customer"
    shop.sim.settings = type(shop.sim.settings)(has_portal=False)
    assert "default configuration has not been created" in refused(create, {"customer": customer})["message"]
