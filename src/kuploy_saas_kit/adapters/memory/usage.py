"""Counters, holdings, meters and announcements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from kuploy_saas_kit.adapters._rules import (
    amounts_of,
    checked_amount,
    checked_claims,
    highest_before,
    meter_sums,
)
from kuploy_saas_kit.adapters.memory.state import Holding, Verbs
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Announced,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    HoldingState,
    MeterEntry,
    MeterRecorded,
    Taken,
    TakeOutcome,
    UsagePut,
)


class UsageVerbs(Verbs):
    """`UsageStore` in memory."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        ordered = checked_claims(claims)
        with self._lock:
            now = self._clock.now()
            place = (claims[0].scope, key) if key is not None else None
            held = self._held_outcome(place, ordered, now)
            taken = held if held is not None else self._fit(ordered, now)
            if taken.outcome is not TakeOutcome.TAKEN:
                return taken
            for claim in ordered:
                self._state.used[claim.counter] += claim.amount
            if place is not None:
                self._state.holdings[place] = Holding(amounts_of(ordered), now + ttl if ttl is not None else None)
            return Taken(TakeOutcome.TAKEN, self._values(ordered))

    def _held_outcome(self, place: tuple[str, str] | None, claims: Sequence[Claim], now: datetime) -> Taken | None:
        held = self._state.holdings.get(place) if place is not None else None
        if held is None:
            return None
        if held.is_expired(now):
            self._sweep(now)
            return None
        same = held.amounts == amounts_of(claims)
        return Taken(TakeOutcome.HELD if same else TakeOutcome.CONFLICT, self._values(claims))

    def _fit(self, claims: Sequence[Claim], now: datetime) -> Taken:
        missing = tuple(claim.counter for claim in claims if claim.counter not in self._state.used)
        if missing:
            return Taken(TakeOutcome.UNSEEDED, self._values(claims), unseeded=missing)
        blocking = self._blocking(claims)
        if blocking is not None:
            self._sweep(now)
            blocking = self._blocking(claims)
        outcome = TakeOutcome.TAKEN if blocking is None else TakeOutcome.REFUSED
        return Taken(outcome, self._values(claims), blocking)

    def _blocking(self, claims: Iterable[Claim]) -> Claim | None:
        used = self._state.used
        return next((claim for claim in claims if used[claim.counter] > highest_before(claim)), None)

    def _values(self, claims: Iterable[Claim]) -> dict[CounterKey, int]:
        used = self._state.used
        return {claim.counter: used[claim.counter] for claim in claims if claim.counter in used}

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        for (_, limit), amount in amounts.items():
            checked_amount(amount, limit)
        with self._lock:
            return self._subtract(amounts)

    def _subtract(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        state = self._state.used
        known = [counter for counter in amounts if counter in state]
        returned = {counter: min(amounts[counter], state[counter]) for counter in known}
        for counter, amount in returned.items():
            state[counter] -= amount
        drift = {counter: amount - returned.get(counter, 0) for counter, amount in amounts.items()}
        return GivenBack(
            used={counter: state[counter] for counter in known},
            returned={counter: amount for counter, amount in returned.items() if amount},
            drift={counter: amount for counter, amount in drift.items() if amount},
        )

    def _sweep(self, now: datetime) -> GivenBack:
        expired = [place for place, holding in self._state.holdings.items() if holding.is_expired(now)]
        amounts: dict[CounterKey, int] = {}
        for place in expired:
            for counter, amount in self._state.holdings.pop(place).amounts.items():
                amounts[counter] = amounts.get(counter, 0) + amount
        return self._subtract(amounts)

    def usage_of(self, scope: str) -> Mapping[str, int]:
        with self._lock:
            return {limit: value for (owner, limit), value in self._state.used.items() if owner == scope}

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        checked_amount(value, counter[1])
        with self._lock:
            self._state.used.setdefault(counter, value)

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        checked_amount(value, limit)
        with self._lock:
            used = self._state.used
            previous = used.get((org_id, limit), 0)
            used[org_id, limit] = value
            if (INSTANCE, limit) in used:
                used[INSTANCE, limit] = max(0, used[INSTANCE, limit] + value - previous)
            else:
                used[INSTANCE, limit] = sum(count for (_, name), count in used.items() if name == limit)
            return UsagePut(previous, used[INSTANCE, limit])


class HoldingVerbs(UsageVerbs):
    """`HoldingStore` in memory."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        with self._lock:
            holding = self._state.holdings.get((scope, key))
            if holding is None or holding.is_expired(self._clock.now()):
                return HoldingSettled(HoldingState.GONE)
            holding.expires_at = None
            return HoldingSettled(HoldingState.HELD)

    def release_holding(self, scope: str, key: str) -> GivenBack:
        with self._lock:
            holding = self._state.holdings.pop((scope, key), None)
            return self._subtract(holding.amounts if holding is not None else {})

    def sweep_holdings(self) -> GivenBack:
        with self._lock:
            return self._sweep(self._clock.now())


class MeterVerbs(Verbs):
    """`MeterStore` in memory."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        sums = meter_sums(entries)
        with self._lock:
            meters = self._state.meters
            is_new = event_key not in self._state.meter_events
            self._state.meter_events.add(event_key)
            for place, amount in sums.items():
                meters[place] = meters.get(place, 0) + (amount if is_new else 0)
            return MeterRecorded(is_new, {place: meters[place] for place in sums})

    def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        with self._lock:
            return self._state.meters.get((scope, limit, period), 0)


class AnnouncementVerbs(Verbs):
    """`AnnouncementStore` in memory."""

    def announce_once(self, name: str) -> Announced:
        with self._lock:
            is_first = name not in self._state.announced
            self._state.announced.add(name)
            return Announced(is_first)
