"""What a delivery points to, and what a subscription at Stripe means for an org: pure.

An event is a hint to look; the row is a function of what Stripe says now and of the row before. So it is right after
any order, loss or repetition of events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from kuploy_saas_kit.model.subscription import STATUS_ACCESS, OrgSubscription, StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.ports import RemoteEvent, RemoteItem, RemoteSubscription

_MAX_ID: Final = 255
_OWING: Final = frozenset({"past_due", "unpaid"})
_NEVER_UNDERSTOOD: Final = "incomplete"


class Alarm(StrEnum):
    """What somebody should look at. The row is written all the same, and never grants anything new by it."""

    UNKNOWN_ORG = "unknown_org"
    """Neither the subscription's metadata nor its customer leads to an org."""
    ORG_CONFLICT = "org_conflict"
    """The subscription's metadata and its customer lead to different orgs."""
    UNKNOWN_PRICE = "unknown_price"
    """No price of it was ever made for a plan; the plan that it had before stays."""
    UNKNOWN_STATUS = "unknown_status"
    """A status that this version does not understand; the last understood one decides."""
    SEVERAL_GRANTING = "several_granting"
    """The org pays for more than one subscription; the best one counts."""


@dataclass(frozen=True, slots=True)
class Names:
    """What our store knows: the plans of the subscription's prices, and the org of its customer."""

    plans: Mapping[str, str] = field(default_factory=dict)
    org_of_customer: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """The row to write, and what was odd about it."""

    row: OrgSubscription
    alarms: tuple[Alarm, ...] = ()


def why_ignored(event: RemoteEvent, space: StripeSpace) -> str | None:
    """Why an event is none of ours, or None: another mode, or an account connected to this one."""
    if event.livemode != space.livemode:
        return "an event of the other mode (test or live)"
    if event.account is not None and event.account != space.account_id:
        return "an event of another account"
    return None


def subscription_of(event: RemoteEvent) -> str | None:
    """The id of the subscription to look at; None where the event is about something else. Any API version's shape."""
    thing = event.object
    match thing.get("object"):
        case "subscription":
            return _reference(thing.get("id"))
        case "checkout.session":
            return _reference(thing.get("subscription")) if thing.get("mode") == "subscription" else None
        case "invoice":
            parent = _within(_within(thing, "parent"), "subscription_details")
            return _reference(parent.get("subscription")) or _reference(thing.get("subscription"))
        case _:
            return None


def fold(
    held: OrgSubscription | None, remote: RemoteSubscription, names: Names, *, space: StripeSpace, namespace: str
) -> Folded:
    """The row for what Stripe says now. *held* is the row before: what ended stays ended, what is unknown stays."""
    if held is not None and held.is_terminal:
        return Folded(held)
    org_id, org_alarms = _org(held, remote, names)
    plan, item, plan_alarms = _plan(held, remote, names, namespace)
    known_status, status_alarms = _known_status(held, remote.status)
    row = OrgSubscription(
        subscription_id=remote.id,
        space=space,
        org_id=org_id,
        customer_id=remote.customer_id,
        plan=plan,
        price_id=item.price_id if item is not None else None,
        status=remote.status,
        known_status=known_status,
        created=remote.created,
        period_start=item.period_start if item is not None else None,
        period_end=item.period_end if item is not None else None,
        cancel_at=remote.cancel_at or (item.period_end if item and remote.cancel_at_period_end else None),
        past_due_since=_owing_since(remote, item) if known_status in _OWING else None,
    )
    return Folded(row, org_alarms + plan_alarms + status_alarms)


def ended(held: OrgSubscription) -> OrgSubscription:
    """The row of a subscription that Stripe does not have any more."""
    return held if held.is_terminal else replace(held, status="canceled", known_status="canceled", cancel_at=None)


def _org(
    held: OrgSubscription | None, remote: RemoteSubscription, names: Names
) -> tuple[str | None, tuple[Alarm, ...]]:
    claimed = remote.metadata.get(naming.ORG) or None
    sources = {org for org in (claimed, names.org_of_customer) if org is not None}
    if len(sources) > 1:
        return None, (Alarm.ORG_CONFLICT,)
    org_id = next(iter(sources), held.org_id if held is not None else None)
    return org_id, () if org_id is not None else (Alarm.UNKNOWN_ORG,)


def _plan(
    held: OrgSubscription | None, remote: RemoteSubscription, names: Names, namespace: str
) -> tuple[str | None, RemoteItem | None, tuple[Alarm, ...]]:
    """The plan and the item that sells it; other items are add-ons."""
    for item in remote.items:
        slug = names.plans.get(item.price_id) or _marked_plan(item, namespace)
        if slug is not None:
            return slug, item, ()
    first = remote.items[0] if remote.items else None
    return held.plan if held is not None else None, first, (Alarm.UNKNOWN_PRICE,)


def _marked_plan(item: RemoteItem, namespace: str) -> str | None:
    """The plan that a price of ours names, for a store that has lost its memory."""
    if not naming.is_ours(item.price_metadata, namespace):
        return None
    return item.price_metadata.get(naming.PLAN) or None


def _known_status(held: OrgSubscription | None, status: str) -> tuple[str, tuple[Alarm, ...]]:
    if status in STATUS_ACCESS:
        return status, ()
    return held.known_status if held is not None else _NEVER_UNDERSTOOD, (Alarm.UNKNOWN_STATUS,)


def _owing_since(remote: RemoteSubscription, item: RemoteItem | None) -> Any:
    """When the oldest unpaid invoice was made; a renewal's invoice is made as its period begins."""
    return remote.unpaid_since or (item.period_start if item is not None else None)


def _reference(value: Any) -> str | None:
    """An id, also of an expanded object."""
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, str) and 0 < len(found) <= _MAX_ID else None


def _within(thing: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = thing.get(name)
    return found if isinstance(found, dict) else {}
