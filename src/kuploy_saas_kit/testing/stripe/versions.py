"""How objects looked in older API versions, for endpoints and requests that are pinned to one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import stripe

LATEST: str = stripe.api_version
"""The API version of the installed SDK, in which the simulator keeps its objects."""

_BASIL = "2025-03-31"
"""Since then periods stand on the items and an invoice names its subscription under `parent`."""


def in_version(content: dict[str, Any], version: str | None) -> dict[str, Any]:
    """An answer, with all objects inside it, in the shape of an API version; None is the latest."""
    if version is None or version >= _BASIL:
        return content
    shaped = copy.deepcopy(content)
    _walk(shaped)
    return shaped


def event_in(event: dict[str, Any], version: str | None) -> dict[str, Any]:
    """An event as an endpoint of this API version gets it."""
    shaped = {**event, "api_version": version or LATEST}
    shaped["data"] = in_version(event["data"], version)
    return shaped


def _walk(node: Any) -> None:
    if isinstance(node, dict):
        for inner in node.values():
            _walk(inner)
        shape = _OLD_SHAPES.get(str(node.get("object")))
        if shape is not None and "deleted" not in node:
            shape(node)
    elif isinstance(node, list):
        for inner in node:
            _walk(inner)


def _old_subscription(row: dict[str, Any]) -> None:
    items = row["items"]["data"]
    row["current_period_start"] = max(item["current_period_start"] for item in items)
    row["current_period_end"] = min(item["current_period_end"] for item in items)
    row["plan"] = items[0]["plan"] if len(items) == 1 else None
    row["quantity"] = items[0]["quantity"] if len(items) == 1 else None
    for item in items:
        del item["current_period_start"], item["current_period_end"]


def _old_invoice(row: dict[str, Any]) -> None:
    details = (row.pop("parent") or {}).get("subscription_details") or {}
    row["subscription"] = details.get("subscription")
    row["subscription_details"] = {"metadata": details.get("metadata")}
    row["paid"] = row["status"] == "paid"
    row["payment_intent"] = row["charge"] = None


_OLD_SHAPES: dict[str, Callable[[dict[str, Any]], None]] = {"subscription": _old_subscription, "invoice": _old_invoice}
