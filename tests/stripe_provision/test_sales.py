"""Checkout, payment and webhooks from end to end, with the simulator as Stripe."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, permutations
from typing import Any, TypeAlias

import pytest
from tests.conftest import examples
from tests.stripe_provision.world import LIVE_KEY, TEST_KEY, TEST_SPACE, License, World, business, catalog, pro

from kuploy_saas_kit._clock import from_timestamp
from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import BillingDisabledError, CheckoutRefusedError, StripeRejectedError
from kuploy_saas_kit.model.subscription import Access, Assignment, OrgSubscription, StripeSpace
from kuploy_saas_kit.stripe_provision import (
    Checkout,
    CheckoutSession,
    SessionKind,
    StripeWebhooks,
    WebhookResult,
    naming,
)
from kuploy_saas_kit.stripe_provision.changes import ArchivePrice
from kuploy_saas_kit.stripe_provision.ports import MadePrice
from kuploy_saas_kit.testing.stripe.quirks import Quirks, Settings

SECRET = "whsec_shop"
WANTED = catalog(pro(), business())
SEED_EVENTS = (
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.paid",
    "invoice.payment_failed",
)


class Shop(World):
    """A world that sells: plans in place, an endpoint that takes Stripe's deliveries, a checkout."""

    store: MemoryStore

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.license = License()
        self.webhooks = StripeWebhooks(self.gateway, self.store, secrets=[SECRET], clock=self.clock)
        self.checkout = Checkout(self.gateway, self.store, self.license)
        self.statuses: list[int] = []
        self.reasons: list[str] = []
        self.sim.endpoint(self.receive, secret=SECRET, events=SEED_EVENTS)
        assert self.provisioner.provision(WANTED).is_complete

    def receive(self, payload: bytes, signature: str) -> int:
        """Answer a delivery."""
        outcome = self.webhooks.handle(payload, signature)
        self.statuses.append(outcome.status)
        self.reasons.append(outcome.reason)
        return outcome.status

    def start(self, org_id: str = "acme", plan: str = "pro") -> CheckoutSession:
        """Begin a checkout."""
        return self.checkout.start(org_id, plan, success_url="https://shop.test/ok", cancel_url="https://shop.test/no")

    def rows(self, org_id: str = "acme") -> list[OrgSubscription]:
        """The org's rows."""
        return list(self.store.subscriptions_of(org_id))

    def row(self, org_id: str = "acme") -> OrgSubscription:
        """The org's only row."""
        (row,) = self.rows(org_id)
        return row

    def sell(self, **how: Any) -> str:
        """Sell Pro to acme and deliver; the subscription's id."""
        self.sim.pay(self.start().id, **how)
        self.sim.deliver()
        return self.row().subscription_id


def test_a_good_card_buys_the_plan() -> None:
    """4242 pays at once; whatever the deliveries' order and number, acme is on Pro."""
    shop = Shop()
    session = shop.start()
    assert session.kind is SessionKind.CHECKOUT
    shop.sim.pay(session.id, "4242")
    shop.sim.deliver(order="reversed", duplicates=2)
    row = shop.row()
    assert (row.plan, row.status, row.access, row.org_id) == ("pro", "active", Access.GRANTED, "acme")
    assert row.period_end is not None
    assert set(shop.statuses) == {200}


def test_a_declined_card_leaves_nothing() -> None:
    """0002 stays on the checkout page: no subscription, no row; another card then buys."""
    shop = Shop()
    session = shop.start()
    shop.sim.pay(session.id, "0002")
    shop.sim.deliver()
    assert shop.rows() == []
    shop.sim.pay(session.id, "4242")
    shop.sim.deliver()
    assert shop.row().access is Access.GRANTED


@pytest.mark.parametrize(("succeeds", "access"), [(True, Access.GRANTED), (False, Access.NONE)])
def test_a_card_that_asks_for_authentication(succeeds: bool, access: Access) -> None:  # noqa: FBT001 - the question
    """3220 grants nothing until 3-D Secure succeeded, and nothing if it fails and the day passes."""
    shop = Shop()
    session = shop.start()
    shop.sim.pay(session.id, "3220")
    shop.sim.deliver()
    assert all(row.access is Access.NONE for row in shop.rows())
    shop.sim.authenticate(session.id, ok=succeeds)
    shop.sim.advance(timedelta(hours=24))
    shop.sim.deliver()
    assert max((row.access for row in shop.rows()), default=Access.NONE) is access


@pytest.mark.parametrize("starts_active", [True, False])
def test_a_payment_that_takes_days(starts_active: bool) -> None:  # noqa: FBT001 - the question
    """A delayed method ends in access once it is paid, under both of Stripe's undocumented answers."""
    shop = Shop(quirks=Quirks(async_starts_active=starts_active))
    session = shop.start()
    shop.sim.pay(session.id, method="async")
    shop.sim.deliver()
    shop.sim.settle(session.id)
    shop.sim.deliver()
    assert shop.row().access is Access.GRANTED


Hints: TypeAlias = list[tuple[bytes, str]]


def _six_changes(shop: Shop, bodies: Hints) -> Hints:
    """Six changes of a subscription that is paused in the end."""
    name = shop.sell()
    bodies.clear()
    for _ in range(2):
        shop.sim.portal_cancel(name)
        shop.sim.portal_renew(name)
        shop.sim.pause(name)
    shop.sim.deliver()
    return bodies[:6]


def _one_of_each_type(shop: Shop, bodies: Hints) -> Hints:
    """The seed's six types: a subscription that waits for 3-D Secure, is paid, fails to pay and is cancelled."""
    session = shop.start()
    shop.sim.pay(session.id, card="3220")
    name = str(shop.sim.authenticate(session.id)["subscription"])
    shop.sim.fail_payment(name)
    shop.sim.cancel(name)
    shop.sim.deliver()
    first = {json.loads(body)["type"]: (body, signature) for body, signature in reversed(bodies)}
    return [first[kind] for kind in SEED_EVENTS]


@pytest.mark.parametrize("happen", [_six_changes, _one_of_each_type])
def test_any_order_of_the_six_events_ends_the_same(happen: Callable[[Shop, Hints], Hints]) -> None:
    """All 720 orders of six events, each delivered twice, end in Stripe's last state (I17); not in CI every 31st."""
    shop = Shop()
    bodies: Hints = []

    def keep(payload: bytes, signature: str) -> int:
        bodies.append((payload, signature))
        return 200

    shop.sim.endpoint(keep, secret=SECRET)
    hints = happen(shop, bodies)
    assert len({body for body, _ in hints}) == 6
    (name,) = {row.subscription_id for row in shop.rows()}
    ends = set()
    for order in islice(permutations(hints), 0, None, 1 if examples(720) == 720 else 31):
        shop.store = MemoryStore()
        webhooks = StripeWebhooks(shop.gateway, shop.store, secrets=[SECRET], clock=shop.clock)
        for payload, signature in (*order, *reversed(order)):
            assert webhooks.handle(payload, signature).status == 200
        ends.add(shop.row())
    assert len(ends) == 1
    assert ends.pop().status == shop.sim.subscription(name)["status"]


def test_dunning_from_the_first_failure_to_the_end() -> None:
    """Past due counts from the unpaid invoice through all retries; paying clears it; the end takes access away."""
    shop = Shop()
    name = shop.sell()
    shop.sim.fail_payment(name)
    shop.sim.deliver()
    since = shop.row().past_due_since
    assert shop.row().access is Access.GRACE
    assert since is not None
    shop.sim.advance(timedelta(days=4))
    shop.sim.deliver()
    assert (shop.row().access, shop.row().past_due_since) == (Access.GRACE, since)
    shop.sim.pay_invoice(name)
    shop.sim.deliver()
    assert (shop.row().access, shop.row().past_due_since) == (Access.GRANTED, None)
    shop.sim.fail_payment(name)
    shop.sim.advance(timedelta(days=30))
    shop.sim.deliver()
    assert (shop.row().access, shop.row().is_terminal) == (Access.NONE, True)


def test_the_grace_counts_from_the_oldest_unpaid_invoice() -> None:
    """Renewals that fail after the first one do not move it, although each has a newer invoice and period (68)."""
    shop = Shop()
    shop.sim.settings = Settings(after_retries="past_due")
    name = shop.sell()
    shop.sim.advance(timedelta(days=3))
    shop.sim.fail_payment(name)
    shop.sim.deliver()
    first = shop.row().past_due_since
    for _ in range(2):
        shop.sim.advance(timedelta(days=35))
        shop.sim.deliver()
    listed = shop.stripe().v1.invoices.list({"subscription": name, "status": "open"}).data
    assert len({invoice.created for invoice in listed}) > 1
    assert shop.row().status == "past_due"
    assert shop.row().past_due_since == first == min(from_timestamp(invoice.created) for invoice in listed)
    assert shop.row().period_start != first


@pytest.mark.parametrize("after", ["cancel", "unpaid", "pause", "past_due"])
def test_each_setting_after_the_last_retry(after: Any) -> None:
    """Whatever the account does after its last retry: only an endless past_due leaves access, in grace."""
    shop = Shop()
    shop.sim.settings = Settings(after_retries=after)
    shop.sim.fail_payment(shop.sell())
    shop.sim.advance(timedelta(days=25))
    shop.sim.deliver()
    assert shop.row().access is (Access.GRACE if after == "past_due" else Access.NONE)
    assert shop.row().status == {"cancel": "canceled", "pause": "paused"}.get(after, after)


def test_a_cancellation_in_the_portal_and_its_withdrawal() -> None:
    """The portal's `cancel_at` shows as cancelling with access until then, and the withdrawal clears it."""
    shop = Shop()
    name = shop.sell()
    shop.sim.portal_cancel(name)
    shop.sim.deliver()
    assert shop.row().is_cancelling
    shop.sim.portal_renew(name)
    shop.sim.deliver()
    assert not shop.row().is_cancelling
    shop.sim.cancel(name, at_period_end=True)
    shop.sim.deliver()
    assert shop.row().is_cancelling
    shop.sim.advance(timedelta(days=40))
    shop.sim.deliver()
    assert shop.row().access is Access.NONE


def test_subscribers_keep_an_old_price() -> None:
    """After a price change the old subscription still maps to its plan, and the diff counted it."""
    shop = Shop()
    shop.sell()
    wanted = catalog(pro(2500), business())
    assert any("1 subscriptions stay" in str(change) for change in shop.provisioner.diff(wanted))
    assert shop.provisioner.provision(wanted).is_complete
    shop.webhooks.sync_org("acme")
    assert shop.row().plan == "pro"
    assert shop.row().price_id != shop.sold("pro")["id"]  # type: ignore[index]


def test_the_diff_counts_who_stays() -> None:
    """Subscriptions of any org that still go on are counted, over all pages; those that have ended are not."""
    shop = Shop()
    for number in range(3):
        shop.sim.pay(shop.start(f"org_{number}").id)
    shop.sim.deliver()
    shop.sim.fail_payment(shop.row("org_0").subscription_id)
    shop.sim.cancel(shop.row("org_1").subscription_id)
    wanted = catalog(pro(2500), business())
    (archive,) = [change for change in shop.provisioner.diff(wanted) if isinstance(change, ArchivePrice)]
    assert archive.subscribers == 2
    assert "(2 subscriptions stay on it)" in str(archive)


def test_a_price_archived_in_between_is_retried_once() -> None:
    """A checkout that read the mapping before a price change sells the new price."""
    shop = Shop()
    changed: list[str] = []

    def change_price(method: str, path: str) -> None:
        if path == "/v1/checkout/sessions" and not changed:
            changed.append(path)
            other, _ = shop.replica()
            assert other.provision(catalog(pro(2500), business())).is_complete

    shop.wire.before = change_price
    session = shop.start()
    shop.sim.pay(session.id)
    shop.sim.deliver()
    assert shop.row().price_id == shop.sold("pro")["id"]  # type: ignore[index]


def test_a_price_archived_by_hand_is_an_error_that_says_so() -> None:
    """Where nobody made a new price, Stripe's refusal reaches the caller after one try."""
    shop = Shop()
    price_id = shop.sold("pro")["id"]  # type: ignore[index]
    shop.stripe().v1.products.update("kuploy_pro", {"default_price": ""})
    shop.stripe().v1.prices.update(price_id, {"active": False})
    shop.forget_requests()
    with pytest.raises(StripeRejectedError, match="inactive"):
        shop.start()
    assert [request.path for request in shop.writes].count("/v1/checkout/sessions") == 1


@pytest.mark.parametrize(("plan", "why"), [("internal", "Internal"), ("free", "not on sale"), ("nope", "not on sale")])
def test_plans_that_are_not_sold(plan: str, why: str) -> None:
    """Internal, default and unknown plans are refused before Stripe is asked to write anything."""
    shop = Shop()
    shop.forget_requests()
    with pytest.raises(CheckoutRefusedError, match=why):
        shop.start(plan=plan)
    assert shop.writes == []


def test_the_license_must_permit_new_checkouts() -> None:
    """Without CREATE no checkout opens; the portal for what runs stays open."""
    shop = Shop()
    shop.sell()
    shop.license.is_active = False
    with pytest.raises(CheckoutRefusedError, match="license"):
        shop.start()
    assert shop.checkout.portal("acme", return_url="https://shop.test/").kind is SessionKind.PORTAL


def test_without_keys_nothing_is_sold() -> None:
    """No keys: checkout says so, and a delivery asks Stripe to come again."""
    shop = Shop()
    shop.sim.pay(shop.start().id)
    shop.key = None
    with pytest.raises(BillingDisabledError):
        shop.start()
    shop.sim.deliver()
    assert set(shop.statuses) == {503}
    shop.key = "sk_test_sim"
    shop.sim.deliver()
    assert shop.row().access is Access.GRANTED


def test_an_org_that_pays_is_sent_to_the_portal() -> None:
    """Whoever has a subscription that goes on changes it, and does not buy a second one."""
    shop = Shop()
    shop.sell()
    assert shop.start(plan="business").kind is SessionKind.PORTAL
    shop.sim.cancel(shop.row().subscription_id)
    shop.sim.deliver()
    assert shop.start(plan="business").kind is SessionKind.CHECKOUT


def test_a_customer_deleted_by_hand_is_no_dead_end() -> None:
    """An org whose customer somebody deleted at Stripe buys as another one, and manages that."""
    shop = Shop()
    shop.sell()
    shop.stripe().v1.customers.delete(shop.row().customer_id)
    shop.sim.deliver()
    assert shop.row().is_terminal
    session = shop.start()
    assert session.kind is SessionKind.CHECKOUT
    shop.sim.pay(session.id)
    shop.sim.deliver()
    assert [row.access for row in shop.rows()] == [Access.NONE, Access.GRANTED]
    assert shop.start().kind is SessionKind.PORTAL
    assert shop.checkout.portal("acme", return_url="https://shop.test/").kind is SessionKind.PORTAL


def test_what_another_customer_bought_is_found_without_a_webhook() -> None:
    """The customer that takes a deleted one's place is remembered, so that the success page finds what it bought."""
    shop = Shop()
    shop.sell()
    for _ in range(2):  # within a day Stripe repeats the answer to the same request for a customer
        gone = shop.store.customer_of(TEST_SPACE, "acme")
        shop.stripe().v1.customers.delete(str(gone))
        shop.webhooks.resync_all()
        session = shop.start()
        assert session.kind is SessionKind.CHECKOUT
        assert shop.store.customer_of(TEST_SPACE, "acme") != gone
        shop.sim.pay(session.id)
        shop.webhooks.sync_org("acme")
        assert shop.rows()[-1].access is Access.GRANTED
        assert shop.rows()[-1].customer_id == shop.store.customer_of(TEST_SPACE, "acme")


def test_races_for_a_deleted_customers_place_end_with_one() -> None:
    """Eight checkouts at once after the customer was deleted make one other customer."""
    shop = Shop()
    shop.start()
    shop.stripe().v1.customers.delete(str(shop.store.customer_of(TEST_SPACE, "acme")))
    _race(8, shop.start)
    (customer,) = shop.stripe().v1.customers.list({"limit": 100}).data
    assert customer.id == shop.store.customer_of(TEST_SPACE, "acme")


def test_a_missing_price_leaves_the_customer_alone() -> None:
    """Stripe's refusal for a price that it does not have reaches the caller, and the customer stays the org's."""
    shop = Shop()
    shop.start()
    customer = shop.store.customer_of(TEST_SPACE, "acme")
    held = shop.store.load_mappings(TEST_SPACE)["pro"]
    made = MadePrice(price_id="price_gone", slug="pro", product_id=held.product_id, lookup_key="x")
    shop.store.put_mapping(TEST_SPACE, replace(held, price_id="price_gone"), made)
    with pytest.raises(StripeRejectedError) as caught:
        shop.start()
    assert (caught.value.code, caught.value.param) == ("resource_missing", "line_items[0][price]")
    assert shop.store.customer_of(TEST_SPACE, "acme") == customer


def internal(until: datetime | None = None) -> Assignment:
    """Acme on the Internal plan."""
    return Assignment(
        org_id="acme",
        plan="internal",
        actor="root",
        reason="ours",
        assigned_at=datetime(2026, 1, 1, tzinfo=UTC),
        until=until,
    )


def test_an_internal_org_buys_nothing() -> None:
    """Internal bypasses billing: the checkout is refused until the assignment is taken away or over."""
    shop = Shop()
    checkout = Checkout(shop.gateway, shop.store, shop.license, standings=shop.store, clock=shop.clock)

    def start() -> CheckoutSession:
        return checkout.start("acme", "pro", success_url="https://shop.test/ok", cancel_url="https://shop.test/no")

    shop.store.put_assignment(internal())
    shop.forget_requests()
    with pytest.raises(CheckoutRefusedError, match="unassign it first"):
        start()
    assert shop.sim.requests == []
    shop.store.end_assignment("acme", actor="root", reason="over", at=shop.clock.now())
    assert start().kind is SessionKind.CHECKOUT
    shop.store.put_assignment(internal(until=shop.clock.now()))
    assert start().kind is SessionKind.CHECKOUT
    shop.store.put_assignment(replace(internal(), plan="business"))
    assert start().kind is SessionKind.CHECKOUT


def test_a_running_subscription_of_an_internal_org_is_shown_and_not_cancelled() -> None:
    """An assignment never touches Stripe: the subscription stays, webhooks keep its row, and the portal opens."""
    shop = Shop()
    name = shop.sell()
    shop.forget_requests()
    shop.store.put_assignment(internal())
    assert shop.sim.requests == []
    checkout = Checkout(shop.gateway, shop.store, shop.license, standings=shop.store, clock=shop.clock)
    with pytest.raises(CheckoutRefusedError, match="portal"):
        checkout.start("acme", "pro", success_url="https://shop.test/ok", cancel_url="https://shop.test/no")
    shop.sim.switch_plan(name, shop.sold("business")["id"])  # type: ignore[index]
    shop.sim.deliver()
    standing = shop.store.standing("acme")
    assert standing.assignment == internal()
    assert standing.subscription is not None
    assert (standing.subscription.plan, standing.subscription.access) == ("business", Access.GRANTED)
    assert checkout.portal("acme", return_url="https://shop.test/").kind is SessionKind.PORTAL


def test_nobody_buys_twice_while_webhooks_are_late() -> None:
    """An org that has just paid is sent to the portal before any delivery arrived."""
    shop = Shop()
    shop.sim.pay(shop.start().id)
    assert shop.rows() == []
    assert shop.start().kind is SessionKind.PORTAL


def test_an_org_that_never_bought_has_no_portal() -> None:
    """There is nothing to manage before the first checkout."""
    with pytest.raises(CheckoutRefusedError, match="nothing to manage"):
        Shop().checkout.portal("acme", return_url="https://shop.test/")


def _race(count: int, body: Callable[[], object]) -> None:
    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_one_customer_for_an_org_under_races() -> None:
    """Eight first checkouts at once, none of which knows a customer when it makes one, make one at Stripe."""
    shop = Shop()
    together = threading.Barrier(8)

    def wait_for_all(method: str, path: str) -> None:
        if (method, path) == ("POST", "/v1/customers"):
            together.wait(60)

    shop.wire.before = wait_for_all
    _race(8, shop.start)
    shop.wire.before = None
    customers = {session.customer for session in shop.stripe().v1.checkout.sessions.list({"limit": 100}).data}
    assert customers == {shop.store.customer_of(TEST_SPACE, "acme")}
    assert len(shop.stripe().v1.customers.list({"limit": 100}).data) == 1


class OvertakenStore(MemoryStore):
    """In which another process keeps a customer of its own just before."""

    quicker = ""

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        """Keep theirs, then be asked for ours."""
        super().keep_customer(space, org_id, self.quicker)
        return super().keep_customer(space, org_id, customer_id)


def test_the_customer_that_is_kept_first_buys() -> None:
    """Where two processes made two customers all the same, both sell to the one that the store has."""
    store = OvertakenStore()
    shop = Shop(store=store)
    store.quicker = shop.stripe().v1.customers.create({"name": "Acme"}).id
    session = shop.stripe().v1.checkout.sessions.retrieve(shop.start().id)
    assert session.customer == store.quicker


def test_a_stored_failure_does_not_bar_the_customer_for_a_day() -> None:
    """A failure that Stripe keeps under the customer's key is passed by, not replayed."""
    shop = Shop()
    shop.sim.fault("saved_500", match="POST /v1/customers")
    assert shop.start().kind is SessionKind.CHECKOUT


def test_the_buyer_need_not_wait_for_a_webhook() -> None:
    """On the success page `sync_org` finds what was bought, without any delivery."""
    shop = Shop()
    shop.sim.pay(shop.start().id)
    shop.webhooks.sync_org("acme")
    assert shop.row().access is Access.GRANTED


@pytest.mark.parametrize("lost", ["customer.subscription.updated", "checkout.session.completed", "invoice.paid"])
def test_any_lost_event_is_made_up_by_the_others(lost: str) -> None:
    """Each event is only a hint: without any one of them the row is right."""
    shop = Shop()
    shop.sim.pay(shop.start().id)
    shop.sim.deliver(drop=[lost])
    assert shop.row().access is Access.GRANTED


def test_four_days_without_an_endpoint() -> None:
    """What `backfill_events` and `resync_all` find is what live deliveries would have written."""
    live, late = Shop(), Shop()
    for shop in (live, late):
        before = shop.clock.now()
        name = shop.sim.pay(shop.start().id)["subscription"]
        shop.sim.switch_plan(name, shop.sold("business")["id"])  # type: ignore[index]
        shop.sim.advance(timedelta(days=4))
        if shop is live:
            shop.sim.deliver()
        else:
            handled = shop.webhooks.backfill_events(before)
            known = [event["id"] for event in shop.sim.events if event["type"] in SEED_EVENTS]
            assert [outcome.event_id for outcome in handled] == known  # in the order of their making
            assert {outcome.result for outcome in shop.webhooks.backfill_events(before)} == {WebhookResult.DUPLICATE}
    assert live.row() == late.row()
    assert late.webhooks.resync_all().changes == ()


def test_going_live_sells_anew() -> None:
    """With the live key the same org is another customer and its test subscription counts for nothing there."""
    shop = Shop()
    shop.sell()
    shop.key = LIVE_KEY
    with pytest.raises(CheckoutRefusedError):
        shop.start()
    assert shop.provisioner.provision(WANTED).is_complete
    assert shop.start().kind is SessionKind.CHECKOUT
    assert shop.store.customer_of(shop.gateway.space(), "acme") != shop.store.customer_of(TEST_SPACE, "acme")


def test_a_subscription_of_test_mode_is_none_too_many() -> None:
    """An org that bought in test mode and buys again in live mode pays for one: nobody is alarmed."""
    shop = Shop()
    shop.sell()
    shop.key = LIVE_KEY
    assert shop.provisioner.provision(WANTED).is_complete
    shop.sim.pay(shop.start().id)
    (sync,) = shop.webhooks.sync_org("acme")
    assert len(shop.rows()) == 2
    assert sync.change is not None
    assert sync.alarms == ()


def test_test_subscriptions_end_with_going_live() -> None:
    """From the first run or delivery with live keys on test mode grants nothing; with the test key it does again."""
    shop = Shop()
    shop.sell()
    for key, counts in ((LIVE_KEY, False), (TEST_KEY, True)):
        shop.key = key
        assert shop.provisioner.provision(WANTED, dry_run=True).dry_run
        assert (shop.store.standing("acme").subscription is None) is counts  # a dry run writes nothing
        shop.provisioner.provision(WANTED)
        assert (shop.store.standing("acme").subscription is not None) is counts


class ToldStore(MemoryStore):
    """Remembers which spaces it was told to use."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[StripeSpace] = []

    def use_space(self, space: StripeSpace) -> None:
        """Use it, and remember."""
        self.told.append(space)
        super().use_space(space)


def test_a_delivery_says_which_space_is_current() -> None:
    """A process that only takes deliveries follows the keys too, and tells the store once."""
    store = ToldStore()
    shop = Shop(store=store)
    shop.sell()
    store.told.clear()
    shop.key = LIVE_KEY
    for _ in range(2):
        shop.webhooks.sync_org("acme")
    assert shop.store.standing("acme").subscription is None
    assert store.told == [shop.gateway.space()]
    shop.key = TEST_KEY
    shop.sim.fail_payment(shop.rows()[0].subscription_id)
    shop.sim.deliver()
    assert store.told[1:] == [TEST_SPACE]
    assert shop.row().access is Access.GRACE
    assert shop.store.standing("acme").subscription == shop.row()


def test_sessions_carry_who_buys() -> None:
    """Customer, session and subscription name the org in metadata that only the server writes."""
    shop = Shop()
    session = shop.stripe().v1.checkout.sessions.retrieve(shop.start().id)
    customer = shop.stripe().v1.customers.retrieve(str(session.customer))
    marks = naming.org_metadata("kuploy", "acme")
    assert session.metadata is not None
    assert customer.metadata is not None
    assert session.metadata.to_dict() == customer.metadata.to_dict() == marks
    bought = shop.sim.pay(session.id)["subscription"]
    assert shop.sim.subscription(bought)["metadata"] == marks
