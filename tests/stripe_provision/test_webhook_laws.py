"""What holds for every history, order, repetition, crash and interleaving of deliveries, and for every input."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import examples
from tests.stripe_provision.book import NOW, SECRET, Book, Office, event, item, remote, signature, store_with_plans
from tests.stripe_provision.fuzz_webhooks import fuzz
from tests.stripe_provision.schedule import Pause, interleave
from tests.stripe_provision.world import TEST_SPACE

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import WebhookRejectedError
from kuploy_saas_kit.model.subscription import STATUS_ACCESS, Access, OrgSubscription
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.ports import (
    EventLookup,
    OnChange,
    RemoteSubscription,
    StoredSubscription,
    SubscriptionChange,
    SubscriptionPut,
)
from kuploy_saas_kit.stripe_provision.remote import parse_event
from kuploy_saas_kit.stripe_provision.signature import verify_signature
from kuploy_saas_kit.stripe_provision.subscriptions import Folded, Names, ended, fold

FUZZ = int(os.environ.get("FUZZ", "0")) or examples(300)

statuses = st.sampled_from([*STATUS_ACCESS, "frozen"])
items = st.builds(
    item,
    st.sampled_from(["price_pro", "price_business", "price_stranger"]),
    price_metadata=st.sampled_from(
        [{}, naming.price_metadata("kuploy", "gold"), naming.price_metadata("kuploy-other", "gold")]
    ),
)
remotes = st.builds(
    remote,
    status=statuses,
    items=st.lists(items, max_size=3).map(tuple),
    metadata=st.sampled_from([{}, {naming.ORG: ""}, {naming.ORG: "acme"}, {naming.ORG: "other"}]),
    unpaid_since=st.sampled_from([None, NOW]),
    cancel_at=st.sampled_from([None, NOW]),
    cancel_at_period_end=st.booleans(),
)
NAMES = Names({"price_pro": "pro", "price_business": "business"}, "acme")


def _fold(held: OrgSubscription | None, found: RemoteSubscription, names: Names = NAMES) -> Folded:
    return fold(held, found, names, space=TEST_SPACE, namespace="kuploy")


@given(st.lists(remotes, min_size=1, max_size=6))
def test_the_fold_depends_on_the_last_state(history: list[RemoteSubscription]) -> None:
    """Folding twice changes nothing (I19), what ended stays ended (I23), and a plain last state hides earlier ones."""
    held: OrgSubscription | None = None
    for found in history:
        before, held = held, _fold(held, found).row
        assert _fold(held, found).row == held
        assert before is None or not before.is_terminal or held == before
    last = history[-1]
    plain = all(found.status in STATUS_ACCESS for found in history) and not _fold(None, last).alarms
    if plain and held is not None and not any(_fold(None, found).row.is_terminal for found in history[:-1]):
        assert held == _fold(None, last).row


@given(remotes, remotes)
def test_an_unknown_price_or_status_grants_nothing_new(before: RemoteSubscription, after: RemoteSubscription) -> None:
    """What is not understood never widens access and never takes another plan than the one before (I22)."""
    held = _fold(None, before).row
    stranger = replace(after, items=(item("price_stranger"),), status="frozen", metadata=before.metadata)
    row = _fold(held, stranger).row
    assert row.access <= held.access
    assert row.plan == held.plan


@given(remotes)
def test_a_conflict_of_orgs_grants_nothing(found: RemoteSubscription) -> None:
    """A subscription that leads to two orgs belongs to none until somebody decides."""
    claimed = replace(found, metadata={naming.ORG: "other"})
    assert _fold(None, claimed).row.access is Access.NONE


def test_what_stripe_does_not_have_has_ended() -> None:
    """A row whose subscription is gone is canceled, once."""
    row = _fold(None, remote()).row
    gone = ended(row)
    assert (gone.known_status, gone.access) == ("canceled", Access.NONE)
    assert ended(gone) == gone


class PausingStore(MemoryStore):
    """Lets another worker go on before each read and write of a subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = threading.local()

    def pause(self) -> None:
        getattr(self.lane, "pause", lambda: None)()

    def load_subscription(self, subscription_id: str) -> StoredSubscription:
        if not self._lock._is_owned():  # type: ignore[attr-defined]
            self.pause()
        return super().load_subscription(subscription_id)

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        self.pause()
        return super().put_subscription(row, expected_version=expected_version, event_id=event_id, on_change=on_change)


class Traffic:
    """Stripe that changes a subscription, three workers that deliver, and a database that sometimes goes away."""

    def __init__(self, states: list[str], crashes: set[int]) -> None:
        self.store = PausingStore()
        _copy_prices(self.store)
        self.office = Office(store=self.store)
        self.office.book.on_fetch = self.store.pause
        self.webhooks = self.office.another(on_change=self._on_change)
        self.states = states
        self.crashes = crashes
        self.queue: list[bytes] = []
        self.tried: list[SubscriptionChange] = []

    def _on_change(self, change: SubscriptionChange, _connection: Any) -> None:
        self.tried.append(change)
        if len(self.tried) - 1 in self.crashes:
            raise ConnectionError("the database went away")

    def live(self, pause: Pause) -> None:
        """Change at Stripe, and make each event twice."""
        for number, status in enumerate(self.states):
            self.office.put(status=status, items=(item(period_end=NOW + timedelta(days=number)),))
            self.queue.extend([event(f"evt_{number}")] * 2)
            pause()

    def work(self, pause: Pause) -> None:
        """Deliver what there is, now and then."""
        self.store.lane.pause = pause
        for _ in range(2 * len(self.states)):
            self.deliver_one()
            pause()

    def deliver_one(self) -> None:
        """Deliver the oldest event; it comes again after a 503."""
        if not self.queue:
            return
        body = self.queue.pop(0)
        if self.webhooks.handle(body, signature(body)).status == 503:
            self.queue.append(body)

    @property
    def committed(self) -> list[Any]:
        """The period ends that were written, in order; they tell the fetched states apart."""
        return [change.after.period_end for index, change in enumerate(self.tried) if index not in self.crashes]


@given(
    st.lists(st.sampled_from(["active", "past_due", "incomplete", "unpaid", "paused"]), min_size=1, max_size=5),
    st.lists(st.integers(0, 3), max_size=80),
    st.sets(st.integers(0, 6), max_size=3),
)
@settings(max_examples=examples(60))
def test_three_workers_in_any_interleaving_end_with_the_last_state(
    states: list[str], picks: list[int], crashes: set[int]
) -> None:
    """Three workers, each event twice, crashes in transactions: the last state stands (I17), none goes back (I18)."""
    traffic = Traffic(states, crashes)
    interleave([traffic.live, traffic.work, traffic.work, traffic.work], picks)
    while traffic.queue:
        traffic.deliver_one()
    row = traffic.office.row()
    assert row is not None
    assert row.status == states[-1]
    assert traffic.committed == sorted(traffic.committed)


def _copy_prices(store: MemoryStore) -> None:
    plain = store_with_plans()
    store._state.prices.update(plain._state.prices)


@given(st.binary(max_size=300), st.text(max_size=200) | st.none())
@settings(max_examples=FUZZ)
def test_unsigned_bytes_touch_nothing(payload: bytes, header: str | None) -> None:
    """Whatever the bytes and the header: 400, and neither Stripe nor the store is asked (I20, I21)."""
    book = Book(is_down=True)
    webhooks = Office(book=book, store=UNREACHABLE).webhooks
    assert webhooks.handle(payload, header).status == 400


class _Unreachable(MemoryStore):
    def look_up_event(self, event_id: str) -> EventLookup:
        raise AssertionError("the store was asked")

    def load_subscription(self, subscription_id: str) -> StoredSubscription:
        raise AssertionError("the store was asked")


UNREACHABLE = _Unreachable()

EVENT_FIELDS = ("id", "object", "type", "created", "livemode", "data", "account")

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def test_thousands_of_mutated_deliveries_are_answered() -> None:
    """A short run of the fuzzer: what nobody signed is refused, what was signed is never an exception or a 503."""
    seen = fuzz(4000, seed=5)
    assert sum(seen.values()) == 4000
    assert set(seen) == {"rejected", "duplicate", "ignored", "unchanged", "applied"}


@given(
    st.dictionaries(st.sampled_from(["id", "object", "type", "created", "livemode", "data", "account"]), json_values)
)
@settings(max_examples=FUZZ)
def test_signed_nonsense_is_never_an_exception(changes: dict[str, Any]) -> None:
    """Even with a valid signature no content leads to a 5xx or an exception (I20)."""
    office = Office()
    office.put()
    body = json.dumps({**json.loads(event()), **changes}).encode()
    assert office.deliver(body).status in {200, 400}


@given(json_values, json_values)
@settings(max_examples=FUZZ)
def test_odd_objects_in_events_are_ignored(thing: Any, reference: Any) -> None:
    """An event whose object has another shape than expected points to nothing, or to what Stripe does not know."""
    for kind, field in (("subscription", "id"), ("invoice", "subscription"), ("checkout.session", "subscription")):
        office = Office()
        content = {**(thing if isinstance(thing, dict) else {}), "object": kind, field: reference, "parent": thing}
        assert office.deliver(event(thing=content)).status in {200, 400}


@given(st.text(max_size=2000), st.integers(-400, 400), st.sampled_from([SECRET, "whsec_other"]))
@settings(max_examples=FUZZ)
def test_verification_agrees_with_stripes_own_package(text: str, age: int, secret: str) -> None:
    """We take exactly what Stripe's package takes and what is at most 300 seconds from our clock on either side."""
    payload = text.encode()
    header = signature(payload, secret=secret, at=NOW - timedelta(seconds=age))
    ours = _accepts(lambda: verify_signature(payload, header, [SECRET], NOW))
    theirs = _accepts(lambda: stripe.WebhookSignature.verify_header(text, header, SECRET, None))
    assert ours == (theirs and abs(age) <= 300)


def _accepts(verify: Callable[[], object]) -> bool:
    try:
        verify()
    except (WebhookRejectedError, stripe.SignatureVerificationError):
        return False
    return True


def test_an_outcome_is_no_verdict() -> None:
    """Nobody can take an outcome for a bool by mistake."""
    office = Office()
    office.put()
    for outcome in (office.deliver(), office.webhooks.sync_subscription("sub_1")):
        with pytest.raises(TypeError, match="use"):
            bool(outcome)


def test_an_event_is_read_as_it_came() -> None:
    """Ids, time and mode of an event survive parsing; a connected account is seen."""
    parsed = parse_event(event("evt_9", account="acct_2", livemode=True))
    assert parsed is not None
    assert (parsed.id, parsed.livemode, parsed.account, parsed.created) == ("evt_9", True, "acct_2", NOW)
