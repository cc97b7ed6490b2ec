"""The statements that take all claims or none, in one round trip.

In SQLite, where nobody writes meanwhile, one conditional `UPDATE` changes all rows if every one has room. In PostgreSQL
such a statement finds nothing to change when somebody else changed a row while it waited. There each row is updated in
turn, in the order of locks, and looked at again after waiting; where a later row has no room the statement fails, which
undoes the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ScalarSelect,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import highest_before
from kuploy_saas_kit.plans.ports import INSTANCE, Claim


def lock_order(usage: Table) -> tuple[ColumnElement[Any], ...]:
    """The one order in which counters are locked: by scope and limit, the instance's hot rows after all orgs'."""
    return usage.c.scope == INSTANCE, usage.c.scope, usage.c.limit_key


@lru_cache(maxsize=64)
def take_statement(usage: Table, size: int) -> Update:
    """For SQLite: an update of *size* counters that changes all of them or none and returns those it changed."""
    wanted = union_all(*(select(*_wanted(place)) for place in range(size))).cte("wanted")
    same = and_(usage.c.scope == wanted.c.scope, usage.c.limit_key == wanted.c.limit_key)
    fitting = select(func.count()).join_from(usage, wanted, same).where(usage.c.used <= wanted.c.room)
    return (
        update(usage)
        .values(used=usage.c.used + wanted.c.amount)
        .where(same, fitting.correlate(None).scalar_subquery() == size)
        .returning(usage.c.scope, usage.c.limit_key, usage.c.used)
    )


@lru_cache(maxsize=64)
def chained_statement(usage: Table, size: int) -> Select[Any]:
    """For PostgreSQL: updates *size* counters one after the other and returns them.

    It returns nothing where the first has no room, and fails with a division by zero where a later one has none.
    """
    taken: list[CTE] = []
    for place in range(size):
        scope, limit, amount, room = _wanted(place)
        fits = and_(usage.c.scope == scope, usage.c.limit_key == limit, usage.c.used <= room)
        step = update(usage).values(used=usage.c.used + amount).where(fits)
        if taken:
            step = step.where(_count_of(taken[-1]) == 1)
        taken.append(step.returning(usage.c.scope, usage.c.limit_key, usage.c.used).cte(f"taken_{place}"))
    rows = union_all(*(select(step.c.scope, step.c.limit_key, step.c.used) for step in taken)).subquery()
    reached = case((_count_of(taken[0]) == 0, 1), else_=_count_of(taken[-1]))
    return select(rows, literal_column("1").op("/")(reached))


def _count_of(taken: CTE) -> ScalarSelect[int]:
    return select(func.count()).select_from(taken).scalar_subquery()


def _wanted(place: int) -> tuple[ColumnElement[Any], ...]:
    return (
        bindparam(f"claim_{place}_scope", type_=Text).label("scope"),
        bindparam(f"claim_{place}_limit", type_=Text).label("limit_key"),
        bindparam(f"claim_{place}_amount", type_=BigInteger).label("amount"),
        bindparam(f"claim_{place}_room", type_=BigInteger).label("room"),
    )


def take_parameters(claims: Sequence[Claim]) -> dict[str, str | int]:
    """The values of both statements for these claims."""
    parameters: dict[str, str | int] = {}
    for place, claim in enumerate(claims):
        parameters[f"claim_{place}_scope"] = claim.scope
        parameters[f"claim_{place}_limit"] = claim.limit
        parameters[f"claim_{place}_amount"] = claim.amount
        parameters[f"claim_{place}_room"] = highest_before(claim)
    return parameters
