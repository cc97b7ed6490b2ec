"""Counters and holdings."""
# ruff: noqa: S101 - asserting that numbers are right is what these methods are for

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Final, NamedTuple, Protocol

import pytest

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, LimitValue
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Claim,
    CounterKey,
    HoldingState,
    HoldingStore,
    TakeOutcome,
    UsageStore,
)
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, RACES, WORKERS, Crew, local_time, race
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, Deed
from kuploy_saas_kit.testing.conformance.crew import Opener, ProcessCrew
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.values import INSTANT, MICROSECOND, NAMES

ORG, OTHER, LIMIT = "acme", "umbrella", "maxProjects"
TURNS: Final = 12
SWEEPS: Final = 4
TWO: Final = 2
ORG_COUNTER, INSTANCE_COUNTER, OTHER_COUNTER = (ORG, LIMIT), (INSTANCE, LIMIT), (OTHER, LIMIT)
LIMITS: Final = (
    *("maxProjects", "maxprojects", "maxProject", "maxProjects2", "max_rojects", "max.rojects"),
    *("x" * 63 + "1", "x" * 63 + "2"),
)
"""Limit keys that are much alike, and as long as they may be."""
JOINED: Final = tuple(pair for by in ":/-" for pair in ((ORG, f"2{by}k"), (f"{ORG}{by}2", "k")))
"""Orgs and keys that are the same where a store joins them."""
DAY: Final = timedelta(days=1)
YEARS: Final = 3650 * DAY
"""A holding that lasts so long has not expired by the clock of another process either."""


def claims(amount: int = 1, cap: LimitValue = 5, instance_cap: LimitValue = 100, org: str = ORG) -> list[Claim]:
    """What acquiring *amount* projects for an org claims."""
    return [Claim(org, LIMIT, amount, cap), Claim(INSTANCE, LIMIT, amount, instance_cap)]


def seed(store: UsageStore, org_value: int = 0, instance_value: int | None = None) -> None:
    """Give the counters of two orgs and of the instance a first value."""
    store.seed_usage(ORG_COUNTER, org_value)
    store.seed_usage(OTHER_COUNTER, 0)
    store.seed_usage(INSTANCE_COUNTER, org_value if instance_value is None else instance_value)


def used(store: UsageStore) -> tuple[int, int]:
    """The counters of the org and of the instance."""
    return store.usage_of(ORG)[LIMIT], store.usage_of(INSTANCE)[LIMIT]


def _limit(number: int) -> str:
    return f"limit{number}"


def _pair(number: int, amount: int = 1) -> list[Claim]:
    return [Claim(ORG, _limit(number), amount, UNLIMITED), Claim(INSTANCE, _limit(number), amount, UNLIMITED)]


class Counted(NamedTuple):
    """The two counters; None where there is no row."""

    org: int | None
    instance: int | None


def _seed_pair(store: UsageStore, number: int) -> None:
    for scope in (ORG, INSTANCE):
        store.seed_usage((scope, _limit(number)), 3)


def _view_pair(store: UsageStore, number: int) -> Counted:
    return Counted(store.usage_of(ORG).get(_limit(number)), store.usage_of(INSTANCE).get(_limit(number)))


def _seed_org(store: UsageStore, number: int) -> None:
    store.seed_usage((ORG, _limit(number)), 3)


def _take_pair(store: UsageStore, number: int) -> None:
    store.take(_pair(number))


def _hold_pair(store: UsageStore, number: int) -> None:
    store.take(_pair(number, 2), key=_limit(number))


def _give_pair_back(store: UsageStore, number: int) -> None:
    store.give_back(dict.fromkeys([(ORG, _limit(number)), (INSTANCE, _limit(number))], 2))


def _measure_pair(store: UsageStore, number: int) -> None:
    store.put_usage(ORG, _limit(number), 9)


class UsageStoreTests(CrashTests):
    """What a `UsageStore` must do."""

    deeds = (
        Deed(_seed_org, _view_pair),
        Deed(_take_pair, _view_pair, _seed_pair, repeatable=False),
        Deed(_hold_pair, _view_pair, _seed_pair),
        Deed(_give_pair_back, _view_pair, _seed_pair, repeatable=False),
        Deed(_measure_pair, _view_pair, _seed_pair),
    )

    def test_a_take_moves_every_counter(self, store: UsageStore) -> None:
        """All claims are taken in one step, and the answer has the values after it."""
        seed(store)
        taken = store.take(claims(2))
        assert taken.outcome is TakeOutcome.TAKEN
        assert taken.used == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}
        assert used(store) == (2, 2)

    def test_the_last_unit_fits_and_no_more(self, store: UsageStore) -> None:
        """A cap of n admits n, not n − 1 and not n + 1."""
        seed(store)
        assert store.take(claims(5, cap=5)).outcome is TakeOutcome.TAKEN
        refused = store.take(claims(1, cap=5))
        assert refused.outcome is TakeOutcome.REFUSED
        assert refused.blocking == Claim(ORG, LIMIT, 1, 5)
        assert refused.used == {ORG_COUNTER: 5, INSTANCE_COUNTER: 5}
        assert used(store) == (5, 5)

    def test_a_refusal_by_the_instance_takes_nothing_from_the_org(self, store: UsageStore) -> None:
        """Where only one of two claims fits, neither is taken."""
        seed(store, org_value=1, instance_value=3)
        refused = store.take(claims(1, cap=5, instance_cap=3))
        assert refused.outcome is TakeOutcome.REFUSED
        assert refused.blocking == Claim(INSTANCE, LIMIT, 1, 3)
        assert used(store) == (1, 3)

    def test_the_org_is_named_where_both_would_refuse(self, store: UsageStore) -> None:
        """Of claims that do not fit, the org's first by name is the blocking one, in whatever order they are passed."""
        seed(store, org_value=5, instance_value=5)
        both = claims(1, cap=5, instance_cap=5)
        assert store.take(both).blocking == both[0]
        assert store.take(both[::-1]).blocking == both[0]
        store.seed_usage((ORG, "maxApps"), 5)
        apps = Claim(ORG, "maxApps", 1, 5)
        assert store.take([*both, apps]).blocking == apps

    def test_several_limits_at_once(self, store: UsageStore) -> None:
        """A take over several limits is all or none too."""
        seed(store)
        for scope in (ORG, INSTANCE):
            store.seed_usage((scope, "maxApps"), 0)
        apps = [Claim(ORG, "maxApps", 1, 0), Claim(INSTANCE, "maxApps", 1, 10)]
        assert store.take([*claims(), *apps]).outcome is TakeOutcome.REFUSED
        assert store.usage_of(INSTANCE) == {LIMIT: 0, "maxApps": 0}
        roomy = [Claim(ORG, "maxApps", 1, 1), Claim(INSTANCE, "maxApps", 1, 10)]
        assert store.take([*claims(), *roomy]).outcome is TakeOutcome.TAKEN
        assert store.usage_of(ORG) == {LIMIT: 1, "maxApps": 1}

    def test_a_counter_without_a_row_is_unknown(self, store: UsageStore) -> None:
        """Nothing is taken from counters that nobody has given a first value, and the answer names them."""
        store.seed_usage(INSTANCE_COUNTER, 0)
        answer = store.take(claims())
        assert answer.outcome is TakeOutcome.UNSEEDED
        assert answer.unseeded == (ORG_COUNTER,)
        others = [Claim(scope, limit, 1, 5) for limit in ("maxTeamMembers", "maxApps") for scope in (INSTANCE, ORG)]
        assert store.take(others).unseeded == (
            *((ORG, "maxApps"), (ORG, "maxTeamMembers")),
            *((INSTANCE, "maxApps"), (INSTANCE, "maxTeamMembers")),
        )
        assert store.usage_of(INSTANCE) == {LIMIT: 0}
        assert store.usage_of(ORG) == {}

    def test_a_first_value_is_given_once(self, store: UsageStore) -> None:
        """A second first value changes nothing, so that two processes may count the same rows."""
        store.seed_usage(ORG_COUNTER, 3)
        store.seed_usage(ORG_COUNTER, 4)
        assert store.usage_of(ORG) == {LIMIT: 3}

    def test_unlimited_has_room_for_all_that_can_be_counted(self, store: UsageStore) -> None:
        """No cap refuses nothing, up to what 64 bits hold; beyond it is a refusal and no overflow."""
        seed(store, org_value=MAX_LIMIT - 1)
        assert store.take(claims(1, UNLIMITED, UNLIMITED)).outcome is TakeOutcome.TAKEN
        assert store.take(claims(1, UNLIMITED, UNLIMITED)).outcome is TakeOutcome.REFUSED
        assert used(store) == (MAX_LIMIT, MAX_LIMIT)

    def test_a_cap_below_what_is_used(self, store: UsageStore) -> None:
        """After a downgrade nothing is taken away; taking is refused until enough was given back."""
        seed(store, org_value=10)
        assert store.take(claims(1, cap=4)).outcome is TakeOutcome.REFUSED
        store.give_back({ORG_COUNTER: 7, INSTANCE_COUNTER: 7})
        assert store.take(claims(1, cap=4)).outcome is TakeOutcome.TAKEN

    def test_giving_back(self, store: UsageStore) -> None:
        """What is given back is free again, and the answer has the values after it."""
        seed(store, org_value=3)
        given = store.give_back({ORG_COUNTER: 2, INSTANCE_COUNTER: 2})
        assert given.used == {ORG_COUNTER: 1, INSTANCE_COUNTER: 1}
        assert given.returned == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}
        assert given.drift == {}

    def test_giving_back_too_much(self, store: UsageStore) -> None:
        """A counter stops at 0, and the rest is reported as drift; so is what belongs to no counter."""
        seed(store, org_value=1, instance_value=3)
        given = store.give_back({ORG_COUNTER: 2, INSTANCE_COUNTER: 2, ("nobody", LIMIT): 1})
        assert given.used == {ORG_COUNTER: 0, INSTANCE_COUNTER: 1}
        assert given.returned == {ORG_COUNTER: 1, INSTANCE_COUNTER: 2}
        assert given.drift == {ORG_COUNTER: 1, ("nobody", LIMIT): 1}
        assert store.usage_of("nobody") == {}

    def test_no_org_sees_another(self, store: UsageStore) -> None:
        """Counters of one org are neither read nor moved through another, however much alike their ids are."""
        own = {(org, _limit(number)): number for number, org in enumerate(NAMES)}
        for counter, value in own.items():
            store.seed_usage(counter, value)
        moved = _move_each(store, [(org, LIMIT) for org in NAMES])
        assert _counters(store, NAMES) == own | moved

    def test_no_limit_stands_for_another(self, store: UsageStore) -> None:
        """Counters of one org are told apart, however much alike the limits are."""
        counters = [*((ORG, limit) for limit in LIMITS), (ORG, "a.b"), ("acme.a", "b"), (ORG, "a-b"), ("acme-a", "b")]
        moved = _move_each(store, counters)
        assert _counters(store, {scope for scope, _ in counters}) == moved

    def test_no_key_stands_for_another(self, store: UsageStore) -> None:
        """Something is taken under every key, however much alike those are."""
        places = [*((ORG, key) for key in NAMES), *JOINED]
        store.seed_usage(INSTANCE_COUNTER, 0)
        for org, _ in places:
            store.seed_usage((org, LIMIT), 0)
        outcomes = {
            (org, key): store.take(claims(number, UNLIMITED, UNLIMITED, org), key=key).outcome
            for number, (org, key) in enumerate(places, 1)
        }
        assert outcomes == dict.fromkeys(places, TakeOutcome.TAKEN)

    def test_a_measured_value_moves_the_sum(self, store: UsageStore) -> None:
        """Putting an org's value moves the instance's by the same difference, up or down."""
        seed(store, org_value=4, instance_value=10)
        up = store.put_usage(ORG, LIMIT, 6)
        assert (up.previous, up.instance) == (4, 12)
        down = store.put_usage(ORG, LIMIT, 0)
        assert (down.previous, down.instance) == (6, 6)
        assert used(store) == (0, 6)

    def test_the_first_measured_value_begins_the_sum(self, store: UsageStore) -> None:
        """Without a counter of the instance, it becomes the sum over the orgs."""
        store.seed_usage(OTHER_COUNTER, 3)
        put = store.put_usage(ORG, LIMIT, 2)
        assert (put.previous, put.instance) == (0, 5)
        assert used(store) == (2, 5)

    def test_a_measured_value_does_not_move_the_sum_below_0(self, store: UsageStore) -> None:
        """Where the sum has less than the difference, it stops at 0 and can be counted on from there."""
        seed(store, org_value=5, instance_value=3)
        put = store.put_usage(ORG, LIMIT, 1)
        assert (put.previous, put.instance) == (5, 0)
        assert store.put_usage(ORG, LIMIT, 2).instance == 1
        assert used(store) == (2, 1)

    @pytest.mark.parametrize(
        "wrong", [[], [*claims(), *claims()], [Claim(ORG, LIMIT, -1, 5)], [Claim(ORG, LIMIT, MAX_LIMIT + 1, UNLIMITED)]]
    )
    def test_what_is_no_take(self, store: UsageStore, wrong: list[Claim]) -> None:
        """No claims, a counter named twice and impossible amounts are refused before anything is touched."""
        seed(store, org_value=2)
        with pytest.raises(InvalidValueError):
            store.take(wrong)
        assert used(store) == (2, 2)

    def test_a_key_is_taken_once(self, store: UsageStore) -> None:
        """The same claims under the same key are held already, whatever their caps have become."""
        seed(store)
        assert store.take(claims(2, cap=5), key="project-1").outcome is TakeOutcome.TAKEN
        again = store.take(claims(2, cap=1), key="project-1")
        assert again.outcome is TakeOutcome.HELD
        assert again.used == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}

    def test_a_key_knows_its_claims_in_any_order(self, store: UsageStore) -> None:
        """The same claims are the same, in whatever order the limits are named."""
        for number in range(2):
            _seed_pair(store, number)
        assert store.take([*_pair(0), *_pair(1)], key="k").outcome is TakeOutcome.TAKEN
        assert store.take([*_pair(1), *_pair(0)], key="k").outcome is TakeOutcome.HELD

    def test_a_key_stands_for_one_amount(self, store: UsageStore) -> None:
        """Other claims under a key that is held are a conflict and take nothing, more or fewer of them too."""
        seed(store)
        _seed_pair(store, 0)
        store.take([*claims(2), *_pair(0, 2)], key="project-1")
        for others in (claims(1), claims(2), _pair(0, 2), [*claims(2), *_pair(0, 1)]):
            assert store.take(others, key="project-1").outcome is TakeOutcome.CONFLICT
        assert (*used(store), *_view_pair(store, 0)) == (2, 2, 5, 5)
        store.take(claims(1), key="project-2")
        assert store.take([*claims(1), *_pair(0)], key="project-2").outcome is TakeOutcome.CONFLICT
        _seed_pair(store, 1)
        assert store.take(_pair(1), key="project-2").outcome is TakeOutcome.CONFLICT
        assert (*used(store), *_view_pair(store, 0), *_view_pair(store, 1)) == (3, 3, 5, 5, 3, 3)

    def test_a_key_belongs_to_one_org(self, store: UsageStore) -> None:
        """Two orgs may use the same key without meeting."""
        seed(store)
        assert store.take(claims(), key="1").outcome is TakeOutcome.TAKEN
        assert store.take(claims(org=OTHER), key="1").outcome is TakeOutcome.TAKEN
        assert store.usage_of(INSTANCE) == {LIMIT: 2}

    def test_a_refused_key_is_free(self, store: UsageStore) -> None:
        """A take that was refused holds nothing under its key."""
        seed(store, org_value=5)
        assert store.take(claims(cap=5), key="project-1").outcome is TakeOutcome.REFUSED
        assert store.take(claims(2, cap=7), key="project-1").outcome is TakeOutcome.TAKEN

    def test_a_race_for_the_last_units(self, store: UsageStore, crew: Crew, rounds: int) -> None:
        """Of many that ask at the same moment exactly as many as fit are granted: none over the cap, none lost."""
        for number in range(RACES * rounds):
            limit = f"limit{number}"
            for scope in (ORG, INSTANCE):
                store.seed_usage((scope, limit), 0)
            outcomes = [outcome for turn in crew.race(partial(_take_thrice, limit)) for outcome in turn]
            assert outcomes.count(TakeOutcome.TAKEN) == 5
            assert outcomes.count(TakeOutcome.REFUSED) == len(outcomes) - 5
            assert (store.usage_of(ORG)[limit], store.usage_of(INSTANCE)[limit]) == (5, 5)

    def test_a_race_for_the_last_unit_at_every_line(self, store: UsageStore) -> None:
        """Wherever somebody else comes in between, one of the two gets it."""
        limits = (_limit(number) for number in count())

        def contest() -> Callable[[UsageStore, int], TakeOutcome]:
            limit = next(limits)
            for scope in (ORG, INSTANCE):
                store.seed_usage((scope, limit), 4)
            return partial(_take_once, limit)

        for number, (outcomes, where) in enumerate(overtaken(store, contest)):
            assert sorted(outcomes) == [TakeOutcome.REFUSED, TakeOutcome.TAKEN], where
            assert (store.usage_of(ORG)[_limit(number)], store.usage_of(INSTANCE)[_limit(number)]) == (5, 5), where

    def test_a_race_between_orgs(self, store: UsageStore, crew: Crew, rounds: int) -> None:
        """Orgs never hold more than the instance's cap together; a refused one keeps nothing of its own counter."""
        for org in range(crew.workers):
            store.seed_usage((f"org{org}", LIMIT), 0)
        store.seed_usage(INSTANCE_COUNTER, 0)
        told = crew.race(partial(_take_and_give_back, TURNS * rounds))
        held = [store.usage_of(f"org{org}")[LIMIT] for org in range(crew.workers)]
        assert max(most for most, _ in told) <= TWO
        assert held == [left for _, left in told]
        assert store.usage_of(INSTANCE) == {LIMIT: sum(held)}

    def test_a_race_to_seed(self, store: UsageStore, crew: Crew, rounds: int) -> None:
        """Of many that give a counter its first value one does; the others overwrite nothing."""
        for number in range(3 * RACES * rounds):
            seen = set(crew.race(partial(_seed_and_look, f"limit{number}")))
            assert seen == {store.usage_of(ORG)[f"limit{number}"]}

    def test_a_race_to_seed_at_every_line(self, store: UsageStore) -> None:
        """Wherever another first value comes in between, one of the two stands, with what was taken since."""
        limits = (_limit(number) for number in count())
        for number, (_, where) in enumerate(overtaken(store, lambda: partial(_seed_or_use, next(limits)))):
            assert store.usage_of(ORG)[_limit(number)] in {1, 11}, where  # 0 and 10

    def test_a_race_with_one_key(self, store: UsageStore, crew: Crew, rounds: int) -> None:
        """A request that was sent several times at once is counted once."""
        seed(store)
        for number in range(RACES * rounds):
            outcomes = crew.race(partial(_take_under, f"project-{number}"))
            assert sorted(outcomes) == [TakeOutcome.HELD] * (crew.workers - 1) + [TakeOutcome.TAKEN]
            assert used(store) == (number + 1, number + 1)

    def test_a_race_of_all_verbs(self, store: UsageStore, crew: Crew, rounds: int) -> None:
        """Taking, giving back and measuring at the same time leave the counters as if done one after the other.

        Nobody waits for somebody who waits for him, in whatever order claims are passed.
        """
        turns = 4 * rounds
        seed(store, org_value=crew.workers * turns * 2)
        _seed_pair(store, 0)
        crew.race(partial(_write_at_will, turns))
        takers, givers = crew.workers // 2, crew.workers - crew.workers // 2
        left = turns * (crew.workers * 2 + takers * 3 - givers * 2)
        assert used(store) == (left, left)
        assert _view_pair(store, 0) == (3 + turns * takers, 3 + turns * takers)
        measured = sum(range(crew.workers))
        assert store.usage_of(INSTANCE)["maxStorageBytes"] == measured, "not the sum over the orgs that were measured"


def _move_each(store: UsageStore, counters: Sequence[CounterKey]) -> dict[CounterKey, int]:
    """Move each counter by every verb, and by amounts of its own; what each must be then."""
    seeded = {counter: number for number, counter in enumerate(counters, 1)}
    for counter, number in seeded.items():
        store.seed_usage(counter, number)
    assert {counter: store.put_usage(*counter, 10 * number).previous for counter, number in seeded.items()} == seeded
    for (scope, limit), number in seeded.items():
        store.take([Claim(org, limit, 100 * number, UNLIMITED) for org in (scope, INSTANCE)])
    store.give_back(seeded)
    measured = Counter[str]()
    for (_, limit), number in seeded.items():
        measured[limit] += 110 * number
    assert store.usage_of(INSTANCE) == measured
    return {counter: 109 * number for counter, number in seeded.items()}


def _counters(store: UsageStore, scopes: Iterable[str]) -> dict[CounterKey, int]:
    return {(scope, limit): value for scope in scopes for limit, value in store.usage_of(scope).items()}


def _seed_and_look(limit: str, store: UsageStore, worker: int) -> int:
    store.seed_usage((ORG, limit), worker)
    return store.usage_of(ORG)[limit]


def _seed_or_use(limit: str, store: UsageStore, worker: int) -> None:
    store.seed_usage((ORG, limit), 10 * worker)
    if worker:
        store.take([Claim(ORG, limit, 1, UNLIMITED)])


def _take_once(limit: str, store: UsageStore, _: int) -> TakeOutcome:
    return store.take([Claim(ORG, limit, 1, 5), Claim(INSTANCE, limit, 1, 100)]).outcome


def _take_thrice(limit: str, store: UsageStore, worker: int) -> list[TakeOutcome]:
    return [_take_once(limit, store, worker) for _ in range(3)]


def _take_and_give_back(turns: int, store: UsageStore, worker: int) -> tuple[int, int]:
    """The most that the instance was seen to hold while this worker held something, and what it holds in the end."""
    org, most, held = f"org{worker}", 0, 0
    for turn in range(turns):
        if store.take(claims(cap=turns, instance_cap=TWO, org=org)).outcome is not TakeOutcome.TAKEN:
            continue
        held += 1
        most = max(most, store.usage_of(INSTANCE)[LIMIT])
        if turn < turns - 1:
            store.give_back({(org, LIMIT): held, INSTANCE_COUNTER: held})
            held = 0
    return most, held


def _take_under(key: str, store: UsageStore, _: int) -> TakeOutcome:
    return store.take(claims(cap=UNLIMITED, instance_cap=UNLIMITED), key=key).outcome


def _write_at_will(turns: int, store: UsageStore, worker: int) -> None:
    for _ in range(turns):
        if worker % 2:
            both = [*claims(3, UNLIMITED, UNLIMITED), *_pair(0)]
            store.take(both if worker % 4 == 1 else both[::-1])
        else:
            store.give_back({INSTANCE_COUNTER: 2, ORG_COUNTER: 2})
        store.put_usage(f"org{worker}", "maxStorageBytes", worker)


class UsageAndHoldingStore(UsageStore, HoldingStore, Protocol):
    """A store that counts and holds."""


def _reserve_pair(store: UsageStore, number: int, ttl: timedelta = YEARS) -> None:
    _seed_pair(store, number)
    store.take(_pair(number, 2), key=_limit(number), ttl=ttl)


def _reserve_in_vain(store: UsageStore, number: int) -> None:
    """Expired at once, by the test's clock and by every later one, such as that of another process."""
    _reserve_pair(store, number, timedelta())


class Held(NamedTuple):
    """The two counters, and whether the key still stands for what was taken."""

    org: int | None
    instance: int | None
    is_held: bool


def _view_holding(store: UsageStore, number: int) -> Held:
    """The counters, and whether the key still stands for what was taken: a take without room takes nothing."""
    again = [Claim(claim.scope, claim.limit, claim.amount, 0) for claim in _pair(number, 2)]
    is_held = store.take(again, key=_limit(number)).outcome is TakeOutcome.HELD
    return Held(*_view_pair(store, number), is_held)


def _release_pair(store: HoldingStore, number: int) -> None:
    store.release_holding(ORG, _limit(number))


def _settle_and_release(store: HoldingStore, number: int) -> None:
    store.settle_holding(ORG, _limit(number))
    store.release_holding(ORG, _limit(number))


def _sweep_pair(store: HoldingStore, _: int) -> None:
    store.sweep_holdings()


class HoldingStoreTests(CrashTests):
    """What a `HoldingStore` must do; the store is a `UsageStore` too."""

    deeds = (
        Deed(_release_pair, _view_holding, _reserve_pair),
        Deed(_settle_and_release, _view_holding, _reserve_pair),
        Deed(_sweep_pair, _view_pair, _reserve_in_vain),
    )

    def test_settling_keeps_the_amounts(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """A settled holding never expires, stays known by its key, and settling it again is the same."""
        seed(store)
        store.take(claims(2), key="k", ttl=MINUTE)
        assert store.settle_holding(ORG, "k").state is HoldingState.HELD
        clock.advance(2 * MINUTE)
        store.sweep_holdings()
        assert store.settle_holding(ORG, "k").state is HoldingState.HELD
        assert store.take(claims(2), key="k").outcome is TakeOutcome.HELD
        assert used(store) == (2, 2)

    def test_what_cannot_be_settled(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """A holding that expired, swept or not, was released, or never was, is gone."""
        seed(store)
        store.take(claims(), key="expired", ttl=MINUTE)
        store.take(claims(), key="released")
        store.release_holding(ORG, "released")
        clock.advance(MINUTE)
        for _ in range(2):
            assert store.settle_holding(ORG, "expired").state is HoldingState.GONE
            store.sweep_holdings()
        assert store.settle_holding(ORG, "released").state is HoldingState.GONE
        assert store.settle_holding(ORG, "never").state is HoldingState.GONE

    def test_a_holding_ends_at_its_time(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """It is held up to the instant at which it expires, and not at it."""
        seed(store)
        clock.advance(INSTANT - clock.now())  # to the microsecond
        held, almost = MINUTE - MICROSECOND, MINUTE - 2 * MICROSECOND
        for ttl in (timedelta(), almost, held, 2 * DAY):
            store.take(claims(), key=str(ttl), ttl=ttl)
        assert store.settle_holding(ORG, str(timedelta())).state is HoldingState.GONE
        clock.advance(almost)
        assert store.settle_holding(ORG, str(held)).state is HoldingState.HELD
        assert store.settle_holding(ORG, str(almost)).state is HoldingState.GONE
        clock.advance(DAY)
        assert store.settle_holding(ORG, str(2 * DAY)).state is HoldingState.HELD

    def test_the_hour_that_comes_twice(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """A holding ends at its time also where the clocks on the wall are set back meanwhile."""
        before_the_hour = datetime(2027, 10, 31, 0, 30, tzinfo=UTC)  # 02:30, and 02:30 again an hour later
        with local_time("CET-1CEST,M3.5.0,M10.5.0/3"):
            seed(store)
            clock.advance(before_the_hour - clock.now())
            store.take(claims(2), key="k", ttl=45 * MINUTE)
            for step in (0, 44):
                clock.advance(step * MINUTE)
                assert store.sweep_holdings().returned == {}
            clock.advance(MINUTE)
            assert store.sweep_holdings().returned == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}

    @pytest.mark.parametrize("settled", [False, True])
    def test_a_release_returns_once(self, store: UsageAndHoldingStore, *, settled: bool) -> None:
        """Releasing returns exactly what the key holds; doing it again returns nothing."""
        seed(store)
        store.take(claims(2), key="k", ttl=MINUTE)
        if settled:
            store.settle_holding(ORG, "k")
        store.take(claims(1))
        assert store.release_holding(ORG, "k").returned == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}
        again = store.release_holding(ORG, "k")
        assert (again.returned, again.drift) == ({}, {})
        assert used(store) == (1, 1)

    def test_a_release_returns_every_limit(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """What a key holds of several limits is returned as a whole, whether it is released or expires."""
        for number in range(2):
            _seed_pair(store, number)
        for expires in (False, True):
            store.take([*_pair(0), *_pair(1, 2)], key="k", ttl=MINUTE)
            clock.advance(MINUTE if expires else MINUTE / 2)
            given = store.sweep_holdings() if expires else store.release_holding(ORG, "k")
            assert given.returned == {claim.counter: claim.amount for claim in (*_pair(0), *_pair(1, 2))}
            assert (*_view_pair(store, 0), *_view_pair(store, 1)) == (3, 3, 3, 3)

    def test_a_release_after_its_time(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """What expired and was not swept yet is returned once all the same."""
        seed(store)
        store.take(claims(2), key="k", ttl=MINUTE)
        store.take(claims(1))
        clock.advance(MINUTE)
        store.release_holding(ORG, "k")
        store.sweep_holdings()
        assert used(store) == (1, 1)

    def test_a_release_reaches_one_org(self, store: UsageAndHoldingStore) -> None:
        """Another org's key of the same name is not released."""
        seed(store)
        store.take(claims(), key="k")
        assert store.release_holding(OTHER, "k").returned == {}
        assert used(store) == (1, 1)

    def test_no_holding_stands_for_another(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """Settling, sweeping and releasing one reach no other, however much alike orgs and keys are."""
        places = [*((ORG, key) for key in NAMES), *((org, ORG) for org in NAMES if org != ORG), *JOINED]
        store.seed_usage(INSTANCE_COUNTER, 0)
        for org, _ in places:
            store.seed_usage((org, LIMIT), 0)
        for number, (org, key) in enumerate(places, 1):
            taken = store.take(claims(number, UNLIMITED, UNLIMITED, org), key=key, ttl=MINUTE)
            assert taken.outcome is TakeOutcome.TAKEN, (org, key)
        settled = {place for place in places if not all(name.lower().startswith(ORG) for name in place)}  # patterns too
        for place in settled:
            store.settle_holding(*place)
        clock.advance(MINUTE)
        store.sweep_holdings()
        returned = {(org, key): store.release_holding(org, key).returned.get((org, LIMIT)) for org, key in places}
        assert returned == {place: number if place in settled else None for number, place in enumerate(places, 1)}

    def test_a_released_key_is_free(self, store: UsageAndHoldingStore) -> None:
        """After a release the key may stand for something else."""
        seed(store)
        store.take(claims(2), key="k")
        store.release_holding(ORG, "k")
        assert store.take(claims(3), key="k").outcome is TakeOutcome.TAKEN
        assert used(store) == (3, 3)

    def test_what_expired_counts_until_it_is_swept(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """Sweeping returns what expired holdings took, once, and leaves the others."""
        seed(store)
        store.take(claims(2), key="short", ttl=MINUTE)
        store.take(claims(1), key="long", ttl=10 * MINUTE)
        clock.advance(MINUTE)
        assert used(store) == (3, 3)
        assert store.sweep_holdings().returned == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}
        assert store.sweep_holdings().returned == {}
        assert used(store) == (1, 1)

    def test_a_take_without_room_sweeps_first(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """Room that an expired holding of any org has is found before a take is refused."""
        seed(store)
        store.take(claims(2, org=OTHER), key="k", ttl=MINUTE)
        assert store.take(claims(2, instance_cap=3)).outcome is TakeOutcome.REFUSED
        clock.advance(MINUTE)
        taken = store.take(claims(2, instance_cap=3))
        assert taken.outcome is TakeOutcome.TAKEN
        assert taken.used == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}
        assert store.usage_of(OTHER) == {LIMIT: 0}

    def test_a_sweep_stays_also_after_a_refusal(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """A take that is refused all the same took nothing, and what had expired was returned."""
        seed(store)
        store.take(claims(2), key="k", ttl=MINUTE)
        clock.advance(MINUTE)
        refused = store.take(claims(9, cap=5), key="other")
        assert refused.outcome is TakeOutcome.REFUSED
        assert refused.used == {ORG_COUNTER: 0, INSTANCE_COUNTER: 0}
        assert used(store) == (0, 0)

    def test_the_key_of_an_expired_holding_is_free(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """Taking again under it takes anew, after what expired was returned."""
        seed(store)
        store.take(claims(2), key="k", ttl=MINUTE)
        clock.advance(MINUTE)
        assert store.take(claims(3), key="k", ttl=MINUTE).outcome is TakeOutcome.TAKEN
        assert used(store) == (3, 3)
        assert store.settle_holding(ORG, "k").state is HoldingState.HELD

    def test_asking_again_prolongs_nothing(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """The same take under the same key leaves the holding's end where it was."""
        seed(store)
        store.take(claims(), key="k", ttl=MINUTE)
        clock.advance(MINUTE / 2)
        assert store.take(claims(), key="k", ttl=MINUTE).outcome is TakeOutcome.HELD
        clock.advance(MINUTE / 2)
        assert store.settle_holding(ORG, "k").state is HoldingState.GONE

    def test_a_release_after_the_counter_was_set_lower(self, store: UsageAndHoldingStore) -> None:
        """Returning stops at 0, and the rest is drift."""
        seed(store)
        store.take(claims(3), key="k")
        store.put_usage(ORG, LIMIT, 1)
        given = store.release_holding(ORG, "k")
        assert given.returned == {ORG_COUNTER: 1, INSTANCE_COUNTER: 1}
        assert given.drift == {ORG_COUNTER: 2, INSTANCE_COUNTER: 2}

    def test_a_race_to_release(self, store: UsageAndHoldingStore, crew: Crew, rounds: int) -> None:
        """Of many that release one key, one returns what it held."""
        seed(store, org_value=10)
        for number in range(RACES * rounds):
            store.take(claims(2, cap=20), key=f"k{number}")
            returned = crew.race(partial(_release, f"k{number}"))
            assert sorted(returned) == [0] * (crew.workers - 1) + [2]
            assert used(store) == (10, 10)

    def test_a_race_to_settle_at_every_line(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """Wherever a holding expires and is swept: what somebody is told is held stays counted, and all else is not."""
        seed(store)
        keys, kept = (f"k{number}" for number in count()), 0

        def contest() -> Callable[[HoldingStore, int], HoldingState | None]:
            key = next(keys)
            store.take(claims(1, UNLIMITED, UNLIMITED), key=key, ttl=MINUTE)
            return partial(_settle_or_expire, key, clock)

        for (state, _), where in overtaken(store, contest):
            kept += state is HoldingState.HELD
            store.sweep_holdings()
            assert used(store) == (kept, kept), where

    def test_threads_sweep_once(self, store: UsageAndHoldingStore, clock: ManualClock) -> None:
        """What expired is returned once, whoever sweeps: sweepers, releases and takes without room."""
        seed(store)
        for org in (ORG, OTHER):
            for key in range(5):
                store.take(claims(cap=5, instance_cap=10, org=org), key=f"k{key}", ttl=MINUTE)
        clock.advance(MINUTE)

        def turn(worker: int) -> TakeOutcome | None:
            org = (ORG, OTHER)[worker % 2]
            if worker < 2:
                store.release_holding(org, "k1")
            elif worker < 4:
                store.sweep_holdings()
            else:
                return store.take(claims(cap=5, instance_cap=10, org=org), key=f"new{worker}").outcome
            return None

        outcomes = race(turn)
        assert outcomes.count(TakeOutcome.TAKEN) == WORKERS - 4
        assert store.usage_of(ORG)[LIMIT] + store.usage_of(OTHER)[LIMIT] == WORKERS - 4
        assert store.usage_of(INSTANCE) == {LIMIT: WORKERS - 4}

    def test_processes_sweep_once(self, store: UsageAndHoldingStore, reopen: Opener, rounds: int) -> None:
        """What expired is returned once, however many processes look for it at the same moment."""
        seed(store, org_value=10)
        with ProcessCrew(reopen, workers=self.processes) as crew:
            for number in range(RACES * rounds):
                assert sum(crew.race(partial(_reserve_and_sweep, number))) == 2 * SWEEPS * crew.workers
                assert used(store) == (10, 10)


def _release(key: str, store: HoldingStore, _: int) -> int:
    """How many counters something was returned to."""
    return len(store.release_holding(ORG, key).returned)


def _reserve_and_sweep(number: int, store: UsageAndHoldingStore, worker: int) -> int:
    """How much was returned to the org."""
    returned = 0
    for turn in range(SWEEPS):
        store.take(claims(2, UNLIMITED, UNLIMITED), key=f"{number}-{worker}-{turn}", ttl=timedelta())
        returned += store.sweep_holdings().returned.get(ORG_COUNTER, 0)
    return returned


def _settle_or_expire(key: str, clock: ManualClock, store: HoldingStore, worker: int) -> HoldingState | None:
    if not worker:
        return store.settle_holding(ORG, key).state
    clock.advance(MINUTE)
    store.sweep_holdings()
    return None
