"""Test clocks: time that moves for some customers only."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import lifecycle
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import invalid
from kuploy_saas_kit.testing.stripe.space import Row, Space

_KIND = "test_helpers.test_clock"
_KEPT = 30 * 86400


def create(space: Space, call: Call) -> Row:
    """`POST /v1/test_helpers/test_clocks`."""
    if space.livemode:
        raise invalid("Test clocks can only be used in test mode.")
    row: Row = {
        "id": space.world.new_id("clock"),
        "object": _KIND,
        "created": space.now,
        "deletes_after": space.now + _KEPT,
        "frozen_time": call.params["frozen_time"],
        "livemode": False,
        "name": call.get("name"),
        "status": "ready",
        "status_details": {},
    }
    return space.add(row, "test_helpers.test_clock.created")


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/test_helpers/test_clocks/{test_clock}`."""
    return space.find(_KIND, call.id, param="test_clock", status=404)


def advance(space: Space, call: Call) -> Row:
    """`POST /v1/test_helpers/test_clocks/{test_clock}/advance`: answered as still advancing, and done at once."""
    row = retrieve(space, call)
    if call.params["frozen_time"] <= row["frozen_time"]:
        raise invalid("Test clock can only be advanced to a time in the future.", param="frozen_time")
    row["frozen_time"] = call.params["frozen_time"]
    details = {"advancing": {"target_frozen_time": row["frozen_time"]}}
    answer = {**row, "status": "advancing", "status_details": details}
    space.emit("test_helpers.test_clock.advancing", answer)
    space.touched = True
    lifecycle.catch_up(space)
    space.emit("test_helpers.test_clock.ready", row)
    return answer


def delete(space: Space, call: Call) -> Row:
    """`DELETE /v1/test_helpers/test_clocks/{test_clock}`: with its customers and all that is theirs."""
    row = retrieve(space, call)
    for kind in ("customer", "subscription", "invoice"):
        for owned in space.rows(kind):
            if owned["test_clock"] == row["id"]:
                space.drop(owned, None)
    return space.drop(row, "test_helpers.test_clock.deleted")


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/test_helpers/test_clocks`."""
    return [row for row in space.rows(_KIND) if matches(row, call.params)]
