"""Cases 46 to 78: webhooks and subscriptions, with Stripe as a book."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.stripe_provision.book import (
    NOW,
    OLD_SECRET,
    SECRET,
    Book,
    Office,
    event,
    item,
    remote,
    signature,
    store_with_plans,
)
from tests.stripe_provision.cases import case
from tests.stripe_provision.world import TEST_SPACE

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.model.subscription import Access, OrgSubscription, effective_subscription
from kuploy_saas_kit.stripe_provision import Alarm, BillingNotice, NoticeKind, StripeWebhooks, WebhookResult, naming
from kuploy_saas_kit.stripe_provision.ports import RemoteEvent, SubscriptionPut

SESSION = {"object": "checkout.session", "id": "cs_1", "mode": "subscription", "subscription": "sub_1"}
INVOICE = {"object": "invoice", "id": "in_1", "parent": {"subscription_details": {"subscription": "sub_1"}}}


def active() -> Office:
    """An office in which acme pays for Pro."""
    office = Office()
    office.put()
    assert office.deliver().result is WebhookResult.APPLIED
    return office


@case(46, "the same event twice")
def _() -> None:
    office = active()
    again = office.deliver()
    assert (again.status, again.result) == (200, WebhookResult.DUPLICATE)
    assert office.book.fetches == 1


@case(46, "the same event twice at once")
def _() -> None:
    office = Office()
    office.put()
    both = threading.Barrier(2)
    office.book.on_fetch = lambda: None if both.broken else _wait(both)
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda: outcomes.append(office.deliver())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {outcome.status for outcome in outcomes} == {200}
    assert office.store.load_subscription("sub_1").version == 1


def _wait(barrier: threading.Barrier) -> None:
    barrier.wait(60)


@case(47, "two events for one change")
def _() -> None:
    office = active()
    assert office.deliver(event("evt_2")).result is WebhookResult.UNCHANGED
    assert office.store.load_subscription("sub_1").version == 1


@case(48, "updated before created, and two in one second")
def _() -> None:
    office = active()
    office.deliver(event("evt_0", "customer.subscription.created"))
    assert office.row().known_status == "active"  # type: ignore[union-attr]
    office.put(status="past_due")
    office.deliver(event("evt_3"))
    office.put(status="active")
    office.deliver(event("evt_2"))
    assert office.row().known_status == "active"  # type: ignore[union-attr]


@case(49, "a slow worker with an old answer")
def _() -> None:
    office = Office()
    office.put(status="incomplete")

    def overtake() -> None:
        office.book.on_fetch = None
        office.put(status="active")
        office.deliver(event("evt_2"))

    office.book.on_fetch = overtake
    assert office.deliver(event("evt_1")).status == 200
    assert office.row().known_status == "active"  # type: ignore[union-attr]
    assert office.book.fetches == 3


@case(50, "a crash inside the transaction")
def _() -> None:
    office = Office()
    office.put()

    def crash(_change: Any, _connection: Any) -> None:
        raise KeyboardInterrupt

    body = event()
    with pytest.raises(KeyboardInterrupt):
        office.another(on_change=crash).handle(body, signature(body))
    assert office.row() is None
    assert office.deliver().result is WebhookResult.APPLIED


@case(51, "a listener raises after the commit")
def _() -> None:
    office = Office()
    office.put()

    def fail(_notice: BillingNotice) -> None:
        raise RuntimeError("the mail server is down")

    office.webhooks.add_listener(fail)
    assert office.deliver().result is WebhookResult.APPLIED
    assert office.deliver().result is WebhookResult.DUPLICATE


@case(52, "deleted, then a late update")
def _() -> None:
    office = active()
    office.put(status="canceled")
    office.deliver(event("evt_2", "customer.subscription.deleted"))
    office.put(status="active")
    office.deliver(event("evt_3"))
    assert office.row().known_status == "canceled"  # type: ignore[union-attr]


@case(53, "a secret is rolled")
def _() -> None:
    office = Office()
    office.put()
    for name, secret in (("evt_1", SECRET), ("evt_2", OLD_SECRET)):
        assert office.deliver(event(name), secret=secret).status == 200
    office.webhooks = office.another(secrets=[SECRET])
    assert office.deliver(event("evt_3"), secret=OLD_SECRET).status == 400
    body = event("evt_4")
    both = f"{signature(body, secret=OLD_SECRET)},{signature(body).partition(',')[2]}"
    assert office.webhooks.handle(body, both).status == 200


@case(54, "an endpoint without a secret is never open")
def _() -> None:
    for secrets in ([], [""], [" "], ["whsec_x\n"], ["secret"]):
        with pytest.raises(ConfigurationError):
            StripeWebhooks(Book(), store_with_plans(), secrets=secrets)
    office = Office()
    for late in ([], [""]):
        office.webhooks = office.another(secrets=lambda late=late: late)
        body = event()
        assert office.webhooks.handle(body, signature(body, secret="")).status == 503
    assert office.book.fetches == 0


@case(55, "hostile headers and bodies")
def _() -> None:
    office = Office()
    body = event()
    digest = signature(body).partition("v1=")[2]
    headers: list[Any] = [
        None,
        "",
        "garbage",
        "t=,v1=",
        f"t={10**30},v1={digest}",
        f"t=-1,v1={digest}",
        "t=1" + ",v1=00" * 1000,
        signature(body, scheme="v0"),
        "t=1,v1=é",
        signature(body).replace("v1=", "v1=\ud800,v1="),
        signature(body) + ",v1=00" * 1000,
        b"t=1,v1=0",
        signature(body).upper(),
        signature(body).replace("t=", "T="),
    ]
    for header in headers:
        assert office.webhooks.handle(body, header).status == 400
    bodies: list[Any] = [
        b"x" * 10_000_000,
        b"\xff\xfe",
        b"[]",
        b"NaN",
        b'{"id": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"",
        b"null",
        b'{"object": "event"}',
        event(created=10**20),
        event(id=1),
        event(data={"object": []}),
        event().replace(b"evt_1", b"evt_\x00"),
        event().replace(b"evt_1", b"e" * 300),
    ]
    for hostile in bodies:
        assert office.webhooks.handle(hostile, signature(hostile)).status == 400
    no_bytes: list[Any] = ["text", None, {}]
    for wrong in no_bytes:
        assert office.webhooks.handle(wrong, "t=1,v1=0").status == 400
    assert office.book.fetches == 0


@case(55, "a body that is rightly signed and larger than any event")
def _() -> None:
    office = active()
    largest = event("evt_2").ljust(1024 * 1024)
    assert office.deliver(largest).status == 200
    refused = office.deliver(event("evt_3").ljust(1024 * 1024 + 1))
    assert (refused.status, refused.reason) == (400, "the payload is larger than any event")
    assert office.book.fetches == 2


@case(56, "clocks that differ")
def _() -> None:
    office = Office()
    office.put()
    body = event()
    for seconds, status in ((-301, 400), (301, 400), (-60, 200), (60, 200), (-300, 200)):
        header = signature(body, at=NOW + timedelta(seconds=seconds))
        assert office.webhooks.handle(body, header).status == status


@case(57, "a body that was written anew on its way")
def _() -> None:
    office = Office()
    body = event()
    outcome = office.webhooks.handle(json.dumps(json.loads(body), indent=1).encode(), signature(body))
    assert outcome.status == 400
    assert "byte by byte" in outcome.reason


@case(58, "endpoints of any API version")
def _() -> None:
    shapes: list[dict[str, Any]] = [
        INVOICE,
        {"object": "invoice", "subscription": "sub_1"},
        {"object": "invoice", "subscription": {"id": "sub_1", "object": "subscription"}},
        SESSION,
        {"object": "subscription", "id": "sub_1", "plan": {"id": "old"}, "current_period_end": 1},
    ]
    rows = set()
    for number, thing in enumerate(shapes):
        office = Office()
        office.put()
        assert office.deliver(event(f"evt_{number}", thing=thing)).result is WebhookResult.APPLIED
        rows.add(office.row())
    assert len(rows) == 1


@case(59, "a thin event")
def _() -> None:
    office = Office()
    thin = {"id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "created": "2026"}
    assert office.deliver(json.dumps(thin).encode()).result is WebhookResult.IGNORED


@case(60, "an event of the other mode")
def _() -> None:
    office = Office()
    office.put()
    outcome = office.deliver(event(livemode=True))
    assert (outcome.status, outcome.result) == (200, WebhookResult.IGNORED)
    assert office.row() is None


@case(61, "an event of a connected account")
def _() -> None:
    office = Office()
    office.put()
    assert office.deliver(event(account="acct_other")).result is WebhookResult.IGNORED
    assert office.deliver(event(account=TEST_SPACE.account_id)).result is WebhookResult.APPLIED


@case(62, "events about other things")
def _() -> None:
    office = Office()
    things: list[dict[str, Any]] = [
        {"object": "invoice", "id": "in_1", "parent": None, "subscription": None},
        {"object": "invoice", "parent": "odd"},
        {**SESSION, "mode": "payment", "subscription": None},
        {**SESSION, "mode": "setup"},
        {"object": "charge", "id": "ch_1"},
        {"object": "subscription", "id": 5},
        {"object": ["odd"]},
    ]
    for number, thing in enumerate(things):
        assert office.deliver(event(f"evt_{number}", thing=thing)).result is WebhookResult.IGNORED
    assert office.book.fetches == 0


@case(63, "unknown org and unknown price")
def _() -> None:
    for changes, alarm in (
        ({"metadata": {}}, Alarm.UNKNOWN_ORG),
        ({"items": (item("price_stranger"),)}, Alarm.UNKNOWN_PRICE),
        ({"items": ()}, Alarm.UNKNOWN_PRICE),
    ):
        office = Office()
        office.put(**changes)
        outcome = office.deliver()
        assert (outcome.status, outcome.result) == (200, WebhookResult.UNMATCHED)
        assert alarm in outcome.alarms
        assert office.row().access is Access.NONE  # type: ignore[union-attr]
        assert [row.subscription_id for row in office.store.unmatched_subscriptions(TEST_SPACE)] == ["sub_1"]
        office.put()
        report = office.webhooks.resync_all()
        assert (report.seen, len(report.changes), report.unmatched) == (1, 1, ())
        assert office.row().access is Access.GRANTED  # type: ignore[union-attr]


@case(63, "metadata and customer lead to different orgs")
def _() -> None:
    office = Office()
    office.store.keep_customer(TEST_SPACE, "other", "cus_acme")
    office.put()
    outcome = office.deliver()
    assert outcome.alarms == (Alarm.ORG_CONFLICT,)
    assert office.row().org_id is None  # type: ignore[union-attr]


@case(64, "an archived price of ours")
def _() -> None:
    office = Office()
    office.put(items=(item("price_pro_old"),))
    office.deliver()
    assert office.row().plan == "pro"  # type: ignore[union-attr]
    office.store.drop_mapping(TEST_SPACE, "pro", revision=0)
    office.deliver(event("evt_2"))
    assert office.row().plan == "pro"  # type: ignore[union-attr]


@case(64, "a price of ours and a store without memory")
def _() -> None:
    office = Office()
    office.put(items=(item("price_lost", price_metadata=naming.price_metadata("kuploy", "pro")),))
    office.deliver()
    assert office.row().plan == "pro"  # type: ignore[union-attr]


@case(63, "a price that only says that it is of a plan")
def _() -> None:
    for marks in ({naming.PLAN: "pro"}, naming.price_metadata("kuploy-other", "pro")):
        office = Office()
        office.put(items=(item("price_theirs", price_metadata=marks),))
        outcome = office.deliver()
        assert (outcome.result, outcome.alarms) == (WebhookResult.UNMATCHED, (Alarm.UNKNOWN_PRICE,))
        assert office.row().plan is None  # type: ignore[union-attr]


@case(65, "two subscriptions of one org")
def _() -> None:
    office = active()
    office.book.set(remote("sub_2", items=(item("price_business"),), created=NOW + timedelta(days=1)))
    thing = {"object": "subscription", "id": "sub_2"}
    assert office.deliver(event("evt_2", thing=thing)).alarms == (Alarm.SEVERAL_GRANTING,)
    best = effective_subscription(office.store.subscriptions_of("acme"))
    assert best is not None
    assert best.plan == "business"
    office.book.set(remote("sub_2", status="canceled"))
    office.deliver(event("evt_3", thing=thing))
    best = effective_subscription(office.store.subscriptions_of("acme"))
    assert best is not None
    assert (best.plan, best.access) == ("pro", Access.GRANTED)


@case(66, "the portal cancels by cancel_at only")
def _() -> None:
    office = active()
    end = NOW + timedelta(days=12)
    for changes, expected in (
        ({"cancel_at": end}, end),
        ({}, None),
        ({"cancel_at_period_end": True}, NOW + timedelta(days=30)),
    ):
        office.put(**changes)
        office.webhooks.sync_subscription("sub_1")
        row = office.row()
        assert row is not None
        assert (row.cancel_at, row.is_cancelling, row.access) == (expected, expected is not None, Access.GRANTED)


@case(67, "a trial ends without a card")
def _() -> None:
    office = Office()
    _expect(office, ("trialing", Access.GRANTED), ("paused", Access.NONE), ("active", Access.GRANTED))


def _expect(office: Office, *steps: tuple[str, Access]) -> None:
    for number, (status, access) in enumerate(steps):
        office.put(status=status)
        office.deliver(event(f"evt_{number}"))
        assert office.row().access is access  # type: ignore[union-attr]


@case(68, "past due is measured from the oldest unpaid invoice")
def _() -> None:
    office = active()
    failed = NOW + timedelta(days=30)
    for day, name in ((30, "evt_2"), (33, "evt_3"), (38, "evt_4")):
        office.clock.advance(NOW + timedelta(days=day) - office.clock.now())
        office.put(status="past_due", unpaid_since=failed)
        office.deliver(event(name, "invoice.payment_failed", INVOICE))
        row = office.row()
        assert row is not None
        assert (row.access, row.past_due_since) == (Access.GRACE, failed)
    office.put(status="active")
    office.deliver(event("evt_5", "invoice.paid", INVOICE))
    assert office.row().past_due_since is None  # type: ignore[union-attr]


@case(69, "paused after failed payments")
def _() -> None:
    _expect(Office(), ("active", Access.GRANTED), ("paused", Access.NONE), ("unpaid", Access.NONE))


@case(70, "a payment that needs authentication")
def _() -> None:
    office = Office()
    _expect(office, ("incomplete", Access.NONE), ("active", Access.GRANTED))
    office = Office()
    _expect(office, ("incomplete", Access.NONE), ("incomplete_expired", Access.NONE), ("active", Access.NONE))


@case(71, "a payment that takes days")
def _() -> None:
    office = Office()
    office.put(status="incomplete")
    office.deliver(event("evt_1", "checkout.session.completed", {**SESSION, "payment_status": "unpaid"}))
    assert office.row().access is Access.NONE  # type: ignore[union-attr]
    office.put(status="active")
    office.deliver(event("evt_2", "checkout.session.async_payment_succeeded", SESSION))
    assert office.row().access is Access.GRANTED  # type: ignore[union-attr]


@case(72, "a status that nobody knows")
def _() -> None:
    office = active()
    office.put(status="frozen")
    outcome = office.deliver(event("evt_2"))
    assert outcome.alarms == (Alarm.UNKNOWN_STATUS,)
    row = office.row()
    assert row is not None
    assert (row.status, row.access) == ("frozen", Access.GRANTED)
    fresh = Office()
    fresh.put(status="frozen")
    fresh.deliver()
    assert fresh.row().access is Access.NONE  # type: ignore[union-attr]


@case(73, "Stripe is down, and a subscription is gone")
def _() -> None:
    office = active()
    office.book.is_down = True
    outcome = office.deliver(event("evt_2"))
    assert (outcome.status, outcome.result) == (503, WebhookResult.FAILED)
    office.book.is_down = False
    office.book.subscriptions_by_id.clear()
    assert office.deliver(event("evt_2")).result is WebhookResult.APPLIED
    assert office.row().known_status == "canceled"  # type: ignore[union-attr]
    assert Office().deliver().result is WebhookResult.IGNORED


@case(74, "events lost for days")
def _() -> None:
    live, late = Office(), Office()
    states: list[dict[str, Any]] = [
        {"status": "incomplete"},
        {"status": "active"},
        {"status": "active", "items": (item("price_business"),)},
    ]
    for number, changes in enumerate(states):
        live.put(**changes)
        live.deliver(event(f"evt_{number}"))
        late.put(**changes)
        thing = {"object": "subscription", "id": "sub_1"}
        late.book.the_events.append(
            RemoteEvent(
                id=f"evt_{number}",
                type="customer.subscription.updated",
                created=NOW + timedelta(hours=number),
                livemode=False,
                account=None,
                object=thing,
            )
        )
    outcomes = late.webhooks.backfill_events(NOW)
    assert [outcome.result for outcome in outcomes] == [
        WebhookResult.APPLIED,
        WebhookResult.UNCHANGED,
        WebhookResult.UNCHANGED,
    ]
    assert late.row() == live.row()
    assert {outcome.result for outcome in late.webhooks.backfill_events(NOW)} == {WebhookResult.DUPLICATE}
    never = Office(book=late.book)
    assert len(never.webhooks.resync_all().changes) == 1
    assert never.row() == live.row()


@case(75, "several items")
def _() -> None:
    office = Office()
    end = NOW + timedelta(days=365)
    office.put(items=(item("price_addon", quantity=7), item("price_business", quantity=2, period_end=end)))
    assert office.deliver().alarms == ()
    row = office.row()
    assert row is not None
    assert (row.plan, row.price_id, row.period_end) == ("business", "price_business", end)


@case(76, "a switch of plans in the portal")
def _() -> None:
    office = active()
    office.put(items=(item("price_business"),))
    outcome = office.deliver(event("evt_2"))
    assert outcome.change is not None
    assert (outcome.change.before.plan, outcome.change.after.plan) == ("pro", "business")


@case(77, "a customer is deleted at Stripe")
def _() -> None:
    office = active()
    office.put(status="canceled")
    office.deliver(event("evt_2", "customer.subscription.deleted"))
    assert office.row().access is Access.NONE  # type: ignore[union-attr]


@case(78, "two first webhooks at once")
def _() -> None:
    office = Office()
    office.put()
    barrier = threading.Barrier(2)
    first = [True, True]

    def meet() -> None:
        if first:
            first.pop()
            barrier.wait(60)

    office.book.on_fetch = meet
    outcomes: list[Any] = []
    bodies = [event("evt_1"), event("evt_2", "invoice.paid", INVOICE)]
    threads = [threading.Thread(target=lambda body=body: outcomes.append(office.deliver(body))) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.status for outcome in outcomes] == [200, 200]
    assert len(office.store.subscriptions_of("acme")) == 1


@case(78, "a row that never holds still")
def _() -> None:
    office = Office()
    office.put()

    def disturb() -> None:
        stored = office.store.load_subscription("sub_1")
        row = stored.row or _row()
        later = replace(row, period_end=(row.period_end or NOW) + timedelta(days=1))
        put = office.store.put_subscription(later, expected_version=stored.version)
        assert isinstance(put, SubscriptionPut)

    office.book.on_fetch = disturb
    outcome = office.deliver()
    assert (outcome.status, outcome.result) == (503, WebhookResult.FAILED)
    office.book.on_fetch = None
    assert office.deliver().result is WebhookResult.APPLIED


def _row() -> OrgSubscription:
    return OrgSubscription(
        subscription_id="sub_1",
        space=TEST_SPACE,
        org_id="acme",
        customer_id="cus_acme",
        plan="pro",
        price_id="price_pro",
        status="active",
        known_status="active",
        created=NOW,
    )


@case(61, "a subscription of another instance in the same account")
def _() -> None:
    office = Office()
    office.put(metadata=naming.org_metadata("kuploy-other", "acme"))
    assert office.deliver().result is WebhookResult.IGNORED
    assert office.row() is None
    assert office.webhooks.resync_all().seen == 0


@case(68, "a failed payment is told to listeners once")
def _() -> None:
    office = Office()
    office.put(status="past_due", unpaid_since=NOW)
    notices: list[BillingNotice] = []
    office.webhooks.add_listener(notices.append)
    for _ in range(2):
        office.deliver(event("evt_1", "invoice.payment_failed", INVOICE))
    assert [notice.kind for notice in notices] == [NoticeKind.SUBSCRIPTION_CHANGED, NoticeKind.PAYMENT_FAILED]


@case(68, "a failed payment that comes twice at once is told once")
def _() -> None:
    office = Office()
    office.put(status="past_due", unpaid_since=NOW)
    notices: list[BillingNotice] = []
    office.webhooks.add_listener(notices.append)
    body = event("evt_1", "invoice.payment_failed", INVOICE)

    def meanwhile() -> None:
        office.book.on_fetch = None
        assert office.deliver(body).status == 200

    office.book.on_fetch = meanwhile
    assert office.deliver(body).result is WebhookResult.DUPLICATE
    assert [notice.kind for notice in notices] == [NoticeKind.SUBSCRIPTION_CHANGED, NoticeKind.PAYMENT_FAILED]


@case(63, "a known plan stays when the price becomes unknown")
def _() -> None:
    office = active()
    office.put(items=(item("price_stranger"),))
    outcome = office.deliver(event("evt_2"))
    assert outcome.alarms == (Alarm.UNKNOWN_PRICE,)
    assert office.row().plan == "pro"  # type: ignore[union-attr]


@case(74, "one org is synced")
def _() -> None:
    office = Office()
    office.put()
    assert office.webhooks.sync_org("acme") == ()
    office.store.keep_customer(TEST_SPACE, "acme", "cus_acme")
    (sync,) = office.webhooks.sync_org("acme")
    assert sync.row is not None
    assert sync.row.access is Access.GRANTED
    office.book.subscriptions_by_id.clear()
    (sync,) = office.webhooks.sync_org("acme")
    assert sync.row is not None
    assert sync.row.access is Access.NONE
