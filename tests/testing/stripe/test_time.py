"""What Stripe does by itself as time passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.testing.stripe.shop import Shop, refused

from kuploy_saas_kit._clock import SystemClock, to_timestamp
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.stripe import Quirks, StripeSimulator
from kuploy_saas_kit.testing.stripe.periods import next_boundary

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


def item_periods(shop: Shop, subscription: str) -> list[tuple[int, int]]:
    """The periods of a subscription's items."""
    items = shop.api.subscriptions.retrieve(subscription)["items"].data
    return [(item.current_period_start, item.current_period_end) for item in items]


def test_a_subscription_renews_by_the_calendar(shop: Shop) -> None:
    """Each month a draft, an hour later paid; a long jump does all that was missed, each at its own second."""
    made = shop.subscribed()
    ((_, first_end),) = item_periods(shop, made)
    shop.sim.advance(timedelta(days=30))
    assert shop.invoices(made) == ["paid", "draft"]
    shop.sim.advance(HOUR)
    assert shop.invoices(made) == ["paid", "paid"]
    ((start, _),) = item_periods(shop, made)
    assert start == first_end
    shop.sim.advance(timedelta(days=365))
    created = [row.created for row in shop.api.invoices.list({"subscription": made, "limit": 100})][::-1]
    assert len(created) == 14
    assert datetime.fromtimestamp(created[-1], UTC) == datetime(2027, 12, 1, 12, tzinfo=UTC)
    assert [row["request"]["id"] for row in shop.sim.events if row["type"] == "invoice.created"][1:] == [None] * 13


@pytest.mark.parametrize(
    ("start", "interval", "count", "end"),
    [
        ("2027-01-31", "month", 1, "2027-02-28"),
        ("2027-02-28", "month", 1, "2027-03-31"),
        ("2028-02-29", "year", 1, "2029-02-28"),
        ("2027-12-31", "month", 2, "2028-02-29"),
        ("2027-01-31", "week", 2, "2027-02-14"),
        ("2027-01-31", "day", 1, "2027-02-01"),
    ],
)
def test_periods_keep_the_day_of_their_anchor(start: str, interval: str, count: int, end: str) -> None:
    """Months that lack the day end on their last one, and the next has it again."""
    begin, expected = (to_timestamp(datetime.fromisoformat(f"{day}T00:00:00+00:00")) for day in (start, end))
    anchor = to_timestamp(datetime(2027, 1, 31, tzinfo=UTC)) if interval == "month" else begin
    assert next_boundary(begin, {"interval": interval, "interval_count": count}, anchor) == expected


def test_dunning_ends_as_the_account_chose(shop: Shop) -> None:
    """Past due at the first failure, retried after 3, 5 and 7 days, then canceled, unpaid, paused or left."""
    ends = {"cancel": "canceled", "unpaid": "unpaid", "pause": "paused", "past_due": "past_due"}
    for choice, end in ends.items():
        shop.sim.settings = replace(shop.sim.settings, after_retries=choice)  # type: ignore[arg-type]
        made = shop.subscribed()
        assert shop.sim.fail_payment(made)["status"] == "past_due"
        shop.sim.advance(timedelta(days=14))
        assert shop.status(made) == "past_due"
        failed = shop.api.invoices.retrieve(shop.sim.subscription(made)["latest_invoice"])
        assert (failed.status, failed.attempt_count) == ("open", 3)
        shop.sim.advance(DAY)
        assert shop.status(made) == end
        shop.api.subscriptions.cancel(made) if end != "canceled" else None
    assert "customer.subscription.paused" in shop.told()


def test_a_paid_invoice_brings_a_subscription_back(shop: Shop) -> None:
    """From past due and, by the documents' reading that the quirk chooses, from unpaid."""
    shop.sim.settings = replace(shop.sim.settings, after_retries="unpaid", retries=())
    made = shop.subscribed()
    assert shop.sim.fail_payment(made)["status"] == "unpaid"
    assert shop.sim.pay_invoice(made)["status"] == "active"
    with pytest.raises(ValueError, match="no invoice to pay"):
        shop.sim.pay_invoice(made)
    stubborn = Shop(quirks=Quirks(unpaid_recovers=False))
    stubborn.sim.settings = shop.sim.settings
    made = stubborn.subscribed()
    stubborn.sim.fail_payment(made)
    assert stubborn.sim.pay_invoice(made)["status"] == "unpaid"


def test_an_old_invoice_does_not_bring_a_subscription_back(shop: Shop) -> None:
    """While a newer one is open it stays past due, whatever is paid of what came before."""
    shop.sim.settings = replace(shop.sim.settings, after_retries="past_due", retries=())
    made = shop.subscribed()
    shop.sim.fail_payment(made)
    shop.sim.advance(timedelta(days=32))
    assert shop.invoices(made) == ["paid", "open", "open"]
    newest, older, _ = shop.api.invoices.list({"subscription": made}).data
    assert shop.api.invoices.pay(older.id, {"paid_out_of_band": True}).status == "paid"
    assert shop.status(made) == "past_due"
    shop.api.invoices.pay(newest.id, {"paid_out_of_band": True})
    assert shop.status(made) == "active"


@pytest.mark.parametrize(("voids", "status"), [(True, "void"), (False, "draft")])
def test_invoices_of_an_unpaid_subscription(voids: object, status: str) -> None:
    """They are made and not collected: drafts by two pages of the documents, closed by the specification."""
    shop = Shop(quirks=Quirks(voids_unpaid_invoices=bool(voids)))
    shop.sim.settings = replace(shop.sim.settings, after_retries="unpaid", retries=())
    made = shop.subscribed()
    shop.sim.fail_payment(made)
    shop.sim.advance(timedelta(days=31))
    assert shop.invoices(made) == ["paid", "open", status]


@pytest.mark.parametrize(
    ("behavior", "status"), [("void", "void"), ("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible")]
)
def test_paused_collection_keeps_the_subscription_active(shop: Shop, behavior: str, status: str) -> None:
    """Invoices go on and are not collected, until the pause ends by itself."""
    made = shop.subscribed()
    until = int((shop.clock.now() + timedelta(days=35)).timestamp())
    shop.api.subscriptions.update(made, {"pause_collection": {"behavior": behavior, "resumes_at": until}})
    shop.sim.advance(timedelta(days=31))
    assert (shop.status(made), shop.invoices(made)) == ("active", ["paid", status])
    shop.sim.advance(timedelta(days=35))
    assert shop.invoices(made) == ["paid", status, "paid"]


@pytest.mark.parametrize(
    ("behavior", "status"), [("create_invoice", "past_due"), ("cancel", "canceled"), ("pause", "paused")]
)
def test_a_trial_without_a_card_ends_as_it_was_set(shop: Shop, behavior: str, status: str) -> None:
    """Announced three days before, then billed in vain, canceled or paused."""
    made = shop.api.subscriptions.create(
        {
            "customer": shop.customer(),
            "items": [{"price": shop.price}],
            "trial_period_days": 14,
            "trial_settings": {"end_behavior": {"missing_payment_method": behavior}},
        }
    ).id
    shop.sim.advance(timedelta(days=10, hours=23))
    assert "customer.subscription.trial_will_end" not in shop.told()
    shop.sim.advance(HOUR)
    assert shop.told().count("customer.subscription.trial_will_end") == 1
    shop.sim.advance(timedelta(days=3, hours=1))
    assert shop.status(made) == status


def test_a_trial_with_a_card_goes_on_active(shop: Shop) -> None:
    """Its first real invoice is paid an hour after the trial."""
    made = shop.subscribed(subscription_data={"trial_period_days": 14})
    shop.sim.advance(timedelta(days=14, hours=1))
    assert (shop.status(made), shop.invoices(made)) == ("active", ["paid", "paid"])


def test_a_cancellation_at_period_end_happens_then(shop: Shop) -> None:
    """By the dashboard's flag and by the portal's moment; without another invoice."""
    flagged, portal, at_once = (shop.subscribed() for _ in range(3))
    shop.sim.cancel(flagged, at_period_end=True)
    shop.sim.portal_cancel(portal)
    assert shop.sim.cancel(at_once)["status"] == "canceled"
    shop.sim.advance(timedelta(days=29))
    assert {shop.status(flagged), shop.status(portal)} == {"active"}
    shop.sim.advance(DAY)
    assert {shop.status(flagged), shop.status(portal)} == {"canceled"}
    assert shop.invoices(flagged) == ["paid"]


def test_payments_fail_from_every_state_that_pays(shop: Shop) -> None:
    """An incomplete one stays so, a trial is cut short, a draft is taken first, what is free cannot fail."""
    session = shop.session()
    shop.sim.pay(session, card="3220")
    waiting = shop.api.subscriptions.list({"status": "incomplete"}).data[0].id
    assert shop.sim.fail_payment(waiting)["status"] == "incomplete"
    trial = shop.subscribed(subscription_data={"trial_period_days": 14})
    assert shop.sim.fail_payment(trial)["status"] == "past_due"
    due = shop.subscribed()
    shop.sim.advance(timedelta(days=30))
    assert shop.sim.fail_payment(due)["status"] == "past_due"
    assert shop.invoices(due) == ["paid", "open"]
    free = shop.api.subscriptions.create({"customer": shop.customer(), "items": [{"price": shop.new_price(0)}]}).id
    with pytest.raises(ValueError, match="costs nothing"):
        shop.sim.fail_payment(free)
    shop.sim.cancel(due)
    with pytest.raises(ValueError, match="is canceled"):
        shop.sim.fail_payment(due)


def test_pay_invoice_takes_drafts_too(shop: Shop) -> None:
    """A renewal that waits for its hour is paid at once; one that costs nothing is settled by finalizing it."""
    made = shop.subscribed()
    shop.sim.advance(timedelta(days=30))
    shop.sim.pay_invoice(made)
    assert shop.invoices(made) == ["paid", "paid"]
    free = shop.api.subscriptions.create({"customer": shop.customer(), "items": [{"price": shop.new_price(0)}]}).id
    shop.sim.advance(timedelta(days=31))
    shop.sim.pay_invoice(free)
    shop.sim.advance(timedelta(days=32))
    assert set(shop.invoices(free)) == {"paid"}


def test_items_of_different_rhythm_renew_apart(shop: Shop) -> None:
    """Only what falls due is billed."""
    annual = shop.new_price(20_000, recurring={"interval": "year"})
    made = shop.subscribed(line_items=[{"price": shop.price, "quantity": 1}, {"price": annual, "quantity": 1}])
    shop.sim.advance(timedelta(days=31))
    assert [row.total for row in shop.api.invoices.list({"subscription": made})] == [2000, 22_000]


def test_a_clock_that_cannot_be_advanced_is_run_ahead_of() -> None:
    """With the system's clock the simulator gets ahead by itself, and signs with the clock's own time."""
    sim = StripeSimulator(clock=SystemClock())
    sim.endpoint(lambda _payload, _signature: 200, secret="whsec_x")
    sim.advance(timedelta(days=400))
    sim.client().v1.products.create({"name": "Pro"})
    signed = int(sim.deliver()[0].signature.partition(",")[0].removeprefix("t="))
    assert timedelta(days=399) < timedelta(seconds=sim.events[0]["created"] - signed) < timedelta(days=401)


def test_a_shared_clock_moves_for_all() -> None:
    """`advance` moves a clock that can be moved; who moves it otherwise is caught up with at the next use."""
    shop = Shop(clock=ManualClock())
    before = shop.clock.now()
    shop.sim.advance(DAY)
    assert shop.clock.now() - before == DAY
    made = shop.subscribed()
    shop.clock.advance(timedelta(days=31))
    assert shop.sim.pending == []
    assert shop.invoices(made) == ["paid", "paid"]


def test_a_test_clock_moves_its_own_customers_only(shop: Shop) -> None:
    """Its subscription renews while another stands still; deleting the clock deletes what lives on it."""
    clocks = shop.api.test_helpers.test_clocks
    clock = clocks.create({"frozen_time": to_timestamp(shop.clock.now()), "name": "future"})
    customer = shop.customer(test_clock=clock.id, payment_method="pm_card_visa")
    fast, slow = shop.subscribed(customer=customer), shop.subscribed()
    advancing = clocks.advance(clock.id, {"frozen_time": clock.frozen_time + 31 * 86400})
    assert (advancing.status, clocks.retrieve(clock.id).status) == ("advancing", "ready")
    assert (shop.invoices(fast), shop.invoices(slow)) == (["paid", "paid"], ["paid"])
    assert shop.api.subscriptions.retrieve(fast).test_clock == clock.id
    assert [row.id for row in shop.api.customers.list({"test_clock": clock.id})] == [customer]
    assert [row.id for row in shop.api.subscriptions.list()] == [slow]
    assert [row.id for row in shop.api.subscriptions.list({"test_clock": clock.id})] == [fast]
    assert [row.id for row in clocks.list()] == [clock.id]
    assert refused(clocks.advance, clock.id, {"frozen_time": 1})["param"] == "frozen_time"
    assert clocks.delete(clock.id).deleted
    assert refused(shop.api.subscriptions.retrieve, fast)["status"] == 404
    assert refused(lambda: shop.customer(test_clock="clock_none"))["param"] == "test_clock"
    live = shop.sim.client("sk_live_1").v1.test_helpers.test_clocks
    assert "only be used in test mode" in refused(live.create, {"frozen_time": 1})["message"]
