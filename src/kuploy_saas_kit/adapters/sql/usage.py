"""Taking, and what is held under keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from kuploy_saas_kit.adapters._rules import amounts_of, checked_claims
from kuploy_saas_kit.adapters.sql.connection import asked_through, upsert
from kuploy_saas_kit.adapters.sql.counters import CounterVerbs
from kuploy_saas_kit.adapters.sql.rows import amounts_from_json, amounts_json
from kuploy_saas_kit.adapters.sql.take import try_take
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
_PORTION: Final = 1000
"""So many expired holdings one transaction returns: others wait for it, and no wait may be too long."""


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


@dataclass(frozen=True, slots=True)
class _Swept:
    """What expired holdings held that are forgotten now, and whether no more of them are there."""

    amounts: Mapping[CounterKey, int]
    is_all: bool


_UNSWEPT: Final = _Swept({}, is_all=False)


class UsageVerbs(CounterVerbs):
    """`UsageStore` and `HoldingStore` in SQL.

    All verbs lock in one order: expired holdings, those that expired first before others, the holding that a take
    makes, then counters, those of orgs before the instance's. Whoever has locked counters waits for no holding any
    more, but for a take in the host's transaction that finds more expired than one sweep returns.
    """

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        ordered = checked_claims(claims)
        if key is None:
            with self._asking() as ask:
                answer, may_be_swept = try_take(ask, self._tables, ordered, self._moment)
            if not may_be_swept:
                return answer
        wish = _Wish(ordered, (claims[0].scope, key) if key is not None else None, ttl)
        sweeps = key is None
        for _ in range(_ATTEMPTS):
            try:
                with self._writing() as connection:
                    return self._attempt(connection, wish, sweeps=sweeps)
            except _Again:
                if sweeps:
                    self.sweep_holdings()
                sweeps = True
        what = "holdings that expired" if key is None else f"the holding {key!r} or its counters"
        raise StorageError(f"{what} changed hands {_ATTEMPTS} times meanwhile: try again")

    def _attempt(self, connection: Connection, wish: _Wish, *, sweeps: bool) -> Taken:
        swept = self._delete_expired(connection) if sweeps else _UNSWEPT
        held = self._hold(connection, wish)
        if sweeps:
            self._locked_values(connection, {*swept.amounts, *wish.counters})
            self._subtract(connection, swept.amounts)
        if held is not None:
            same = amounts_from_json(held.amounts) == amounts_of(wish.claims)
            outcome = TakeOutcome.HELD if same else TakeOutcome.CONFLICT
            return Taken(outcome, self._values(connection, wish.counters))
        answer, may_be_swept = try_take(asked_through(connection), self._tables, wish.claims, self._moment)
        if may_be_swept and not swept.is_all:
            raise _Again
        if wish.place is not None and answer.outcome is not TakeOutcome.TAKEN:
            self._forget(connection, self._at(wish.place))
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
        place = (scope, key)
        with self._writing() as connection:
            held = self._holding(connection, place)
            if held is None or self._is_expired(connection, held.expires_at):
                return HoldingSettled(HoldingState.GONE)
            connection.execute(update(self._tables.holding).where(self._at(place)).values(expires_at=None))
            return HoldingSettled(HoldingState.HELD)

    def release_holding(self, scope: str, key: str) -> GivenBack:
        with self._writing() as connection:
            held = self._forget(connection, self._at((scope, key)))
            return self._subtract(connection, held[0] if held else {})

    def sweep_holdings(self) -> GivenBack:
        given = GivenBack()
        while True:
            with self._writing() as connection:
                swept = self._delete_expired(connection)
                given = _together(given, self._subtract(connection, swept.amounts))
            if swept.is_all:
                return given

    def _delete_expired(self, connection: Connection) -> _Swept:
        """Forget a portion of what expired. Others who do the same are waited for, who then have returned theirs."""
        holding = self._tables.holding
        expired = select(holding.c.scope, holding.c.key).where(holding.c.expires_at <= self._now(connection))
        ordered = expired.order_by(holding.c.expires_at, holding.c.scope, holding.c.key)
        locked = ordered.limit(_PORTION).with_for_update().cte("expired")
        held = self._forget(connection, tuple_(holding.c.scope, holding.c.key).in_(select(locked)))
        amounts = Counter[CounterKey]()
        for one in held:
            amounts.update(one)
        return _Swept(amounts, is_all=len(held) < _PORTION)

    def _holding(self, connection: Connection, place: tuple[str, str]) -> Any:
        found = select(self._tables.holding).where(self._at(place))
        return connection.execute(found.with_for_update()).one_or_none()

    def _at(self, place: tuple[str, str]) -> ColumnElement[bool]:
        holding = self._tables.holding
        return and_(holding.c.scope == place[0], holding.c.key == place[1])

    def _forget(self, connection: Connection, condition: ColumnElement[bool]) -> list[dict[CounterKey, int]]:
        """Delete holdings and say what each held; whoever deletes the row is the one who returns it."""
        holding = self._tables.holding
        gone = delete(holding).where(condition).returning(holding.c.amounts)
        return [amounts_from_json(held) for held in connection.execute(gone).scalars()]

    def _is_expired(self, connection: Connection, expires_at: datetime | None) -> bool:
        return expires_at is not None and expires_at <= self._now(connection)


def _together(first: GivenBack, then: GivenBack) -> GivenBack:
    return GivenBack(
        used={**first.used, **then.used},
        returned=Counter(first.returned) + Counter(then.returned),
        drift=Counter(first.drift) + Counter(then.drift),
    )
