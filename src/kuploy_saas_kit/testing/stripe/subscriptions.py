"""The endpoints of subscriptions and their items."""

from __future__ import annotations

from typing import Any

from kuploy_saas_kit.testing.stripe import machine
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.cards import Outcome, attachable, attached, card_of, number_of, outcome_of
from kuploy_saas_kit.testing.stripe.checkout import require_sellable
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.refusals import card_declined, invalid, missing_param, no_such
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

_DAY = 86400
_ECHOED = ("collection_method", "days_until_due", "description")


def create(space: Space, call: Call) -> Row:
    """`POST /v1/subscriptions`."""
    for name in ("customer", "items"):
        if not call.get(name):
            raise missing_param(name)
    customer = space.find("customer", call.params["customer"], param="customer")
    items = [_wanted(space, given, index) for index, given in enumerate(call.params["items"])]
    _require_distinct(space, [price for price, _ in items])
    with space.on(customer["test_clock"]):
        trial_end = _trial_end(space, call)
        method = call.get("default_payment_method")
        if method is not None:
            attachable(method, space, param="default_payment_method")
        _require_payable(space, call, customer, items, trial_end)
        end_behavior = (call.get("trial_settings") or {}).get("end_behavior", {})
        order = machine.Order(
            customer=customer["id"],
            items=items,
            method=method and attached(space, method, customer["id"], param="default_payment_method"),
            metadata=metadata_of({}, call.get("metadata") or {}),
            trial_end=trial_end,
            without_method=end_behavior.get("missing_payment_method", "create_invoice"),
            clock=customer["test_clock"],
            fields=call.given(*_ECHOED),
        )
        row = machine.begin(space, order)
        _collect_first(space, call, row)
        if call.get("cancel_at_period_end"):
            machine.cancel_later(space, row, machine.period_end(row), at_period_end=True)
    return row


def _wanted(space: Space, given: Row, index: int) -> tuple[str, int]:
    if "price" not in given:
        raise missing_param(f"items[{index}][price]")
    price = require_sellable(space, given["price"], param=f"items[{index}][price]")
    if price["type"] != "recurring":
        message = (
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`."
        )
        raise invalid(message, param=f"items[{index}][price]")
    return price["id"], given.get("quantity", 1)


def _require_distinct(space: Space, prices: list[str]) -> None:
    if not prices:
        message = (
            "A subscription must have at least one active plan. "
            "To cancel a subscription, please use the cancel API endpoint on a subscription."
        )
        raise invalid(message, param="items")
    if len(set(prices)) < len(prices):
        raise invalid("Cannot add multiple subscription items with the same plan.", param="items")
    if len({space.table("price")[price]["currency"] for price in prices}) > 1:
        raise invalid("Prices on a subscription must all use the same currency.", param="items")


def _trial_end(space: Space, call: Call) -> int | None:
    end = call.get("trial_end")
    if call.get("trial_period_days"):
        return space.now + int(call.params["trial_period_days"]) * _DAY
    return None if end in (None, "now") else int(end)


def _require_payable(
    space: Space, call: Call, customer: Row, items: list[tuple[str, int]], trial_end: int | None
) -> None:
    free = trial_end is not None or not any(space.table("price")[price]["unit_amount"] for price, _ in items)
    behavior = call.get("payment_behavior", "allow_incomplete")
    if free or behavior == "default_incomplete":
        return
    method = call.get("default_payment_method") or customer["invoice_settings"]["default_payment_method"]
    if method is None:
        message = (
            "This customer has no attached payment source or default payment method. "
            "Please consider adding a default payment method."
        )
        raise invalid(message, code="resource_missing")
    if behavior == "error_if_incomplete" and outcome_of(number_of(space, method)) is not Outcome.PAID:
        raise card_declined()


def _collect_first(space: Space, call: Call, row: Row) -> None:
    invoice = space.table("invoice")[row["latest_invoice"]]
    waits = call.get("payment_behavior") == "default_incomplete" or card_of(space, row) is None
    if invoice["status"] == "open" and not waits:
        machine.collect(space, row, invoice)


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/subscriptions/{id}`; canceled ones included."""
    return space.find("subscription", call.id, param="id", status=404)


def update(space: Space, call: Call) -> Row:
    """`POST /v1/subscriptions/{id}`."""
    row = retrieve(space, call)
    if machine.has_ended(row) and call.params.keys() - {"metadata", "cancellation_details", "expand"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise invalid(message, code="invalid_canceled_subscription_fields")
    changes = _plain_changes(space, call, row)
    swaps = [_swap(space, row, given, index) for index, given in enumerate(call.get("items") or [])]
    _require_distinct(space, _prices_after(row, swaps))
    with space.on(row["test_clock"]):
        with space.changing(row, machine.UPDATED):
            row.update(changes)
        for item, price, quantity in swaps:
            _apply(space, row, item, price, quantity)
        _schedule_end(space, call, row)
        _move_trial(space, call, row)
    return row


def _plain_changes(space: Space, call: Call, row: Row) -> Row:
    changes = call.given(*_ECHOED)
    if "metadata" in call.params:
        changes["metadata"] = metadata_of(row["metadata"], call.params["metadata"])
    if "cancellation_details" in call.params:
        changes["cancellation_details"] = {**row["cancellation_details"], **call.params["cancellation_details"]}
    if "pause_collection" in call.params:
        paused = call.get("pause_collection")
        changes["pause_collection"] = paused and {
            "behavior": paused["behavior"],
            "resumes_at": paused.get("resumes_at"),
        }
    method = call.get("default_payment_method")
    if method is not None:
        changes["default_payment_method"] = attached(space, method, row["customer"], param="default_payment_method")
    return changes


def _prices_after(row: Row, swaps: list[tuple[Row | None, str | None, Any]]) -> list[str]:
    touched = [item["id"] for item, _, _ in swaps if item is not None]
    kept = [item["price"] for item in row["items"] if item["id"] not in touched]
    return kept + [price for _, price, _ in swaps if price is not None]


def _swap(space: Space, row: Row, given: Row, index: int) -> tuple[Row | None, str | None, Any]:
    """An item (None for a new one), its price (None for deletion) and its quantity."""
    held = {item["id"]: item for item in row["items"]}
    if "id" in given and given["id"] not in held:
        raise no_such("subscription_item", given["id"], param=f"items[{index}][id]")
    item = held.get(given.get("id", ""))
    if given.get("deleted"):
        return item, None, None
    if item is not None and given.get("price", item["price"]) == item["price"]:
        return item, item["price"], given.get("quantity", item["quantity"])
    price, quantity = _wanted(space, given, index)
    if item is not None and "quantity" not in given:
        quantity = item["quantity"]
    return item, price, quantity


def _apply(space: Space, row: Row, item: Row | None, price: str | None, quantity: int) -> None:
    if item is not None and price is not None:
        machine.switch(space, row, item, price, quantity)
        return
    with space.changing(row, machine.UPDATED):
        if item is not None:
            row["items"].remove(item)
        elif price is not None:
            row["items"].append(machine.new_item(space, row, price, quantity))


def _move_trial(space: Space, call: Call, row: Row) -> None:
    end = call.get("trial_end")
    if isinstance(end, int):
        machine.move_trial(space, row, end)
    elif end == "now" and row["status"] == "trialing":
        machine.move_trial(space, row, space.now)
        machine.end_trial(space, row)


def _schedule_end(space: Space, call: Call, row: Row) -> None:
    if "cancel_at_period_end" in call.params:
        ends = bool(call.params["cancel_at_period_end"])
        if ends or row["cancel_at"] is not None:
            machine.cancel_later(space, row, machine.period_end(row) if ends else None, at_period_end=ends)
    elif "cancel_at" in call.params:
        at = call.get("cancel_at")
        if at in ("min_period_end", "max_period_end"):
            at = (min if at == "min_period_end" else max)(item["current_period_end"] for item in row["items"])
        machine.cancel_later(space, row, at, at_period_end=False)


def cancel(space: Space, call: Call) -> Row:
    """`DELETE /v1/subscriptions/{id}`: at once."""
    row = retrieve(space, call)
    if machine.has_ended(row):
        raise no_such("subscription", row["id"], param="id", status=404)
    with space.on(row["test_clock"]):
        row["cancellation_details"] = {**row["cancellation_details"], **(call.get("cancellation_details") or {})}
        machine.cancel(space, row, reason="cancellation_requested")
    return row


def pause(space: Space, call: Call) -> Row:
    """`POST /v1/subscriptions/{id}/pause`."""
    row = retrieve(space, call)
    if row["status"] not in ("active", "trialing", "past_due"):
        raise invalid(f"You cannot pause a subscription that is {row['status']}.")
    with space.on(row["test_clock"]):
        machine.pause(space, row, why="pause_requested")
    return row


def resume(space: Space, call: Call) -> Row:
    """`POST /v1/subscriptions/{id}/resume`."""
    row = retrieve(space, call)
    if row["status"] != "paused":
        raise invalid("You can only resume a subscription that is paused.")
    anchor = (call.get("billing_cycle_anchor") or {}).get("type", "now")
    with space.on(row["test_clock"]):
        machine.resume(space, row, anew=anchor == "now")
    return row


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/subscriptions`: those that were not canceled, unless asked for by status."""
    if "customer" in call.params and call.params["customer"] not in space.deleted.get("customer", set()):
        space.find("customer", call.params["customer"], param="customer")
    params = call.params
    return [
        row for row in space.rows("subscription") if _has_status(row, params.get("status")) and _matches(row, params)
    ]


def _has_status(row: Row, wanted: str | None) -> bool:
    if wanted is None:
        return bool(row["status"] != "canceled")
    return wanted == "all" or row["status"] == wanted or (wanted == "ended" and machine.has_ended(row))


def _matches(row: Row, params: Row) -> bool:
    if params.get("test_clock", row["test_clock"] if "customer" in params else None) != row["test_clock"]:
        return False
    if "price" in params and all(item["price"] != params["price"] for item in row["items"]):
        return False
    period = {
        "current_period_end": machine.period_end(row),
        "current_period_start": max(item["current_period_start"] for item in row["items"]),
    }
    return matches(row, params, "collection_method", "created", "customer") and matches(period, params, *period)


def list_items(space: Space, call: Call) -> list[Row]:
    """`GET /v1/subscription_items`."""
    row = space.find("subscription", call.params["subscription"], param="subscription")
    return list(row["items"])
