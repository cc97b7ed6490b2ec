"""Rows as answers: what is embedded, what is left out unless asked for, and the expansion of ids into objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from kuploy_saas_kit.testing.stripe.listing import whole
from kuploy_saas_kit.testing.stripe.prices import plan_of
from kuploy_saas_kit.testing.stripe.refusals import RefusalError, unacceptable
from kuploy_saas_kit.testing.stripe.space import Row, Space

_MAX_DEPTH = 4


class Link(NamedTuple):
    """Where a path leads: to an id, to an object that is always there, or to a part that is there if asked for."""

    kind: str
    how: str = "id"


LINKS: dict[str, dict[str, Link]] = {
    "product": {"default_price": Link("price")},
    "price": {"product": Link("product"), "currency_options": Link("", "part"), "tiers": Link("", "part")},
    "customer": {
        "invoice_settings.default_payment_method": Link("payment_method"),
        "subscriptions": Link("subscription", "part"),
        "test_clock": Link("test_helpers.test_clock"),
    },
    "subscription": {
        "customer": Link("customer"),
        "default_payment_method": Link("payment_method"),
        "items.data": Link("subscription_item", "object"),
        "latest_invoice": Link("invoice"),
        "test_clock": Link("test_helpers.test_clock"),
    },
    "subscription_item": {"price": Link("price", "object")},
    "invoice": {
        "customer": Link("customer"),
        "default_payment_method": Link("payment_method"),
        "parent.subscription_details.subscription": Link("subscription"),
        "payments": Link("invoice_payment", "part"),
        "lines.data": Link("line_item", "object"),
        "test_clock": Link("test_helpers.test_clock"),
    },
    "invoice_payment": {"invoice": Link("invoice"), "payment.payment_intent": Link("payment_intent")},
    "line_item": {"pricing.price_details.price": Link("price")},
    "payment_intent": {"customer": Link("customer"), "payment_method": Link("payment_method")},
    "payment_method": {"customer": Link("customer")},
    "checkout.session": {
        "customer": Link("customer"),
        "invoice": Link("invoice"),
        "line_items": Link("item", "part"),
        "payment_intent": Link("payment_intent"),
        "subscription": Link("subscription"),
    },
    "item": {"price": Link("price", "object")},
}
"""The expandable paths of each object type."""


def render(space: Space, row: Row) -> Row:
    """*row* as it stands in an answer with nothing expanded."""
    shown = {
        name: value
        for name, value in row.items()
        if not name.startswith("_") and name not in _HIDDEN.get(row["object"], ())
    }
    renderer = _RENDERERS.get(row["object"])
    return shown if renderer is None or "deleted" in row else renderer(space, shown)


def _subscription(space: Space, row: Row) -> Row:
    items = [_item(space, item) for item in row["items"]]
    return {**row, "items": whole(items, f"/v1/subscription_items?subscription={row['id']}")}


def _item(space: Space, row: Row) -> Row:
    price = space.table("price")[row["price"]]
    return {**row, "plan": plan_of(price), "price": render(space, price)}


def _invoice(_: Space, row: Row) -> Row:
    return {**row, "lines": whole(row["lines"], f"/v1/invoices/{row['id']}/lines")}


_RENDERERS: dict[str, Callable[[Space, Row], Row]] = {
    "subscription": _subscription,
    "subscription_item": _item,
    "invoice": _invoice,
}


# Parts that stand in an answer only if they are asked for.
_HIDDEN = {"price": ("currency_options", "tiers"), "checkout.session": ("line_items",)}


def _line_items(space: Space, row: Row) -> Row:
    lines = [{**line, "price": render(space, space.table("price")[line["price"]])} for line in row["line_items"]]
    return whole(lines, f"/v1/checkout/sessions/{row['id']}/line_items")


def _payments(space: Space, row: Row) -> Row:
    found = [payment for payment in space.rows("invoice_payment") if payment["invoice"] == row["id"]]
    return whole(found, f"/v1/invoice_payments?invoice={row['id']}")


def _subscriptions(space: Space, row: Row) -> Row:
    found = [
        render(space, subscription)
        for subscription in space.rows("subscription")
        if subscription["customer"] == row["id"] and subscription["status"] != "canceled"
    ]
    return whole(found[::-1], f"/v1/customers/{row['id']}/subscriptions")


_PARTS: dict[tuple[str, str], Callable[[Space, Row], Any]] = {
    ("price", "currency_options"): lambda _, row: row["currency_options"],
    ("price", "tiers"): lambda _, row: row["tiers"],
    ("checkout.session", "line_items"): _line_items,
    ("invoice", "payments"): _payments,
    ("customer", "subscriptions"): _subscriptions,
}


def check_expansions(paths: list[str], kind: str, *, listed: bool) -> None:
    """Refuse, before anything is done, what cannot be expanded in an answer of this kind."""
    for path in paths:
        segments = path.split(".")
        if listed and segments.pop(0) != "data":
            raise _unexpandable(path.split(".")[0], hint=f"data.{path}")
        if len([segment for segment in segments if segment != "data"]) > _MAX_DEPTH:
            message = f"You cannot expand more than {_MAX_DEPTH} levels of a property. Property: {path}"
            raise unacceptable(message, param="expand")
        _follow(segments, kind)


def _follow(segments: list[str], kind: str) -> None:
    while segments:
        step = _step(segments, kind)
        if step is None:
            raise _unexpandable(segments[0])
        path, link = step
        segments, kind = segments[path.count(".") + 1 :], link.kind
        if link.how == "part" and segments[:1] == ["data"]:
            segments = segments[1:]


def _step(segments: list[str], kind: str) -> tuple[str, Link] | None:
    for path, link in LINKS.get(kind, {}).items():
        names = path.split(".")
        if segments[: len(names)] == names:
            return path, link
    return None


def _unexpandable(name: str, hint: str = "") -> RefusalError:
    message = f"This property cannot be expanded ({name})."
    if hint:
        message += f" You may want to try expanding '{hint}' instead."
    return unacceptable(message, param=None)


def expand(space: Space, answer: Row, paths: list[str], kind: str) -> None:
    """Open the ids and parts of *answer* that *paths* name; they were checked before."""
    for path in paths:
        segments = path.split(".")
        if answer.get("object") == "list":
            for row in answer["data"]:
                _open(space, row, segments[1:], kind)
        else:
            _open(space, answer, segments, kind)


def _open(space: Space, answer: Row, segments: list[str], kind: str) -> None:
    step = _step(segments, kind)
    if step is None:
        return
    path, link = step
    *way, name = path.split(".")
    holder: Any = answer
    for part in way:
        holder = (holder or {}).get(part)
    if holder is None:
        return
    holder[name] = _opened(space, holder.get(name), answer, (kind, path), link)
    rest = segments[len(way) + 1 :]
    inner = holder[name]
    if isinstance(inner, dict) and inner.get("object") == "list":
        inner, rest = inner["data"], rest[1:]
    for row in inner if isinstance(inner, list) else [inner] if isinstance(inner, dict) else []:
        _open(space, row, rest, link.kind)


def _opened(space: Space, value: Any, answer: Row, place: tuple[str, str], link: Link) -> Any:
    if link.how == "part":
        kept = space.table(place[0])[answer["id"]]
        return _PARTS[place](space, kept)
    if link.how == "object" or not isinstance(value, str):
        return value
    row = space.table(link.kind).get(value)
    return {"id": value, "object": link.kind, "deleted": True} if row is None else space.rendered(row)
