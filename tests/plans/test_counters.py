"""The counters against a model, and under threads and processes on one SQLite file."""

from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.conftest import examples
from tests.plans.hammer import INSTANCE_CAP, LIMIT, ORG_CAP, ORGS, gate_over, hammer

from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.errors import KeyConflictError, LimitExceededError, ReservationExpiredError
from kuploy_saas_kit.plans.gate import Reservation
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crew import ProcessCrew

TTL = timedelta(minutes=15)

orgs = st.sampled_from(ORGS)
amounts = st.integers(1, 4)
keys = st.sampled_from(["k1", "k2", "k3"])


class CounterMachine(RuleBasedStateMachine):
    """Acquire, release, keys, reservations and time, against plain arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock)
        self.gate = gate_over(self.store, self.clock)
        self.plain: Counter[str] = Counter()
        self.held: dict[tuple[str, str], int] = {}
        self.open: list[tuple[Reservation, str, int, Any]] = []

    def used(self, org_id: str) -> int:
        """What counts for the org: plain amounts, keys, and reservations that were not swept."""
        held = sum(amount for (owner, _), amount in self.held.items() if owner == org_id)
        return self.plain[org_id] + held + sum(amount for _, owner, amount, _ in self.open if owner == org_id)

    def expire(self) -> None:
        """What the store may do when it needs room: let go of reservations that ran out."""
        self.open = [entry for entry in self.open if entry[3] > self.clock.now()]

    def fits(self, org_id: str, amount: int) -> bool:
        """Whether the model has room, letting go of expired reservations only if it must."""
        if not self._has_room(org_id, amount):
            self.expire()
        return self._has_room(org_id, amount)

    def _has_room(self, org_id: str, amount: int) -> bool:
        total = sum(self.used(one) for one in ORGS)
        return self.used(org_id) + amount <= ORG_CAP and total + amount <= INSTANCE_CAP

    @rule(org_id=orgs, amount=amounts)
    def acquire(self, org_id: str, amount: int) -> None:
        """Granted exactly where the model has room."""
        assert self.gate.acquire(org_id, LIMIT, amount).granted is self.fits(org_id, amount)
        if self._has_room(org_id, amount):
            self.plain[org_id] += amount

    @rule(org_id=orgs, amount=amounts, key=keys)
    def acquire_by_key(self, org_id: str, amount: int, key: str) -> None:
        """A held key takes nothing more; another amount conflicts."""
        held = self.held.get((org_id, key))
        if held not in {None, amount}:
            with pytest.raises(KeyConflictError):
                self.gate.acquire(org_id, LIMIT, amount, key=key)
            return
        decision = self.gate.acquire(org_id, LIMIT, amount, key=key)
        if held is None and self.fits(org_id, amount):
            self.held[org_id, key] = held = amount
        assert decision.granted is (held is not None)

    @rule(org_id=orgs, amount=amounts)
    def release(self, org_id: str, amount: int) -> None:
        """Returns what was acquired without a key, as far as the host keeps count itself."""
        amount = min(amount, self.plain[org_id])
        if amount:
            assert self.gate.release(org_id, LIMIT, amount).returned == {LIMIT: amount}
            self.plain[org_id] -= amount

    @rule(org_id=orgs, key=keys)
    def release_by_key(self, org_id: str, key: str) -> None:
        """Returns exactly what the key holds, once."""
        amount = self.held.pop((org_id, key), 0)
        assert self.gate.release(org_id, LIMIT, key=key).returned == ({LIMIT: amount} if amount else {})

    @rule(org_id=orgs, amount=amounts)
    def reserve(self, org_id: str, amount: int) -> None:
        """A reservation takes room as an acquisition does."""
        if self.fits(org_id, amount):
            reservation = self.gate.reserve(org_id, LIMIT, amount, ttl=TTL)
            self.open.append((reservation, org_id, amount, self.clock.now() + TTL))
        else:
            with pytest.raises(LimitExceededError):
                self.gate.reserve(org_id, LIMIT, amount, ttl=TTL)

    @rule(data=st.data(), commit=st.booleans())
    def end_reservation(self, data: st.DataObject, commit: bool) -> None:  # noqa: FBT001 - drawn
        """Committing keeps the amount, releasing returns it; both only while it lasts."""
        if not self.open:
            return
        entry = data.draw(st.sampled_from(self.open))
        reservation, org_id, amount, end = entry
        if end <= self.clock.now():
            return
        self.open.remove(entry)
        if commit:
            reservation.commit()
            self.plain[org_id] += amount
        else:
            reservation.release()

    @rule(minutes=st.integers(1, 20))
    def wait(self, minutes: int) -> None:
        """Time passes, and what ran out is swept."""
        self.clock.advance(timedelta(minutes=minutes))
        self.store.sweep_holdings()
        self.expire()

    @rule(org_id=orgs, actual=st.integers(0, ORG_CAP))
    def reconcile(self, org_id: str, actual: int) -> None:
        """Setting the counter straight reports the difference and moves the instance's by it."""
        if any(owner == org_id for owner, _ in self.held) or any(entry[1] == org_id for entry in self.open):
            return
        drift = self.gate.reconcile(org_id, LIMIT, actual)
        assert drift.difference == actual - self.plain[org_id]
        self.plain[org_id] = actual

    @invariant()
    def counters_are_the_model(self) -> None:
        """Every counter is what is held, and the instance's is their sum."""
        counted = {org_id: self.store.usage_of(org_id).get(LIMIT, 0) for org_id in ORGS}
        assert counted == {org_id: self.used(org_id) for org_id in ORGS}
        assert self.store.usage_of("").get(LIMIT, 0) == sum(counted.values())


CounterMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestCounters = CounterMachine.TestCase


def test_an_expired_reservation_whose_room_is_gone() -> None:
    """Committing after the end raises if somebody else took the room, and takes again if not."""
    clock = ManualClock()
    store = MemoryStore(clock)
    gate = gate_over(store, clock)
    late, lucky = gate.reserve("one", LIMIT, 3, ttl=TTL), gate.reserve("two", LIMIT, 3, ttl=TTL)
    clock.advance(TTL)
    assert gate.acquire("one", LIMIT, 5).granted
    with pytest.raises(ReservationExpiredError):
        late.commit()
    lucky.commit()
    assert (store.usage_of("one")[LIMIT], store.usage_of("two")[LIMIT]) == (5, 3)


def test_threads_and_processes_on_one_file(tmp_path: Path) -> None:
    """Sixteen threads in four processes: never over a cap, never lost, and what is counted is what is held."""
    url = f"sqlite:///{tmp_path / 'kit.db'}?timeout=60"
    store = SqlStore.from_url(url)
    store.migrate()
    with ProcessCrew(partial(SqlStore.from_url, url), workers=4) as crew:
        held = sum(crew.race(hammer), Counter[str]())
    counted = {org_id: store.usage_of(org_id)[LIMIT] for org_id in ORGS}
    assert counted == {org_id: held[org_id] for org_id in ORGS}
    assert store.usage_of("")[LIMIT] == sum(counted.values()) <= 90
    assert all(used <= 40 for used in counted.values())
    assert store.usage_of("")["maxApps"] == 0
    store.close()
