"""What was provisioned at Stripe, subscriptions and customers."""
# ruff: noqa: S101 - asserting that values are right is what these methods are for

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

import pytest

from kuploy_saas_kit.model.limits import MAX_LIMIT
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import ChangeFeed, Everyone, StandingStore
from kuploy_saas_kit.stripe_provision.ports import (
    CurrentSpace,
    CustomerStore,
    FingerprintStore,
    MadePrice,
    MappingDrop,
    MappingPut,
    PriceMapping,
    ProvisioningStore,
    PutOutcome,
    StoredSubscription,
    SubscriptionChange,
    SubscriptionStore,
)
from kuploy_saas_kit.testing.conformance.base import MINUTE, RACES, Crew, StoreTests
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, Deed
from kuploy_saas_kit.testing.conformance.crew import Opener, opened, stumbling
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.plans import follow, is_told
from kuploy_saas_kit.testing.conformance.values import INSTANT, MICROSECOND, NAMES, SLUGS

TEST_MODE, LIVE = StripeSpace("acct_1", livemode=False), StripeSpace("acct_1", livemode=True)
ELSEWHERE = StripeSpace("acct_12", livemode=False)


def mapping(slug: str = "pro", price_id: str = "price_1") -> PriceMapping:
    """Which objects sell a plan."""
    return PriceMapping(slug=slug, product_id=f"prod_{slug}", price_id=price_id, fingerprint="f1", revision=3)


def made(slug: str = "pro", price_id: str = "price_1") -> MadePrice:
    """A price that was made for a plan."""
    return MadePrice(price_id=price_id, slug=slug, product_id=f"prod_{slug}", lookup_key=f"{slug}:f1")


def _sell(store: ProvisioningStore, number: int) -> None:
    slug, price_id = f"plan{number}", f"price_{number}"
    store.put_mapping(TEST_MODE, mapping(slug, price_id), made(slug, price_id))


class Sold(NamedTuple):
    """Whether the plan has its mapping, and whether the price is remembered."""

    has_mapping: bool
    has_price: bool


def _sold(store: ProvisioningStore, number: int) -> Sold:
    slug = f"plan{number}"
    return Sold(slug in store.load_mappings(TEST_MODE), store.plan_of_price(TEST_MODE, f"price_{number}") == slug)


class ProvisioningStoreTests(CrashTests):
    """What a `ProvisioningStore` must do."""

    deeds = (Deed(_sell, _sold),)

    def test_nothing_was_provisioned(self, store: ProvisioningStore) -> None:
        """An empty store knows no mapping and no price."""
        assert dict(store.load_mappings(TEST_MODE)) == {}
        assert store.plan_of_price(TEST_MODE, "price_1") is None
        assert store.drop_mapping(TEST_MODE, "pro", revision=3) == MappingDrop(dropped=True, revision=3)

    def test_a_new_price_takes_over(self, store: ProvisioningStore) -> None:
        """A plan is sold by its newest price, and older ones still tell which plan their subscribers are on."""
        store.put_mapping(TEST_MODE, mapping(), made())
        store.put_mapping(TEST_MODE, mapping(price_id="price_2"), made(price_id="price_2"))
        store.put_mapping(TEST_MODE, mapping("business", "price_3"), made("business", "price_3"))
        assert store.load_mappings(TEST_MODE) == {
            "pro": mapping(price_id="price_2"),
            "business": mapping("business", "price_3"),
        }
        assert [store.plan_of_price(TEST_MODE, f"price_{n}") for n in (1, 2, 3)] == ["pro", "pro", "business"]

    def test_a_plan_that_is_not_sold_any_more(self, store: ProvisioningStore) -> None:
        """Its mapping goes and its prices stay."""
        store.put_mapping(TEST_MODE, mapping(), made())
        assert store.drop_mapping(TEST_MODE, "pro", revision=3) == MappingDrop(dropped=True, revision=3)
        assert dict(store.load_mappings(TEST_MODE)) == {}
        assert store.plan_of_price(TEST_MODE, "price_1") == "pro"
        assert store.put_mapping(TEST_MODE, mapping(), made()).saved
        assert store.load_mappings(TEST_MODE) == {"pro": mapping()}

    def test_the_same_again(self, store: ProvisioningStore) -> None:
        """Writing what is there changes nothing."""
        for _ in range(2):
            store.put_mapping(TEST_MODE, mapping(), made())
        assert store.load_mappings(TEST_MODE) == {"pro": mapping()}

    def test_an_older_catalog_changes_no_mapping(self, store: ProvisioningStore) -> None:
        """A mapping of a lower revision is not put, nor its price; one of the same or a higher revision is."""
        newer = replace(mapping(price_id="price_2"), product_id="prod_2", fingerprint="f2", revision=4)
        assert store.put_mapping(TEST_MODE, mapping(), made()) == MappingPut(saved=True, revision=3)
        assert store.put_mapping(TEST_MODE, newer, made(price_id="price_2")) == MappingPut(saved=True, revision=4)
        older = mapping(price_id="price_3")
        assert store.put_mapping(TEST_MODE, older, made(price_id="price_3")) == MappingPut(saved=False, revision=4)
        assert store.load_mappings(TEST_MODE) == {"pro": newer}
        assert store.plan_of_price(TEST_MODE, "price_3") is None
        assert store.put_mapping(LIVE, older, made(price_id="price_3")).saved

    def test_a_revision_has_64_bits(self, store: ProvisioningStore) -> None:
        """The highest is kept, and told from the one below it."""
        newest = replace(mapping(), revision=MAX_LIMIT)
        store.put_mapping(TEST_MODE, newest, made())
        assert not store.put_mapping(TEST_MODE, replace(newest, revision=MAX_LIMIT - 1), made()).saved
        assert not store.drop_mapping(TEST_MODE, "pro", revision=MAX_LIMIT - 1).dropped
        assert store.load_mappings(TEST_MODE) == {"pro": newest}

    def test_an_older_catalog_drops_no_mapping(self, store: ProvisioningStore) -> None:
        """A mapping of a higher revision stays; one of the same or a lower revision goes, and no other plan's."""
        store.put_mapping(TEST_MODE, mapping(), made())
        store.put_mapping(TEST_MODE, mapping("business", "price_2"), made("business", "price_2"))
        store.put_mapping(LIVE, mapping(), made())
        assert store.drop_mapping(TEST_MODE, "pro", revision=2) == MappingDrop(dropped=False, revision=3)
        assert store.load_mappings(TEST_MODE)["pro"] == mapping()
        assert store.drop_mapping(TEST_MODE, "pro", revision=4) == MappingDrop(dropped=True, revision=4)
        assert store.load_mappings(TEST_MODE) == {"business": mapping("business", "price_2")}
        assert store.load_mappings(LIVE) == {"pro": mapping()}

    def test_a_race_drops_nothing_newer(self, store: ProvisioningStore, crew: Crew, rounds: int) -> None:
        """Many older catalogs that drop a plan while the newest puts it leave it on sale."""
        for number in range(RACES * rounds):
            newest = number * crew.workers + crew.workers - 1
            crew.race(partial(_put_or_drop, number * crew.workers, newest))
            assert store.load_mappings(TEST_MODE) == {"pro": replace(mapping(), revision=newest)}

    def test_a_race_to_drop_at_every_line(self, store: ProvisioningStore) -> None:
        """Wherever a newer catalog that sells the plan comes in between, it is on sale."""
        revisions = count(1, step=2)
        for number, (_, where) in enumerate(overtaken(store, lambda: partial(_drop_or_put, next(revisions))), 1):
            assert store.load_mappings(TEST_MODE) == {"pro": replace(mapping(), revision=2 * number)}, where

    def test_a_race_of_catalogs(self, store: ProvisioningStore, crew: Crew, rounds: int) -> None:
        """Of many catalogs that are applied at the same moment the newest sells, and whoever lost is told so."""
        for number in range(RACES * rounds):
            first = number * crew.workers
            puts = crew.race(partial(_put_mapping, first))
            newest = first + crew.workers - 1
            assert store.load_mappings(TEST_MODE)["pro"].revision == newest
            assert puts[-1] == MappingPut(saved=True, revision=newest)
            for revision, outcome in enumerate(puts, first):
                assert outcome.saved == (outcome.revision == revision)
                assert (store.plan_of_price(TEST_MODE, f"price_{revision}") is not None) == outcome.saved

    def test_a_race_at_every_line(self, store: ProvisioningStore) -> None:
        """Wherever a newer catalog comes in between, it is the one that sells."""
        revisions = count(step=2)
        for (_, newer), where in overtaken(store, lambda: partial(_put_mapping, next(revisions))):
            assert newer.saved, where
            assert store.load_mappings(TEST_MODE)["pro"].revision == newer.revision, where

    def test_no_plan_is_taken_for_another(self, store: ProvisioningStore) -> None:
        """Plans and prices stay apart, however much alike their slugs and ids are."""
        mappings = {slug: mapping(slug, slug) for slug in SLUGS}
        for slug in SLUGS:
            store.put_mapping(TEST_MODE, mappings[slug], made(slug, slug))
        assert store.load_mappings(TEST_MODE) == mappings
        assert [store.plan_of_price(TEST_MODE, slug) for slug in SLUGS] == list(SLUGS)
        first, *others = SLUGS
        store.drop_mapping(TEST_MODE, first, revision=3)
        assert store.load_mappings(TEST_MODE) == {slug: mappings[slug] for slug in others}

    @pytest.mark.parametrize("space", [LIVE, ELSEWHERE])
    def test_no_space_sees_another(self, store: ProvisioningStore, space: StripeSpace) -> None:
        """Test mode, live mode and other accounts share nothing, however often keys are swapped."""
        store.put_mapping(TEST_MODE, mapping(), made())
        assert dict(store.load_mappings(space)) == {}
        assert store.plan_of_price(space, "price_1") is None
        store.put_mapping(space, mapping(price_id="price_9"), made(price_id="price_9"))
        store.drop_mapping(space, "pro", revision=3)
        assert store.load_mappings(TEST_MODE) == {"pro": mapping()}


class FingerprintStoreTests(StoreTests):
    """What a `FingerprintStore` must do."""

    def test_the_fingerprint(self, store: FingerprintStore) -> None:
        """What was provisioned completely is remembered, replaced and forgotten."""
        assert store.load_fingerprint(TEST_MODE) is None
        for fingerprint in ("a", "b", None, "c" * 64, "c" * 63 + "d"):
            store.save_fingerprint(TEST_MODE, fingerprint)
            assert store.load_fingerprint(TEST_MODE) == fingerprint

    def test_what_another_one_wrote_is_seen(self, store: FingerprintStore, reopen: Opener) -> None:
        """Whoever looked before sees what somebody else provisioned."""
        with opened(reopen) as other:
            for fingerprint in (None, "a", "b", None):
                other.save_fingerprint(TEST_MODE, fingerprint)
                assert store.load_fingerprint(TEST_MODE) == fingerprint

    @pytest.mark.parametrize("space", [LIVE, ELSEWHERE])
    def test_no_space_sees_another(self, store: FingerprintStore, space: StripeSpace) -> None:
        """Test mode, live mode and other accounts share nothing, however often keys are swapped."""
        store.save_fingerprint(TEST_MODE, "a")
        assert store.load_fingerprint(space) is None
        store.save_fingerprint(space, "b")
        store.save_fingerprint(space, None)
        assert store.load_fingerprint(TEST_MODE) == "a"


def _put_or_drop(first: int, newest: int, store: ProvisioningStore, worker: int) -> None:
    if first + worker == newest:
        store.put_mapping(TEST_MODE, replace(mapping(), revision=newest), made())
    else:
        store.drop_mapping(TEST_MODE, "pro", revision=first + worker)


def _drop_or_put(first: int, store: ProvisioningStore, worker: int) -> None:
    _put_or_drop(first, first + 1, store, worker)


def _put_mapping(first: int, store: ProvisioningStore, worker: int) -> MappingPut:
    price_id = f"price_{first + worker}"
    own = replace(mapping(price_id=price_id), revision=first + worker)
    return store.put_mapping(TEST_MODE, own, made(price_id=price_id))


ROW = OrgSubscription(
    subscription_id="sub_1",
    space=TEST_MODE,
    org_id="acme",
    customer_id="cus_1",
    plan="pro",
    price_id="price_1",
    status="active",
    known_status="active",
    created=INSTANT,
    period_start=INSTANT,
    period_end=INSTANT + 1000 * MINUTE,
)


_CHANGES: Final[Sequence[dict[str, Any]]] = (
    *({"org_id": None}, {"customer_id": "cus_2"}, {"plan": "business"}, {"price_id": "price_2"}, {"space": LIVE}),
    *({"status": "odd"}, {"known_status": "trialing"}, {"created": INSTANT + MICROSECOND}),
    *({"period_start": None}, {"period_end": None}, {"cancel_at": INSTANT}, {"past_due_since": INSTANT}),
)


class BillingStore(SubscriptionStore, StandingStore, ChangeFeed, Protocol):
    """A store of subscriptions whose writes change standings."""


def _subscribe(store: SubscriptionStore, number: int) -> None:
    row = replace(ROW, subscription_id=f"sub_crash{number}", org_id=f"org{number}")
    store.put_subscription(row, expected_version=0, event_id=f"evt_crash{number}")


class Subscribed(NamedTuple):
    """What belongs to one write. A row that is not there has nothing that the feed could tell."""

    row_is_there: bool
    feed_agrees: bool
    event_is_handled: bool
    standing_has_it: bool
    standing_rose: bool


def _subscribed(store: BillingStore, number: int) -> Subscribed:
    standing, is_there = store.standing(f"org{number}"), store.load_subscription(f"sub_crash{number}").version > 0
    return Subscribed(
        is_there,
        not is_there or is_told(store, number, f"org{number}"),
        store.look_up_event(f"evt_crash{number}").is_handled,
        standing.subscription is not None,
        standing.version > 0,
    )


class SubscriptionStoreTests(CrashTests):
    """What a `SubscriptionStore` must do; the store is a `StandingStore` and a `ChangeFeed` too."""

    deeds = (Deed(_subscribe, _subscribed, follow),)

    def test_an_empty_store(self, store: BillingStore) -> None:
        """Without a row the version is 0."""
        assert store.load_subscription("sub_1") == StoredSubscription(None, 0)
        assert not store.look_up_event("evt_1").is_handled
        assert list(store.subscriptions_of("acme")) == []

    def test_a_row_comes_back_as_it_went(self, store: BillingStore) -> None:
        """All columns survive, also those that are empty."""
        full = replace(ROW, cancel_at=INSTANT, past_due_since=INSTANT - MINUTE, status="odd", known_status="past_due")
        for row in (ROW, full, replace(full, org_id=None, plan=None, price_id=None)):
            before = _version(store)
            assert store.put_subscription(row, expected_version=before).outcome is PutOutcome.SAVED
            assert store.load_subscription("sub_1").row == row
            assert _version(store) > before

    def test_a_row_that_differs_in_one_column(self, store: BillingStore) -> None:
        """It is another row: it is written, and so is the one before it when that comes back."""
        store.put_subscription(ROW, expected_version=0)
        for change in _CHANGES:
            for row in (replace(ROW, **change), ROW):
                before = _version(store)
                store.put_subscription(row, expected_version=before)
                stored = store.load_subscription("sub_1")
                assert stored.row == row
                assert stored.version > before, change

    def test_compare_and_swap(self, store: BillingStore) -> None:
        """A write with another version than the stored one changes nothing and says what stands there."""
        store.put_subscription(ROW, expected_version=0)
        stored, cancelled = store.load_subscription("sub_1"), replace(ROW, status="canceled", known_status="canceled")
        for wrong in (0, stored.version + 1):
            put = store.put_subscription(cancelled, expected_version=wrong, event_id="evt_1")
            assert (put.outcome, put.previous) == (PutOutcome.CONFLICT, ROW)
        assert store.load_subscription("sub_1") == stored
        assert not store.look_up_event("evt_1").is_handled
        put = store.put_subscription(cancelled, expected_version=stored.version, event_id="evt_1")
        assert (put.outcome, put.previous) == (PutOutcome.SAVED, ROW)

    def test_a_row_for_a_version_that_is_not_there(self, store: BillingStore) -> None:
        """Without a row only version 0 is right."""
        assert store.put_subscription(ROW, expected_version=1).outcome is PutOutcome.CONFLICT
        assert store.load_subscription("sub_1") == StoredSubscription(None, 0)

    def test_an_event_is_handled_once(self, store: BillingStore) -> None:
        """An event that was handled writes nothing, whatever comes with it."""
        store.put_subscription(ROW, expected_version=0, event_id="evt_1")
        assert store.look_up_event("evt_1").is_handled
        stored, other = store.load_subscription("sub_1"), replace(ROW, status="canceled", known_status="canceled")
        put = store.put_subscription(other, expected_version=stored.version, event_id="evt_1")
        assert (put.outcome, put.previous) == (PutOutcome.DUPLICATE, ROW)
        assert store.load_subscription("sub_1") == stored

    def test_an_equal_row(self, store: BillingStore) -> None:
        """It keeps its version, tells nobody, and its event is handled all the same."""
        store.put_subscription(ROW, expected_version=0)
        before, cursor, version = store.standing("acme"), store.changes(None).cursor, _version(store)
        changes: list[SubscriptionChange] = []
        put = store.put_subscription(
            ROW, expected_version=version, event_id="evt_2", on_change=lambda change, _: changes.append(change)
        )
        assert put.outcome is PutOutcome.SAVED
        assert _version(store) == version
        assert store.look_up_event("evt_2").is_handled
        assert changes == []
        assert store.standing("acme") == before
        assert store.changes(cursor).org_ids == frozenset()

    def test_a_change_raises_the_standing(self, store: BillingStore) -> None:
        """The org's standing shows the new row with a higher version, and the feed names the org."""
        cursor = store.changes(None).cursor
        store.put_subscription(ROW, expected_version=0)
        first = store.standing("acme")
        assert first.subscription == ROW
        past_due = replace(ROW, status="past_due", known_status="past_due")
        store.put_subscription(past_due, expected_version=_version(store))
        second = store.standing("acme")
        assert second.subscription == past_due
        assert second.version > first.version > 0
        assert store.changes(cursor).org_ids == frozenset({"acme"})

    def test_a_row_that_moves_to_another_org(self, store: BillingStore) -> None:
        """Both orgs change: the one that loses it and the one that gets it, and the one that loses it to nobody."""
        store.put_subscription(ROW, expected_version=0)
        cursor = store.changes(None).cursor
        store.put_subscription(replace(ROW, org_id="umbrella"), expected_version=_version(store))
        assert store.standing("acme").subscription is None
        assert store.standing("umbrella").subscription is not None
        assert store.changes(cursor).org_ids == frozenset({"acme", "umbrella"})
        before, cursor = store.standing("umbrella").version, store.changes(None).cursor
        store.put_subscription(replace(ROW, org_id=None), expected_version=_version(store))
        assert store.standing("umbrella").version > before
        assert store.changes(cursor).org_ids == frozenset({"umbrella"})

    def test_the_subscription_that_counts(self, store: BillingStore) -> None:
        """Of several the one with the best access is the org's, whichever came last; all of them can be listed."""
        old = replace(ROW, subscription_id="sub_3", created=INSTANT - MICROSECOND)
        newest = (INSTANT + MICROSECOND).astimezone(UTC)  # earlier by its text alone
        ended = replace(ROW, subscription_id="sub_0", created=newest, status="canceled", known_status="canceled")
        for row in (ended, ROW, old):
            store.put_subscription(row, expected_version=0)
        assert store.standing("acme").subscription == ROW
        assert list(store.subscriptions_of("acme")) == [old, ROW, ended]
        assert list(store.subscriptions_of("umbrella")) == []
        store.put_subscription(replace(ROW, known_status="unpaid"), expected_version=_version(store))
        assert store.standing("acme").subscription == old

    def test_no_org_sees_another(self, store: BillingStore) -> None:
        """A subscription of one org is nobody else's, however much alike their ids are."""
        rows = {name: replace(ROW, subscription_id=f"sub_{n}", org_id=name) for n, name in enumerate(NAMES)}
        for row in rows.values():
            store.put_subscription(row, expected_version=0)
        assert {name: list(store.subscriptions_of(name)) for name in NAMES} == {n: [row] for n, row in rows.items()}
        assert {name: store.standing(name).subscription for name in NAMES} == rows

    def test_no_id_is_taken_for_another(self, store: BillingStore) -> None:
        """Rows and events stay apart, however much alike their ids are."""
        rows = {name: replace(ROW, subscription_id=name, customer_id=name) for name in NAMES}
        for name, row in rows.items():
            assert not store.look_up_event(name).is_handled
            put = store.put_subscription(row, expected_version=0, event_id=name)
            assert (put.outcome, put.previous) == (PutOutcome.SAVED, None)
        assert {name: store.load_subscription(name).row for name in NAMES} == rows

    def test_rows_that_belong_to_nobody_yet(self, store: BillingStore) -> None:
        """Rows of one space whose org or plan is not known are listed."""
        lost = replace(ROW, subscription_id="sub_2", org_id=None)
        unpriced = replace(ROW, subscription_id="sub_3", plan=None)
        others = (replace(lost, subscription_id=f"sub_4{space}", space=space) for space in (LIVE, ELSEWHERE))
        oldest = replace(lost, subscription_id="sub_9", created=INSTANT - MINUTE)
        for row in (ROW, lost, unpriced, *others, oldest):
            store.put_subscription(row, expected_version=0)
        assert list(store.unmatched_subscriptions(TEST_MODE)) == [oldest, lost, unpriced]

    def test_the_callback_is_part_of_the_write(self, store: BillingStore) -> None:
        """It is told what was written in place of what; what it raises undoes everything."""
        seen: list[SubscriptionChange] = []
        store.put_subscription(ROW, expected_version=0, on_change=lambda change, _: seen.append(change))
        assert seen == [SubscriptionChange(None, ROW)]
        stored, standing, cursor = store.load_subscription("sub_1"), store.standing("acme"), store.changes(None).cursor
        cancelled = replace(ROW, status="canceled", known_status="canceled")
        with pytest.raises(ZeroDivisionError):
            store.put_subscription(cancelled, expected_version=stored.version, event_id="evt_1", on_change=_fail)
        with pytest.raises(_Stopped):
            store.put_subscription(replace(ROW, subscription_id="sub_2"), expected_version=0, on_change=_stop)
        assert store.load_subscription("sub_1") == stored
        assert store.load_subscription("sub_2") == StoredSubscription(None, 0)
        assert not store.look_up_event("evt_1").is_handled
        assert store.standing("acme") == standing
        assert store.changes(cursor).org_ids == frozenset()

    def test_only_what_is_written_calls_back(self, store: BillingStore) -> None:
        """Nobody is called for a conflict, or for an event that was handled."""
        store.put_subscription(ROW, expected_version=0, event_id="evt_1")
        told: list[SubscriptionChange] = []
        cancelled = replace(ROW, status="canceled", known_status="canceled")
        for version, event_id in ((0, None), (_version(store), "evt_1")):
            store.put_subscription(
                cancelled, expected_version=version, event_id=event_id, on_change=lambda change, _: told.append(change)
            )
        assert told == []

    def test_a_race_of_subscriptions(self, store: BillingStore, crew: Crew, rounds: int) -> None:
        """Each of many rows that an org gets at the same moment raises its version."""
        for number in range(RACES * rounds):
            before = store.standing("acme").version
            crew.race(partial(_deliver_own, number))
            assert store.standing("acme").version >= before + crew.workers

    def test_a_race_to_write(self, store: BillingStore, crew: Crew, rounds: int) -> None:
        """Of many first writes one is saved; so of many writes with the same version. No other's event is handled."""
        for _ in range(1 + RACES * rounds):
            before, standing = _version(store), store.standing("acme").version
            outcomes = crew.race(partial(_put_row, before))
            assert sorted(outcomes) == [PutOutcome.CONFLICT] * (crew.workers - 1) + [PutOutcome.SAVED]
            handled = [store.look_up_event(_own_event(before, worker)).is_handled for worker in range(crew.workers)]
            assert handled == [outcome is PutOutcome.SAVED for outcome in outcomes]
            assert _version(store) > before
            assert store.standing("acme").version > standing

    def test_a_race_at_every_line(self, store: BillingStore) -> None:
        """Wherever another write with the same version comes in between, one of the two is saved."""
        for puts, where in overtaken(store, lambda: partial(_put_row, _version(store))):
            assert sorted(puts) == [PutOutcome.CONFLICT, PutOutcome.SAVED], where

    def test_a_race_for_the_first_row_at_every_line(self, store: BillingStore) -> None:
        """Wherever another first row of a subscription comes in between, the event of the lost one is to be retried."""
        ids = (f"sub_race{number}" for number in count())
        for puts, where in overtaken(store, lambda: partial(_put_first, next(ids))):
            assert sorted(puts) == [(PutOutcome.CONFLICT, False), (PutOutcome.SAVED, True)], where

    def test_a_race_of_deliveries_at_every_line(self, store: BillingStore) -> None:
        """Wherever another delivery of the same event comes in between, one of the two is saved."""
        events = (f"evt_{number}" for number in count())
        for puts, where in overtaken(store, lambda: partial(_deliver, next(events))):
            assert sorted(puts) == [PutOutcome.DUPLICATE, PutOutcome.SAVED], where

    def test_a_race_with_one_delivery(self, store: BillingStore, crew: Crew, rounds: int) -> None:
        """One event that is delivered several times at once is saved once, also for rows of its own."""
        for number in range(RACES * rounds):
            outcomes = crew.race(partial(_deliver, f"evt_{number}"))
            assert sorted(outcomes) == [PutOutcome.DUPLICATE] * (crew.workers - 1) + [PutOutcome.SAVED]
            assert store.look_up_event(f"evt_{number}").is_handled
            assert len(store.subscriptions_of("acme")) == number + 1


def _version(store: BillingStore) -> int:
    return store.load_subscription("sub_1").version


def _deliver_own(number: int, store: BillingStore, worker: int) -> None:
    store.put_subscription(replace(ROW, subscription_id=f"sub_own{number}_{worker}"), expected_version=0)


def _put_row(version: int, store: BillingStore, worker: int) -> PutOutcome:
    row = replace(ROW, plan=f"plan-{version}-{worker}")
    return store.put_subscription(row, expected_version=version, event_id=_own_event(version, worker)).outcome


def _own_event(version: int, worker: int) -> str:
    return f"evt_{version}_{worker}"


def _put_first(subscription_id: str, store: BillingStore, worker: int) -> tuple[PutOutcome, bool]:
    row, event_id = replace(ROW, subscription_id=subscription_id), f"evt_{subscription_id}_{worker}"
    put = store.put_subscription(row, expected_version=0, event_id=event_id)
    return put.outcome, store.look_up_event(event_id).is_handled


def _deliver(event_id: str, store: BillingStore, worker: int) -> PutOutcome:
    row = replace(ROW, subscription_id=f"sub_{event_id}_{worker}")
    return store.put_subscription(row, expected_version=0, event_id=event_id).outcome


class SpacedStore(BillingStore, CurrentSpace, Protocol):
    """A store whose standings go by the current space."""


def _own_space(number: int) -> StripeSpace:
    return StripeSpace(f"acct_own{number}", livemode=True)


def _buy_there(store: SpacedStore, number: int) -> None:
    """An org has bought in a space that is not used yet."""
    row = replace(ROW, subscription_id=f"sub_own{number}", org_id=f"org{number}", space=_own_space(number))
    store.put_subscription(row, expected_version=0)
    store.use_space(TEST_MODE)
    follow(store, number)


def _use_own(store: SpacedStore, number: int) -> None:
    store.use_space(_own_space(number))


class Used(NamedTuple):
    """Whether the space counts, and if so, whether that is told."""

    is_used: bool
    feed_agrees: bool


def _used_own(store: SpacedStore, number: int) -> Used:
    is_used = store.standing(f"org{number}").subscription is not None
    return Used(is_used, not is_used or is_told(store, number))


class CurrentSpaceTests(CrashTests):
    """What a `CurrentSpace` must do; the store is a `SubscriptionStore`, a `StandingStore` and a `ChangeFeed` too."""

    deeds = (Deed(_use_own, _used_own, _buy_there),)
    test_killed_at_any_instant: Any = None  # it looks for what was done before, and there is one current space

    def test_without_a_space_every_subscription_counts(self, store: SpacedStore) -> None:
        """Before the first key is known nothing is taken from anybody."""
        for row in (ROW, replace(ROW, subscription_id="sub_9", org_id="umbrella", space=LIVE)):
            store.put_subscription(row, expected_version=0)
        assert store.standing("acme").subscription == ROW
        assert store.standing("umbrella").subscription is not None

    @pytest.mark.parametrize("space", [LIVE, ELSEWHERE])
    def test_only_the_current_space_counts(self, store: SpacedStore, space: StripeSpace) -> None:
        """A subscription of another mode or account does not count, and does again when its space is used again."""
        store.put_subscription(ROW, expected_version=0)
        store.use_space(TEST_MODE)
        before = store.standing("acme")
        assert before.subscription == ROW
        store.use_space(space)
        assert store.standing("acme") == replace(before, subscription=None)
        assert list(store.subscriptions_of("acme")) == [ROW]
        bought = replace(ROW, subscription_id="sub_9", space=space, plan="business")
        store.put_subscription(bought, expected_version=0)
        assert store.standing("acme").subscription == bought
        store.use_space(TEST_MODE)
        assert store.standing("acme").subscription == ROW

    def test_rows_of_other_spaces_are_written_all_the_same(self, store: SpacedStore) -> None:
        """What arrives late for another space is kept, and does not count."""
        store.use_space(LIVE)
        assert store.put_subscription(ROW, expected_version=0).outcome is PutOutcome.SAVED
        assert store.load_subscription("sub_1").row == ROW
        assert store.standing("acme").subscription is None

    def test_another_space_is_news_for_everyone(self, store: SpacedStore) -> None:
        """A change of the space is a change of every org; the same space again is none."""
        for space in (TEST_MODE, LIVE, TEST_MODE):
            cursor = store.changes(None).cursor
            store.use_space(space)
            news = store.changes(cursor)
            assert news.org_ids is Everyone.ALL
            store.use_space(space)
            assert store.changes(news.cursor).org_ids == frozenset()

    def test_a_race_to_a_space(self, store: SpacedStore, crew: Crew) -> None:
        """Many that learn the new keys at the same moment make one change."""
        store.put_subscription(ROW, expected_version=0)
        crew.race(_use_live)
        cursor = store.changes(None).cursor
        crew.race(_use_live)
        assert store.changes(cursor).org_ids == frozenset()
        assert store.standing("acme").subscription is None


def _use_live(store: CurrentSpace, _: int) -> None:
    store.use_space(LIVE)


def _fail(change: SubscriptionChange, _: Any) -> None:
    raise ZeroDivisionError(change.after.subscription_id)


class _Stopped(BaseException):
    """What is no `Exception`, as when a process is told to end."""


def _stop(change: SubscriptionChange, _: Any) -> None:
    raise _Stopped(change.after.subscription_id)


def _keep_own(store: CustomerStore, number: int) -> None:
    store.keep_customer(TEST_MODE, f"org{number}", f"cus_crash{number}")


class Kept(NamedTuple):
    """Whether each is found by the other."""

    customer_of_org: bool
    org_of_customer: bool


def _kept_own(store: CustomerStore, number: int) -> Kept:
    org_id, customer_id = f"org{number}", f"cus_crash{number}"
    return Kept(
        store.customer_of(TEST_MODE, org_id) == customer_id,
        store.org_of_customer(TEST_MODE, customer_id) == org_id,
    )


class CustomerStoreTests(CrashTests):
    """What a `CustomerStore` must do."""

    deeds = (Deed(_keep_own, _kept_own),)

    def test_one_customer_for_each_space(self, store: CustomerStore) -> None:
        """The first customer id becomes the org's in that space; another space has its own."""
        assert store.customer_of(TEST_MODE, "acme") is None
        assert store.keep_customer(TEST_MODE, "acme", "cus_1") == "cus_1"
        assert store.keep_customer(TEST_MODE, "acme", "cus_2") == "cus_1"
        assert store.customer_of(TEST_MODE, "acme") == "cus_1"
        assert store.customer_of(LIVE, "acme") is None
        assert store.keep_customer(LIVE, "acme", "cus_9") == "cus_9"

    def test_no_org_sees_another(self, store: CustomerStore) -> None:
        """Orgs and customers stay apart, however much alike their ids are."""
        customers = {name: f"cus_{name}" for name in NAMES}
        for name, customer_id in customers.items():
            assert store.keep_customer(TEST_MODE, name, customer_id) == customer_id
        assert {name: store.customer_of(TEST_MODE, name) for name in NAMES} == customers
        assert [store.org_of_customer(TEST_MODE, customers[name]) for name in NAMES] == list(NAMES)

    def test_the_org_of_a_customer(self, store: CustomerStore) -> None:
        """A customer is known in its own space and nowhere else."""
        store.keep_customer(TEST_MODE, "acme", "cus_1")
        assert store.org_of_customer(TEST_MODE, "cus_1") == "acme"
        assert store.org_of_customer(LIVE, "cus_1") is None
        assert store.org_of_customer(TEST_MODE, "cus_2") is None

    def test_a_race_to_keep_a_customer(self, store: CustomerStore, crew: Crew, rounds: int) -> None:
        """Of many that keep a customer at the same moment all are told the same one."""
        for number in range(RACES * rounds):
            kept = crew.race(partial(_keep, f"org{number}"))
            assert set(kept) == {store.customer_of(TEST_MODE, f"org{number}")}

    def test_a_race_at_every_line(self, store: CustomerStore) -> None:
        """Wherever another customer comes in between, both are told the same one."""
        orgs = (f"org{number}" for number in count())
        for number, (kept, where) in enumerate(overtaken(store, lambda: partial(_keep, next(orgs)))):
            assert set(kept) == {store.customer_of(TEST_MODE, f"org{number}")}, where

    def test_a_customer_that_is_gone(self, store: CustomerStore) -> None:
        """Another one takes its place once: whoever comes later with the one that is gone is told the new one."""
        store.keep_customer(TEST_MODE, "acme", "cus_1")
        store.keep_customer(LIVE, "acme", "cus_1")
        assert store.replace_customer(TEST_MODE, "acme", "cus_2", instead_of="cus_1") == "cus_2"
        assert store.replace_customer(TEST_MODE, "acme", "cus_3", instead_of="cus_1") == "cus_2"
        assert store.customer_of(TEST_MODE, "acme") == "cus_2"
        assert store.org_of_customer(TEST_MODE, "cus_2") == "acme"
        assert store.org_of_customer(TEST_MODE, "cus_1") is None
        assert store.customer_of(LIVE, "acme") == "cus_1"
        assert store.replace_customer(TEST_MODE, "umbrella", "cus_4", instead_of="cus_1") == "cus_4"

    def test_a_race_to_replace_a_customer(self, store: CustomerStore, crew: Crew, rounds: int) -> None:
        """Of many that replace a customer at the same moment all are told the same one."""
        for number in range(RACES * rounds):
            gone = store.keep_customer(TEST_MODE, f"org{number}", f"cus_gone{number}")
            kept = crew.race(partial(stumbling, partial(_replace, f"org{number}", gone)))
            assert set(kept) == {store.customer_of(TEST_MODE, f"org{number}")}
            assert gone not in kept


def _keep(org_id: str, store: CustomerStore, worker: int) -> str:
    return store.keep_customer(TEST_MODE, org_id, f"cus_{org_id}_{worker}")


def _replace(org_id: str, gone: str, store: CustomerStore, worker: int) -> str:
    return store.replace_customer(TEST_MODE, org_id, f"cus_{org_id}_new{worker}", instead_of=gone)
