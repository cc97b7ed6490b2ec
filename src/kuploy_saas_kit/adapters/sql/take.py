"""The one statement that takes all claims or none.

In SQLite, where nobody writes meanwhile, a conditional `UPDATE` changes all rows if every one has room; why it did not
is asked for afterwards. In PostgreSQL, where somebody else may change a row while the statement waits for it, a
function of the kit's own takes each row in turn and looks at it again after waiting; revision 0002 has made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Dialect, collate
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import highest_before
from kuploy_saas_kit.adapters.sql.connection import Ask
from kuploy_saas_kit.adapters.sql.function import qualified
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, Tables
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, CounterKey

Moment: TypeAlias = Callable[[], str | None]
"""The present instant as text, or None for the database server's own."""


@dataclass(frozen=True, slots=True)
class Found:
    """Whether all claims were taken, and the counters' values then; a counter without a row is absent.

    *may_be_swept*: a claim did not fit, and expired holdings are there that a sweep would return.
    """

    taken: bool
    used: dict[CounterKey, int]
    may_be_swept: bool = False


def locks_in_order(dialect: Dialect, usage: Table) -> tuple[ColumnElement[Any], ...]:
    """What a query that locks counters is ordered by: as `_rules.lock_order` sorts, in a database of any collation."""
    return usage.c.scope == INSTANCE, *by_code_points(dialect, usage.c.scope, usage.c.limit_key)


def by_code_points(dialect: Dialect, *columns: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    """The text columns, to be sorted as Python sorts; SQLite does by itself."""
    if dialect.name == "sqlite":
        return columns
    return tuple(collate(column, "C") for column in columns)


def try_take(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Found:
    """Take the claims, which are in the order of locks, or none; *moment* is asked for where expiry matters."""
    if ask.dialect.name == "sqlite":
        return _by_update(ask, tables, claims, moment)
    return _by_function(ask, tables, claims, moment)


def _by_function(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Found:
    places = {**_places(claims), "moment": moment()}
    places["amounts"] = _array(claim.amount for claim in claims)
    places["rooms"] = _array(highest_before(claim) for claim in claims)
    values = ask.rows(_call(tables.layout, ask.dialect, len(claims)), places)[0][0]
    if len(values) == len(claims):
        return Found(taken=True, used=_by_counter(claims, values))
    return _not_taken(claims, values)


def _by_update(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Found:
    update, look = _update_and_look(tables, ask.dialect, len(claims))
    places = _places(claims)
    for place, claim in enumerate(claims):
        places[f"amount_{place}"], places[f"room_{place}"] = claim.amount, highest_before(claim)
    while True:
        changed = {(scope, limit): used for scope, limit, used in ask.rows(update, places)}
        if changed:
            return Found(taken=True, used={claim.counter: changed[claim.counter] for claim in claims})
        values = ask.rows(look, {**places, "moment": moment()})[0]
        found = _not_taken(claims, values)
        if any(
            claim.counter not in found.used or found.used[claim.counter] > highest_before(claim) for claim in claims
        ):
            return found
        # Somebody has given back since: there is room now.


def _not_taken(claims: Sequence[Claim], values: Sequence[int | None]) -> Found:
    """*values* are the counters' and, as the last one, whether a holding has expired."""
    *used, expired = values
    return Found(taken=False, used=_by_counter(claims, used), may_be_swept=bool(expired) and None not in used)


def _places(claims: Sequence[Claim]) -> dict[str, object]:
    places: dict[str, object] = {}
    for place, claim in enumerate(claims):
        places[f"scope_{place}"], places[f"limit_{place}"] = claim.counter
    return places


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _by_counter(claims: Sequence[Claim], values: Sequence[int | None]) -> dict[CounterKey, int]:
    pairs = zip(claims, values, strict=True)
    return {claim.counter: value for claim, value in pairs if value is not None}


@lru_cache(maxsize=64)
def _call(layout: SqlLayout, dialect: Dialect, size: int) -> str:
    function = qualified(dialect, layout, "take")
    scopes, limits = (", ".join(f":{name}_{place}" for place in range(size)) for name in ("scope", "limit"))
    arrays = f"CAST(ARRAY[{scopes}] AS text[]), CAST(ARRAY[{limits}] AS text[])"
    numbers = "CAST(:amounts AS bigint[]), CAST(:rooms AS bigint[])"
    return f"SELECT {function}({arrays}, {numbers}, CAST(:moment AS timestamptz))"


@lru_cache(maxsize=64)
def _update_and_look(tables: Tables, dialect: Dialect, size: int) -> tuple[str, str]:
    usage, holding = map(dialect.identifier_preparer.format_table, (tables.usage, tables.holding))
    counters = [f"scope = :scope_{place} AND limit_key = :limit_{place}" for place in range(size)]
    values = [f"(SELECT used FROM {usage} WHERE {counter})" for counter in counters]  # noqa: S608 - the host's own names
    amounts = " ".join(f"WHEN {counter} THEN :amount_{place}" for place, counter in enumerate(counters))
    fits = " AND ".join(f"{value} <= :room_{place}" for place, value in enumerate(values))
    update = (
        f"UPDATE {usage} SET used = used + CASE {amounts} END"  # noqa: S608 - as above
        f" WHERE (({') OR ('.join(counters)})) AND {fits} RETURNING scope, limit_key, used"
    )
    expired = f"EXISTS (SELECT 1 FROM {holding} WHERE expires_at <= :moment)"  # noqa: S608 - as above
    return update, f"SELECT {', '.join(values)}, {expired}"
