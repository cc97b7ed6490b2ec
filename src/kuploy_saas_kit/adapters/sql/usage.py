"""Taking, and what is held under keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, select, tuple_, update

from kuploy_saas_kit.adapters._rules import amounts_of, checked_claims
from kuploy_saas_kit.adapters.sql.connection import asked_through, upsert
from kuploy_saas_kit.adapters.sql.counters import CounterVerbs
from kuploy_saas_kit.adapters.sql.rows import amounts_from_json, amounts_json
from kuploy_saas_kit.adapters.sql.take import by_code_points, try_take
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import (
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    HoldingState,
    Taken,
    TakeOutcome,
)

_ATTEMPTS: Final = 4


class _Again(Exception):  # noqa: N818 - no error: the attempt is undone and made again after a sweep
    """The take does not fit or its key is held, and a sweep may change that."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a take was asked for; *place* is the holding's scope and key."""

    claims: tuple[Claim, ...]
    place: tuple[str, str] | None
    ttl: timedelta | None

    @property
    def counters(self) -> list[CounterKey]:
        return [claim.counter for claim in self.claims]


class UsageVerbs(CounterVerbs):
    """`UsageStore` and `HoldingStore` in SQL.

    All verbs lock in one order: expired holdings by scope and key, the holding that a take makes, then counters, those
    of orgs before the instance's. Whoever has locked counters waits for no holding any more.
    """

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        ordered = checked_claims(claims)
        if key is None:
            with self._asking() as ask:
                answer, may_be_swept = try_take(ask, self._tables, ordered, self._moment)
            if not may_be_swept:
                return answer
        wish = _Wish(ordered, (claims[0].scope, key) if key is not None else None, ttl)
        for attempt in range(_ATTEMPTS):
            try:
                with self._writing() as connection:
                    return self._attempt(connection, wish, swept=attempt > 0 or wish.place is None)
            except _Again:
                continue
        raise StorageError(f"the holding {key!r} or its counters changed hands {_ATTEMPTS} times meanwhile: try again")

    def _attempt(self, connection: Connection, wish: _Wish, *, swept: bool) -> Taken:
        expired = self._delete_expired(connection) if swept else {}
        held = self._hold(connection, wish)
        if swept:
            self._locked_values(connection, {*expired, *wish.counters})
            self._subtract(connection, expired)
        if held is not None:
            same = amounts_from_json(held.amounts) == amounts_of(wish.claims)
            outcome = TakeOutcome.HELD if same else TakeOutcome.CONFLICT
            return Taken(outcome, self._values(connection, wish.counters))
        answer, may_be_swept = try_take(asked_through(connection), self._tables, wish.claims, self._moment)
        if may_be_swept and not swept:
            raise _Again
        if wish.place is not None and answer.outcome is not TakeOutcome.TAKEN:
            self._delete_holdings(connection, [wish.place])
        return answer

    def _hold(self, connection: Connection, wish: _Wish) -> Any:
        """Make the holding, if the take has a key; or return the row that holds the key already.

        It is made before anything is taken: a second take of the same key waits for it and then finds it.
        """
        if wish.place is None:
            return None
        holding = self._tables.holding
        row = {
            "scope": wish.place[0],
            "key": wish.place[1],
            "amounts": amounts_json(amounts_of(wish.claims)),
            "expires_at": self._now(connection) + wish.ttl if wish.ttl is not None else None,
        }
        made = upsert(connection, holding).values(row).on_conflict_do_nothing().returning(holding.c.key)
        if connection.execute(made).first() is not None:
            return None
        held = self._holding(connection, wish.place)
        if held is None or self._is_expired(connection, held.expires_at):
            raise _Again
        return held

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        holding = self._tables.holding
        with self._writing() as connection:
            held = self._holding(connection, (scope, key))
            if held is None or self._is_expired(connection, held.expires_at):
                return HoldingSettled(HoldingState.GONE)
            forever = update(holding).where(holding.c.scope == scope, holding.c.key == key).values(expires_at=None)
            connection.execute(forever)
            return HoldingSettled(HoldingState.HELD)

    def release_holding(self, scope: str, key: str) -> GivenBack:
        with self._writing() as connection:
            amounts = self._delete_holdings(connection, [(scope, key)])
            return self._subtract(connection, amounts)

    def sweep_holdings(self) -> GivenBack:
        with self._writing() as connection:
            return self._subtract(connection, self._delete_expired(connection))

    def _delete_expired(self, connection: Connection) -> dict[CounterKey, int]:
        """Forget what expired and add up what it held. Others who do the same are waited for: then it is returned."""
        holding = self._tables.holding
        expired = select(holding.c.scope, holding.c.key).where(holding.c.expires_at <= self._now(connection))
        ordered = expired.order_by(*by_code_points(connection.dialect, holding.c.scope, holding.c.key))
        locked = ordered.with_for_update()
        return self._delete_holdings(connection, [(scope, key) for scope, key in connection.execute(locked)])

    def _holding(self, connection: Connection, place: tuple[str, str]) -> Any:
        holding = self._tables.holding
        found = select(holding).where(holding.c.scope == place[0], holding.c.key == place[1])
        return connection.execute(found.with_for_update()).one_or_none()

    def _delete_holdings(self, connection: Connection, places: Iterable[tuple[str, str]]) -> dict[CounterKey, int]:
        """Forget holdings and add up what they held; whoever deletes the row is the one who returns it."""
        wanted = list(places)
        if not wanted:
            return {}
        holding = self._tables.holding
        gone = delete(holding).where(tuple_(holding.c.scope, holding.c.key).in_(wanted)).returning(holding.c.amounts)
        amounts: dict[CounterKey, int] = {}
        for stored in connection.execute(gone).scalars():
            for counter, amount in amounts_from_json(stored).items():
                amounts[counter] = amounts.get(counter, 0) + amount
        return amounts

    def _is_expired(self, connection: Connection, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at <= self._now(connection)
