"""In random histories of buyers, operators and time, what the simulator tells is what it holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import stripe
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from tests.conftest import examples
from tests.testing.stripe.shapes import problems
from tests.testing.stripe.shop import Row, Shop

CARDS = ("4242", "0002", "3220", "0341")
TERMINAL = ("canceled", "incomplete_expired")
REFUSALS = (stripe.StripeError, ValueError)


class Histories(RuleBasedStateMachine):
    """Whatever may happen to a shop, in any order; what cannot happen now is refused and changes nothing."""

    sessions = Bundle("sessions")
    subscriptions = Bundle("subscriptions")

    @initialize(target=subscriptions, after=st.sampled_from(["cancel", "unpaid", "pause", "past_due"]))
    def open_shop(self, after: Any) -> Any:
        """An account with two monthly prices and an annual one, a subscriber and somebody on trial."""
        self.shop = Shop()
        self.sim = self.shop.sim
        self.sim.settings = type(self.sim.settings)(after_retries=after)
        annual = {"interval": "year"}
        self.prices = [self.shop.price, self.shop.new_price(5000), self.shop.new_price(20_000, recurring=annual)]
        self.ended: dict[str, str] = {}
        return multiple(self.shop.subscribed(), self.shop.subscribed(subscription_data={"trial_period_days": 14}))

    @rule(target=subscriptions, price=st.integers(0, 2))
    def subscribe(self, price: int) -> str:
        """Somebody buys."""
        return self.shop.subscribed(line_items=[{"price": self.prices[price], "quantity": 1}])

    @rule(target=sessions, trial=st.sampled_from([None, 1, 40]), price=st.integers(0, 2))
    def start(self, trial: int | None, price: int) -> str:
        """Somebody opens a checkout."""
        data: Row = {} if trial is None else {"subscription_data": {"trial_period_days": trial}}
        return self.shop.session(line_items=[{"price": self.prices[price], "quantity": 1}], **data)

    @rule(target=subscriptions, session=sessions, card=st.sampled_from([*CARDS, "async"]))
    def pay(self, session: str, card: str) -> Any:
        """Somebody pays, or tries to."""
        how: Row = {"method": "async"} if card == "async" else {"card": card}
        return self._subscription(lambda: self.sim.pay(session, **how))

    @rule(target=subscriptions, session=sessions, ok=st.booleans())
    def authenticate(self, session: str, ok: bool) -> Any:  # noqa: FBT001 - Hypothesis passes it by name
        """The buyer answers a challenge, if there is one."""
        return self._subscription(lambda: self.sim.authenticate(session, ok=ok))

    @rule(target=subscriptions, session=sessions, ok=st.booleans())
    def settle(self, session: str, ok: bool) -> Any:  # noqa: FBT001 - Hypothesis passes it by name
        """A delayed payment arrives or fails, if there is one."""
        return self._subscription(lambda: self.sim.settle(session, ok=ok))

    def _subscription(self, do: Any) -> Any:
        try:
            made = do()["subscription"]
        except REFUSALS:
            return multiple()
        return multiple() if made is None else made

    @rule(hours=st.sampled_from([1, 12, 24, 24 * 3, 24 * 7, 24 * 31, 24 * 100]))
    def wait(self, hours: int) -> None:
        """Time passes."""
        self.sim.advance(timedelta(hours=hours))

    @rule(
        subscription=subscriptions,
        what=st.sampled_from(
            ["fail_payment", "pay_invoice", "portal_cancel", "portal_renew", "pause", "resume", "cancel"]
        ),
    )
    def act(self, subscription: str, what: str) -> None:
        """The bank, the portal or the dashboard acts."""
        self._try(lambda: getattr(self.sim, what)(subscription))

    @rule(subscription=subscriptions, price=st.integers(0, 2))
    def switch(self, subscription: str, price: int) -> None:
        """The customer chooses another plan."""
        self._try(lambda: self.sim.switch_plan(subscription, self.prices[price]))

    @rule(
        subscription=subscriptions,
        change=st.sampled_from(
            [
                {"cancel_at_period_end": True},
                {"cancel_at_period_end": False},
                {"metadata": {"org_id": "acme"}},
                {"pause_collection": {"behavior": "void"}},
                {"pause_collection": ""},
                {"trial_end": "now"},
                {"default_payment_method": "pm_card_visa"},
            ]
        ),
    )
    def update(self, subscription: str, change: Row) -> None:
        """The host updates it through the API."""
        self._try(lambda: self.shop.api.subscriptions.update(subscription, change))

    def _try(self, do: Any) -> None:
        try:
            do()
        except REFUSALS:
            return

    def _objects(self, kind: str) -> list[Row]:
        space = self.sim._spaces[False]
        return [space.rendered(row) for row in space.rows(kind)]

    def _last_told(self, prefix: str) -> dict[str, Row]:
        told = (event for event in self.sim._spaces[False].rows("event") if event["type"].startswith(prefix))
        return {event["data"]["object"]["id"]: event["data"]["object"] for event in told}

    @invariant()
    def the_last_event_of_a_subscription_is_its_state(self) -> None:
        """Nothing about a subscription changes without an event."""
        told = self._last_told("customer.subscription.")
        for row in self._objects("subscription"):
            assert {name: row[name] for name in row if row[name] != told[row["id"]].get(name)} == {}

    @invariant()
    def the_last_event_of_an_invoice_says_how_it_stands(self) -> None:
        """Status, amounts and attempts of an invoice never change in silence."""
        told = self._last_told("invoice.")
        for row in self._objects("invoice"):
            for name in ("status", "amount_paid", "amount_remaining", "attempt_count", "number"):
                assert row[name] == told[row["id"]][name]

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        """No way leads out of canceled and incomplete_expired."""
        for row in self._objects("subscription"):
            assert row["status"] == self.ended.get(row["id"], row["status"])
            if row["status"] in TERMINAL:
                self.ended[row["id"]] = row["status"]
                assert row["ended_at"] is not None

    @invariant()
    def statuses_agree_with_invoices(self) -> None:
        """Active and trialing ones owe nothing that was due before; an open session has no subscription."""
        for session in self._objects("checkout.session"):
            assert (session["status"] == "complete") == (session["subscription"] is not None)
        for row in self._objects("subscription"):
            if row["status"] == "incomplete":
                assert self.sim._spaces[False].table("invoice")[row["latest_invoice"]]["status"] == "open"

    @invariant()
    def nothing_is_overdue(self) -> None:
        """Periods contain the present, and no cancellation is still to come that should have been."""
        now = int(self.shop.clock.now().timestamp())
        for row in self._objects("subscription"):
            if row["status"] in ("active", "past_due", "unpaid", "trialing"):
                assert all(
                    item["current_period_start"] <= now < item["current_period_end"] for item in row["items"]["data"]
                )
                assert row["cancel_at"] is None or row["cancel_at"] > now

    def teardown(self) -> None:
        """All that was made and told has Stripe's shape."""
        if not hasattr(self, "sim"):
            return
        for kind in ("subscription", "invoice", "checkout.session", "payment_intent", "event"):
            for row in self._objects(kind)[-5:]:
                assert problems(row) == []


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=examples(25), stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)
