"""The statement that takes all claims or none.

One conditional `UPDATE` for all rows: it locks them in order, and changes them only if every one has room. A data
changing CTE for each row would be shorter and leak: each runs whether or not the others found room.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Text, Update, and_, bindparam, func, select, union_all, update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import highest_before
from kuploy_saas_kit.plans.ports import INSTANCE, Claim


def lock_order(usage: Table) -> tuple[ColumnElement[Any], ...]:
    """The one order in which counters are locked: by scope and limit, the instance's hot rows after all orgs'."""
    return usage.c.scope == INSTANCE, usage.c.scope, usage.c.limit_key


@lru_cache(maxsize=64)
def take_statement(usage: Table, size: int) -> Update:
    """An update of *size* counters that changes all of them or none and returns those it changed."""
    wanted = union_all(*(_wanted(place) for place in range(size))).cte("wanted")
    locked = (
        select(usage.c.scope, usage.c.limit_key, usage.c.used, wanted.c.amount, wanted.c.room)
        .join_from(usage, wanted, and_(usage.c.scope == wanted.c.scope, usage.c.limit_key == wanted.c.limit_key))
        .order_by(*lock_order(usage))
        .with_for_update(of=usage)
        .cte("locked")
    )
    fitting = select(func.count()).select_from(locked).where(locked.c.used <= locked.c.room).scalar_subquery()
    return (
        update(usage)
        .values(used=usage.c.used + locked.c.amount)
        .where(usage.c.scope == locked.c.scope, usage.c.limit_key == locked.c.limit_key, fitting == size)
        .returning(usage.c.scope, usage.c.limit_key, usage.c.used)
    )


def _wanted(place: int) -> Any:
    return select(
        bindparam(f"claim_{place}_scope", type_=Text).label("scope"),
        bindparam(f"claim_{place}_limit", type_=Text).label("limit_key"),
        bindparam(f"claim_{place}_amount", type_=BigInteger).label("amount"),
        bindparam(f"claim_{place}_room", type_=BigInteger).label("room"),
    )


def take_parameters(claims: Sequence[Claim]) -> dict[str, str | int]:
    """The values of `take_statement` for these claims."""
    parameters: dict[str, str | int] = {}
    for place, claim in enumerate(claims):
        parameters[f"claim_{place}_scope"] = claim.scope
        parameters[f"claim_{place}_limit"] = claim.limit
        parameters[f"claim_{place}_amount"] = claim.amount
        parameters[f"claim_{place}_room"] = highest_before(claim)
    return parameters
