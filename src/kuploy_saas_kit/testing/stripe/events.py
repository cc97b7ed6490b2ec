"""The endpoints of events: what happened in the last 30 days."""

from __future__ import annotations

from fnmatch import fnmatchcase

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import no_such, unacceptable
from kuploy_saas_kit.testing.stripe.space import Row, Space

_KEPT = 30 * 86400
_MAX_TYPES = 20


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/events/{id}`."""
    row = space.find("event", call.id, param="id", status=404)
    if not _is_kept(space, row):
        raise no_such("event", call.id, param="id", status=404)
    return row


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/events`."""
    call.refuse_both("type", "types")
    types = call.get("types") or ([call.params["type"]] if "type" in call.params else ["*"])
    if len(types) > _MAX_TYPES:
        raise unacceptable(f"You may only specify up to {_MAX_TYPES} types.", param="types")
    delivered = call.params.get("delivery_success")
    return [
        row
        for row in space.rows("event")
        if _is_kept(space, row)
        and any(fnmatchcase(row["type"], wanted) for wanted in types)
        and matches(row, call.params, "created")
        and delivered in (None, row["pending_webhooks"] == 0)
    ]


def _is_kept(space: Space, row: Row) -> bool:
    return bool(space.now - row["created"] <= _KEPT)
