"""Lists: newest first, by pages of 10 unless asked otherwise, with cursors."""

from __future__ import annotations

from typing import Any

from kuploy_saas_kit.testing.stripe.refusals import no_such, unacceptable
from kuploy_saas_kit.testing.stripe.space import THINGS, Row, Space

_BOUNDS = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}


def matches(row: Row, params: Row, *names: str) -> bool:
    """Whether *row* has each of the plain filters *names* that were sent; `created` also takes a range."""
    return all(_fits(row.get(name), params[name]) for name in names if name in params)


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return value is not None and all(_BOUNDS[name](value, bound) for name, bound in wanted.items())
    return bool(value == wanted)


def page(space: Space, rows: list[Row], params: Row, *, kind: str, url: str) -> Row:
    """One page of *rows*, which are the matching ones, oldest first."""
    newest = rows[::-1]
    limit = _limit(space, params)
    backwards = "ending_before" in params
    if backwards:
        before = newest[: _index(space, newest, params, "ending_before", kind)]
        data, rest = before[-limit:], before[:-limit]
    else:
        start = _index(space, newest, params, "starting_after", kind) + 1 if "starting_after" in params else 0
        data, rest = newest[start : start + limit], newest[start + limit :]
    return {"object": "list", "data": data, "has_more": bool(rest), "url": url}


def whole(rows: list[Row], url: str) -> Row:
    """A list inside an object, all of it on one page."""
    return {"object": "list", "data": rows, "has_more": False, "url": url}


def _limit(space: Space, params: Row) -> int:
    limit: int = params.get("limit", 10)
    clamped = min(max(limit, 1), 100)
    if limit != clamped and not space.world.quirks.clamps_limits:
        bound = f"greater than or equal to {clamped}" if limit < clamped else f"less than or equal to {clamped}"
        message = f"This value must be {bound} (it currently is '{limit}')."
        raise unacceptable(message, param="limit", code="parameter_invalid_integer")
    return clamped


def _index(space: Space, rows: list[Row], params: Row, cursor: str, kind: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == params[cursor]:
            return index
    every = [row["id"] for row in space.rows(kind)][::-1]
    if params[cursor] not in every or space.world.quirks.drops_stale_cursors:
        raise no_such(THINGS.get(kind, kind), params[cursor], param=cursor)
    newer = set(every[: every.index(params[cursor])])
    count = sum(row["id"] in newer for row in rows)
    return count if cursor == "ending_before" else count - 1
