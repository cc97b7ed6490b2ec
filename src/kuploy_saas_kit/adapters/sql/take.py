"""The one statement that takes all claims or none.

In SQLite, where nobody writes meanwhile, a conditional `UPDATE` changes all rows if every one has room; why it did not
is asked for afterwards. In PostgreSQL, where somebody else may change a row while the statement waits for it, a
function of the kit's own takes each row in turn and looks at it again after waiting; revision 0002 has made it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import Dialect, collate
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import highest_before
from kuploy_saas_kit.adapters.sql.connection import Ask
from kuploy_saas_kit.adapters.sql.function import qualified
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, Tables
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, Taken, TakeOutcome

Moment: TypeAlias = Callable[[Dialect], str | None]
"""The present instant as text, or None for the database server's own."""


Tried: TypeAlias = tuple[Taken, bool]
"""What became of a take, and whether expired holdings are there that a sweep would return: it may fit then."""


def locks_in_order(dialect: Dialect, usage: Table) -> tuple[ColumnElement[Any], ...]:
    """What a query that locks counters is ordered by: as `_rules.order_of` sorts, in a database of any collation.

    SQLite sorts text as Python does by itself.
    """
    key = usage.c.scope, usage.c.limit_key
    by_code_points = key if dialect.name == "sqlite" else (collate(column, "C") for column in key)
    return usage.c.scope == INSTANCE, *by_code_points


def try_take(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Tried:
    """Take the claims, which are in the order of locks, or none; *moment* is asked for where expiry matters."""
    if ask.dialect.name == "sqlite":
        return _by_update(ask, tables, claims, moment)
    return _by_function(ask, tables, claims, moment)


def _by_function(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Tried:
    amounts, rooms = _array(claim.amount for claim in claims), _array(highest_before(claim) for claim in claims)
    parameters = [moment(ask.dialect), amounts, rooms]
    for claim in claims:
        parameters += claim.scope, claim.limit
    values = ask.rows(_call(tables.layout, ask.dialect, len(claims)), parameters)[0][0]
    if len(values) == len(claims):
        used = {claim.counter: value for claim, value in zip(claims, values, strict=True)}
        return Taken(TakeOutcome.TAKEN, used), False
    return _not_taken(claims, values)


def _by_update(ask: Ask, tables: Tables, claims: Sequence[Claim], moment: Moment) -> Tried:
    # This runs between two writes to the disk, with all caches cold: each call and each object costs several times
    # what it does in a loop.
    update, look = _update_and_look(tables, ask.dialect, len(claims))
    parameters: list[object] = []
    for claim in claims:
        parameters += claim.scope, claim.limit, claim.amount, highest_before(claim)
    while True:
        changed = ask.rows(update, parameters)
        if changed:
            return Taken(TakeOutcome.TAKEN, {(scope, limit): used for scope, limit, used in changed}), False
        counters = [part for claim in claims for part in claim.counter]
        answer, may_be_swept = _not_taken(claims, ask.rows(look, [*counters, moment(ask.dialect)])[0])
        if answer.blocking is not None or answer.unseeded:
            return answer, may_be_swept
        # Somebody has given back since: there is room now.


def _not_taken(claims: Sequence[Claim], values: Sequence[int | None]) -> Tried:
    """The first claim that does not fit is the blocking one. *values* are the counters' and, last, what has expired."""
    *found, expired = values
    used = {claim.counter: value for claim, value in zip(claims, found, strict=True) if value is not None}
    missing = tuple(claim.counter for claim in claims if claim.counter not in used)
    if missing:
        return Taken(TakeOutcome.UNSEEDED, used, unseeded=missing), False
    blocking = next((claim for claim in claims if used[claim.counter] > highest_before(claim)), None)
    return Taken(TakeOutcome.REFUSED, used, blocking), bool(expired)


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


@lru_cache(maxsize=64)
def _call(layout: SqlLayout, dialect: Dialect, size: int) -> str:
    function = qualified(dialect, layout, "take")
    scopes, limits = (", ".join(f"?{first + 2 * place}" for place in range(size)) for first in (4, 5))
    arrays = f"CAST(ARRAY[{scopes}] AS text[]), CAST(ARRAY[{limits}] AS text[])"
    return f"SELECT {function}({arrays}, CAST(?2 AS bigint[]), CAST(?3 AS bigint[]), CAST(?1 AS timestamptz))"


@lru_cache(maxsize=64)
def _update_and_look(tables: Tables, dialect: Dialect, size: int) -> tuple[str, str]:
    """The parameters of a claim are scope, limit, amount and room; to *look* scope and limit, and last the instant."""
    usage, holding = map(dialect.identifier_preparer.format_table, (tables.usage, tables.holding))

    def value(first: int) -> str:
        return f"(SELECT used FROM {usage} WHERE {_counter(first)})"  # noqa: S608 - the host's own names

    firsts = range(1, 4 * size, 4)
    amounts = " ".join(f"WHEN {_counter(first)} THEN ?{first + 2}" for first in firsts)
    counters = " OR ".join(f"({_counter(first)})" for first in firsts)
    fits = " AND ".join(f"{value(first)} <= ?{first + 3}" for first in firsts)
    update = (
        f"UPDATE {usage} SET used = used + CASE {amounts} END"  # noqa: S608 - as above
        f" WHERE ({counters}) AND {fits} RETURNING scope, limit_key, used"
    )
    values = ", ".join(value(first) for first in range(1, 2 * size, 2))
    expired = f"EXISTS (SELECT 1 FROM {holding} WHERE expires_at <= ?{2 * size + 1})"  # noqa: S608 - as above
    return update, f"SELECT {values}, {expired}"


def _counter(first: int) -> str:
    return f"scope = ?{first} AND limit_key = ?{first + 1}"
