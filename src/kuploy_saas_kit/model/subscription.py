"""What one org is on: its subscription at Stripe, and a plan that was given to it by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final


@dataclass(frozen=True, slots=True, order=True)
class StripeSpace:
    """One side of one Stripe account. What was made in one space means nothing in another."""

    account_id: str
    livemode: bool

    def __str__(self) -> str:
        return f"{self.account_id} ({'live' if self.livemode else 'test'})"


class Access(IntEnum):
    """What a subscription's status says about access; higher is better."""

    NONE = 0
    """No access: the org falls back to the default plan."""
    GRACE = 1
    """Access for a while, then none."""
    GRANTED = 2
    """Access."""


STATUS_ACCESS: Final[dict[str, Access]] = {
    "trialing": Access.GRANTED,
    "active": Access.GRANTED,
    "past_due": Access.GRACE,
    "unpaid": Access.NONE,
    "paused": Access.NONE,
    "incomplete": Access.NONE,
    "incomplete_expired": Access.NONE,
    "canceled": Access.NONE,
}
"""Stripe's eight statuses, verbatim, and what each means for access."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgSubscription:
    """A subscription at Stripe as last fetched.

    *status* is Stripe's word; *known_status* the last one that this version of the kit understood, which decides.
    *plan* is the slug that the price maps to, None while the price is unknown. *past_due_since* is the creation
    of the oldest unpaid invoice. Instants are aware UTC.
    """

    subscription_id: str
    space: StripeSpace
    org_id: str | None
    customer_id: str
    plan: str | None
    price_id: str | None
    status: str
    known_status: str
    created: datetime
    period_start: datetime | None = None
    period_end: datetime | None = None
    cancel_at: datetime | None = None
    past_due_since: datetime | None = None

    @property
    def access(self) -> Access:
        """What the last understood status says; nothing while org or plan is unknown."""
        if self.org_id is None or self.plan is None:
            return Access.NONE
        return STATUS_ACCESS.get(self.known_status, Access.NONE)

    @property
    def is_cancelling(self) -> bool:
        """Whether it ends at a known instant and has access until then."""
        return self.cancel_at is not None and self.access > Access.NONE

    @property
    def is_terminal(self) -> bool:
        """Whether Stripe will never change it again."""
        return self.known_status in {"canceled", "incomplete_expired"}


def effective_subscription(subscriptions: Iterable[OrgSubscription]) -> OrgSubscription | None:
    """The one of an org's subscriptions that counts: best access, then the newest."""
    ranked = sorted(subscriptions, key=lambda row: (row.access, row.created, row.subscription_id))
    return ranked[-1] if ranked else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A plan given by hand: Internal, a comp, a lift during an incident. It ends at *until*, or never."""

    org_id: str
    plan: str
    actor: str
    reason: str
    assigned_at: datetime
    until: datetime | None = None

    def is_current(self, now: datetime) -> bool:
        """Whether the assignment still holds at *now*."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class OrgStanding:
    """All that decides which plan an org is on; *version* rises with each change of it."""

    subscription: OrgSubscription | None = None
    assignment: Assignment | None = None
    version: int = 0
