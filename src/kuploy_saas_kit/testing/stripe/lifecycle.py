"""What Stripe does by itself as time passes, in the order in which it falls due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from kuploy_saas_kit.testing.stripe import billing, checkout, machine
from kuploy_saas_kit.testing.stripe.space import Row, Space

_NOTICE = 3 * 86400
"""How long before its end a trial is announced, in seconds."""
_RENEWS = ("active", "past_due", "unpaid")


class Due(NamedTuple):
    """Something that happens at a second."""

    at: int
    do: Callable[[], object]
    clock: str | None


def catch_up(space: Space) -> None:
    """Do all that has fallen due, each thing at its own second."""
    if not space.touched and (space.next_due is None or space.world.now() < space.next_due):
        return
    while (due := _first_ripe(space)) is not None:
        with space.at(due.at if due.clock is not None else max(due.at, space.reached)):
            due.do()
    space.touched, space.reached = False, space.now
    space.next_due = min((due.at for due in _all(space) if due.clock is None), default=None)


def _first_ripe(space: Space) -> Due | None:
    ripe = [due for due in _all(space) if due.at <= space.clocked(due.clock)]
    return min(ripe, key=lambda due: due.at, default=None)


def _all(space: Space) -> Iterator[Due]:
    for subscription in space.rows("subscription"):
        if not machine.has_ended(subscription):
            yield from _of_subscription(space, subscription)
    for invoice in space.rows("invoice"):
        yield from _of_invoice(space, invoice)
    for session in space.rows("checkout.session"):
        if session["status"] == "open":
            yield Due(session["expires_at"], partial(checkout.close, space, session), None)


def _of_subscription(space: Space, row: Row) -> Iterator[Due]:
    due = partial(Due, clock=row["test_clock"])
    status = row["status"]
    if status == "incomplete" and not billing.is_processing(space, row):
        yield due(row["created"] + machine.INCOMPLETE_FOR, partial(machine.expire, space, row))
    if row["cancel_at"] is not None:
        yield due(row["cancel_at"], partial(machine.cancel, space, row))
    if row["pause_collection"] is not None and row["pause_collection"]["resumes_at"] is not None:
        yield due(row["pause_collection"]["resumes_at"], partial(_collect_again, space, row))
    if status == "trialing":
        yield due(row["trial_end"], partial(machine.end_trial, space, row))
        if row["id"] not in space.noticed:
            yield due(max(row["trial_end"] - _NOTICE, row["created"]), partial(_give_notice, space, row))
    elif status in _RENEWS and (row["cancel_at"] is None or row["cancel_at"] > machine.period_end(row)):
        yield due(machine.period_end(row), partial(machine.renew, space, row))


def _of_invoice(space: Space, row: Row) -> Iterator[Due]:
    if row["automatically_finalizes_at"] is None and row["next_payment_attempt"] is None:
        return
    subscription = space.table("subscription")[billing.subscription_of(row) or ""]
    if row["automatically_finalizes_at"] is not None:
        yield Due(row["automatically_finalizes_at"], partial(machine.bill, space, subscription, row), row["test_clock"])
    if row["next_payment_attempt"] is not None:
        yield Due(row["next_payment_attempt"], partial(machine.collect, space, subscription, row), row["test_clock"])


def _collect_again(space: Space, subscription: Row) -> None:
    with space.changing(subscription, machine.UPDATED):
        subscription["pause_collection"] = None


def _give_notice(space: Space, subscription: Row) -> None:
    space.noticed.add(subscription["id"])
    space.touched = True
    space.emit("customer.subscription.trial_will_end", subscription)
