"""State machines that do the same to a store and to the memory store, and compare every answer.

TestMyCounters = usage_machine(lambda clock: MyStore(clock)).TestCase
TestMyCounters.settings = settings(max_examples=10, stateful_step_count=20, deadline=None, phases=[Phase.generate])

Without `Phase.shrink` a mistake is told at once, as the history in which it was found; looking for a shorter one takes
minutes on a store that writes to a disk.
"""
# ruff: noqa: S101 - asserting that both answer the same is what a machine is for

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.model.limits import UNLIMITED, LimitValue
from kuploy_saas_kit.model.subscription import Assignment, OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, CounterKey, MeterEntry
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW

_ORGS: Final = ("acme", "Acme")  # two orgs, also where a column ignores case
_LIMITS: Final = ("maxProjects", "maxApps")
_SCOPES: Final = (*_ORGS, INSTANCE)
_ALL_COUNTERS: Final = frozenset((scope, limit) for scope in _SCOPES for limit in _LIMITS)


def _claim(counter: CounterKey, amount: int, cap: LimitValue) -> Claim:
    return Claim(*counter, amount, cap)


_amounts = st.integers(0, 4)
_caps = st.integers(0, 8) | st.just(UNLIMITED)
_counters = st.tuples(st.sampled_from(_SCOPES), st.sampled_from(_LIMITS))
_claims = st.lists(
    st.builds(_claim, _counters, _amounts, _caps), min_size=1, max_size=4, unique_by=lambda claim: claim.counter
)
_keys = st.sampled_from(("k1", "k2", "K2"))
_ttls = st.sampled_from((None, MINUTE, 2 * MINUTE))
_orgs = st.sampled_from(_ORGS)


class _Machine(RuleBasedStateMachine):
    """Two stores under one clock; a subclass gives the store that is compared with the memory store."""

    make: Callable[[ManualClock], Any]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(NOW)
        self.oracle = MemoryStore(self.clock)
        self.store = type(self).make(self.clock)

    def teardown(self) -> None:
        if hasattr(self.store, "close"):
            self.store.close()

    def same(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """What both answer, which must be the same."""
        expected = getattr(self.oracle, verb)(*args, **kwargs)
        answer = getattr(self.store, verb)(*args, **kwargs)
        if isinstance(expected, tuple):
            answer = tuple(answer)  # a list is a sequence too
        assert answer == expected, f"{verb}: what your store answers is not what the memory store does, on the right"
        return answer

    @rule(step=st.sampled_from((MINUTE / 2, MINUTE, 2 * MINUTE)))
    def time_passes(self, step: timedelta) -> None:
        self.clock.advance(step)


class _UsageMachine(_Machine):
    """Counters, holdings and meters."""

    places = Bundle("places")

    @initialize(counters=st.just(_ALL_COUNTERS) | st.sets(_counters))
    def begin(self, counters: Collection[CounterKey]) -> None:
        for counter in sorted(counters):
            self.same("seed_usage", counter, 0)

    @rule(target=places, org_id=_orgs, amount=st.integers(1, 3), key=_keys, ttl=_ttls)
    def acquire(self, org_id: str, amount: int, key: str, ttl: timedelta | None) -> tuple[str, str]:
        both = [Claim(org_id, "maxProjects", amount, 12), Claim(INSTANCE, "maxProjects", amount, 16)]
        self.same("take", both, key=key, ttl=ttl)
        return org_id, key

    @rule(counter=_counters, value=_amounts)
    def seed(self, counter: CounterKey, value: int) -> None:
        self.same("seed_usage", counter, value)

    @rule(claims=_claims, key=st.none() | _keys, ttl=_ttls)
    def take(self, claims: Sequence[Claim], key: str | None, ttl: timedelta | None) -> None:
        self.same("take", claims, key=key, ttl=ttl)

    @rule(amounts=st.dictionaries(_counters, _amounts, max_size=3))
    def give_back(self, amounts: Mapping[CounterKey, int]) -> None:
        self.same("give_back", amounts)

    @rule(org_id=_orgs, limit=st.sampled_from(_LIMITS), value=_amounts)
    def measure(self, org_id: str, limit: str, value: int) -> None:
        self.same("put_usage", org_id, limit, value)

    @rule(place=places)
    def settle(self, place: tuple[str, str]) -> None:
        self.same("settle_holding", *place)

    @rule(place=places)
    def release(self, place: tuple[str, str]) -> None:
        self.same("release_holding", *place)

    @rule()
    def sweep(self) -> None:
        self.same("sweep_holdings")

    @precondition(lambda self: hasattr(self.store, "add_meter"))
    @rule(event=st.sampled_from(("e1", "e2", "e3")), scope=st.sampled_from(_SCOPES), amount=_amounts)
    def use(self, event: str, scope: str, amount: int) -> None:
        self.same("add_meter", event, [MeterEntry(scope, "build", NOW, amount), MeterEntry("", "build", NOW, amount)])

    @invariant()
    def counters_agree(self) -> None:
        for scope in _SCOPES:
            self.same("usage_of", scope)

    @precondition(lambda self: hasattr(self.store, "add_meter"))
    @invariant()
    def meters_agree(self) -> None:
        for scope in _SCOPES:
            self.same("meter_total", scope, "build", NOW)


_SPACE: Final = StripeSpace("acct_1", livemode=False)
_STATUSES: Final = ("active", "past_due", "canceled", "trialing")
_NUMBERS: Final = (1, 2, 3)


class _BooksMachine(_Machine):
    """Subscriptions, assignments, customers and the change feed."""

    def __init__(self) -> None:
        super().__init__()
        self.cursors = (self.oracle.changes(None).cursor, self.store.changes(None).cursor)
        self.versions: dict[tuple[str, str], list[tuple[int, int]]] = {}

    def same_versioned(self, verb: str, name: str) -> Sequence[tuple[int, int]]:
        """The versions that both ever answered, oldest first; all else that they answer must be the same.

        Which numbers a store counts with is its own affair: from 0 they rise when the memory store's do, and only then.
        """
        expected, answer = getattr(self.oracle, verb)(name), getattr(self.store, verb)(name)
        assert replace(answer, version=0) == replace(expected, version=0), (
            f"{verb}: what your store answers is not what the memory store does, on the right"
        )
        seen = self.versions.setdefault((verb, name), [(0, 0)])
        expected_before, before = seen[-1]
        if expected.version == expected_before:
            assert answer.version == before, f"the version of {verb} did not stay"
            return seen
        assert answer.version > before, f"the version of {verb} did not rise"
        seen.append((expected.version, answer.version))
        return seen

    @rule(
        number=st.sampled_from(_NUMBERS),
        org_id=st.none() | _orgs,
        plan=st.none() | st.sampled_from(("free", "pro")),
        status=st.sampled_from(_STATUSES),
        behind=st.sampled_from((0, 0, 0, 1)),
        event=st.none() | st.sampled_from(("evt_1", "evt_2", "evt_3")),
    )
    def deliver(
        self, number: int, org_id: str | None, plan: str | None, status: str, behind: int, event: str | None
    ) -> None:
        row = OrgSubscription(
            subscription_id=f"sub_{number}",
            space=_SPACE,
            org_id=org_id,
            customer_id="cus_1",
            plan=plan,
            price_id="price_1",
            status=status,
            known_status=status,
            created=NOW + number * MINUTE,
        )
        versions = self.same_versioned("load_subscription", row.subscription_id)
        theirs, own = versions[-1 - behind :][0]
        expected = self.oracle.put_subscription(row, expected_version=theirs, event_id=event)
        answer = self.store.put_subscription(row, expected_version=own, event_id=event)
        assert answer == expected

    @rule(org_id=_orgs, plan=st.sampled_from(("pro", "internal")))
    def assign(self, org_id: str, plan: str) -> None:
        given = Assignment(org_id=org_id, plan=plan, actor="root", reason="why not", assigned_at=self.clock.now())
        self.same("put_assignment", given)

    @rule(org_id=_orgs)
    def unassign(self, org_id: str) -> None:
        self.same("end_assignment", org_id, actor="root", reason="over", at=self.clock.now())

    @rule(org_id=_orgs, customer_id=st.sampled_from(("cus_1", "cus_2")))
    def keep(self, org_id: str, customer_id: str) -> None:
        self.same("keep_customer", _SPACE, org_id, customer_id)

    @rule()
    def follow(self) -> None:
        expected, answer = self.oracle.changes(self.cursors[0]), self.store.changes(self.cursors[1])
        assert answer.org_ids == expected.org_ids
        self.cursors = (expected.cursor, answer.cursor)

    @invariant()
    def books_agree(self) -> None:
        for number in _NUMBERS:
            self.same_versioned("load_subscription", f"sub_{number}")
        for org_id in _ORGS:
            self.same_versioned("standing", org_id)
            self.same("subscriptions_of", org_id)
            self.same("customer_of", _SPACE, org_id)
        self.same("unmatched_subscriptions", _SPACE)
        for event in ("evt_1", "evt_2", "evt_3"):
            self.same("look_up_event", event)


def usage_machine(make: Callable[[ManualClock], Any]) -> type[RuleBasedStateMachine]:
    """A machine for a store of counters and holdings, and of meters if it has them; *make* returns a new, empty one."""
    return type("UsageMachine", (_UsageMachine,), {"make": staticmethod(make)})


def books_machine(make: Callable[[ManualClock], Any]) -> type[RuleBasedStateMachine]:
    """A machine for a store of subscriptions, standings and customers with a change feed."""
    return type("BooksMachine", (_BooksMachine,), {"make": staticmethod(make)})
