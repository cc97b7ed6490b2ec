"""Stripe's deliveries: verified, then taken as a hint to fetch the subscription and compare.

Of any two writes the later one fetched later: a row is written only if nobody wrote since its version was read, and
the fetch happens after that read and outside any transaction. So the last write has the last state, without locks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import KitError, StorageError, WebhookRejectedError, storage_errors
from kuploy_saas_kit.model.subscription import Access, OrgSubscription, StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.keys import checked_webhook_secrets
from kuploy_saas_kit.stripe_provision.ports import (
    BillingStore,
    OnChange,
    PutOutcome,
    RemoteEvent,
    RemoteSubscription,
    StripePort,
    SubscriptionChange,
)
from kuploy_saas_kit.stripe_provision.remote import parse_event
from kuploy_saas_kit.stripe_provision.signature import verify_signature
from kuploy_saas_kit.stripe_provision.subscriptions import (
    Alarm,
    Folded,
    Names,
    ended,
    fold,
    subscription_of,
    why_ignored,
)

EVENT_TYPES: Final = (
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.paid",
    "invoice.payment_failed",
)
"""The events that an endpoint needs. More of them do no harm: each is only a hint to look."""

ATTEMPTS: Final = 5
"""How often a row is fetched and compared again after somebody else wrote it."""

_log = logging.getLogger("kuploy_saas_kit.stripe")

Secrets: TypeAlias = Sequence[str] | Callable[[], Sequence[str]]


class WebhookResult(StrEnum):
    """What became of a delivery."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    UNMATCHED = "unmatched"
    """Written, but org or plan is unknown: grants nothing until a resync finds them."""
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    REJECTED = "rejected"
    """Not signed by Stripe for this endpoint; nothing was read or written."""
    FAILED = "failed"
    """Stripe or the store did not answer; Stripe delivers again."""


_STATUS: Final = {WebhookResult.REJECTED: 400, WebhookResult.FAILED: 503}


@dataclass(frozen=True, slots=True)
class WebhookOutcome:
    """What became of a delivery; *status* is the HTTP status to answer, with any body."""

    result: WebhookResult
    reason: str = ""
    event_id: str | None = None
    event_type: str | None = None
    change: SubscriptionChange | None = None
    alarms: tuple[Alarm, ...] = ()

    @property
    def status(self) -> int:
        """200, 400 (never deliver this again) or 503 (deliver it again)."""
        return _STATUS.get(self.result, 200)

    def __bool__(self) -> bool:
        raise TypeError("use .status")


@dataclass(frozen=True, slots=True)
class SubscriptionSync:
    """A subscription compared with Stripe: the row as it stands now, and the change if there was one."""

    row: OrgSubscription | None
    change: SubscriptionChange | None = None
    alarms: tuple[Alarm, ...] = ()
    is_duplicate: bool = False

    def __bool__(self) -> bool:
        raise TypeError("use .change")


class NoticeKind(StrEnum):
    """What a listener is told about."""

    SUBSCRIPTION_CHANGED = "subscription_changed"
    PAYMENT_FAILED = "payment_failed"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class BillingNotice:
    """Something to tell people about: a mail to the org, an alarm to the operator."""

    kind: NoticeKind
    row: OrgSubscription
    change: SubscriptionChange | None = None
    alarms: tuple[Alarm, ...] = ()


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """All subscriptions compared: how many there are, what changed, and which remain unmatched."""

    seen: int
    changes: tuple[SubscriptionChange, ...]
    unmatched: tuple[str, ...]


class StripeWebhooks:
    """Keeps subscription rows as Stripe has them.

    *secrets* are the endpoint's signing secrets, two while one is rolled, or a callable that is asked at each
    delivery. *namespace* is the provisioner's. *on_change* joins the writing transaction.
    """

    def __init__(
        self,
        gateway: StripePort,
        store: BillingStore,
        *,
        secrets: Secrets,
        namespace: str = naming.DEFAULT_NAMESPACE,
        on_change: OnChange | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._secrets = secrets if callable(secrets) else checked_webhook_secrets(secrets)
        self._namespace = naming.checked_namespace(namespace)
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._listeners: list[Callable[[BillingNotice], None]] = []
        self._space: StripeSpace | None = None

    def add_listener(self, listener: Callable[[BillingNotice], None]) -> None:
        """Call *listener* after each committed change, failed payment or alarm. What it raises is logged."""
        self._listeners.append(listener)

    def handle(self, payload: bytes, signature: str | None) -> WebhookOutcome:
        """Verify and handle one delivery. *payload* is the raw body, *signature* the `Stripe-Signature` header.

        Never raises for what the bytes, Stripe or the store do: answer `.status`.
        """
        try:
            secrets = checked_webhook_secrets(self._secrets()) if callable(self._secrets) else self._secrets
        except KitError as error:
            return WebhookOutcome(WebhookResult.FAILED, str(error))
        try:
            event = self._verified(payload, signature, secrets)
        except WebhookRejectedError as error:
            _log.warning("webhook refused: %s", error)
            return WebhookOutcome(WebhookResult.REJECTED, str(error))
        if event is None:
            return WebhookOutcome(WebhookResult.IGNORED, "signed, but no event of the kind that is handled")
        try:
            return self._process(self._gateway.pinned(), event)
        except KitError as error:
            _log.warning("webhook %s is to be delivered again: %s", event.id, error)
            return WebhookOutcome(WebhookResult.FAILED, str(error), event.id, event.type)

    def sync_subscription(self, subscription_id: str) -> SubscriptionSync:
        """Compare one subscription with Stripe now, such as on the page that a buyer returns to."""
        port = self._gateway.pinned()
        return self._sync(port, self._use_space(port), subscription_id)

    def sync_org(self, org_id: str) -> tuple[SubscriptionSync, ...]:
        """Compare all subscriptions of the org's customer, and those that are held for it, with Stripe now."""
        port = self._gateway.pinned()
        space = self._use_space(port)
        with storage_errors("load the org's subscriptions"):
            customer_id = self._store.customer_of(space, org_id)
            held = [row.subscription_id for row in self._store.subscriptions_of(org_id) if row.space == space]
        listed = [item.id for item in port.subscriptions(customer_id=customer_id)] if customer_id is not None else []
        return tuple(self._sync(port, space, name) for name in dict.fromkeys([*listed, *held]))

    def resync_all(self) -> ResyncReport:
        """Compare every subscription of the account with its row; heals lost events and unmatched rows."""
        port = self._gateway.pinned()
        space = self._use_space(port)
        remotes = [item for item in port.subscriptions() if not naming.is_foreign(item.metadata, self._namespace)]
        syncs = [self._sync(port, space, item.id) for item in remotes if self._differs(item, space)]
        with storage_errors("load the unmatched subscriptions"):
            unmatched = tuple(row.subscription_id for row in self._store.unmatched_subscriptions(space))
        changes = tuple(sync.change for sync in syncs if sync.change is not None)
        return ResyncReport(len(remotes), changes, unmatched)

    def backfill_events(self, since: datetime) -> tuple[WebhookOutcome, ...]:
        """Handle the events since *since* (aware; Stripe keeps 30 days), as if they had been delivered now."""
        port = self._gateway.pinned()
        events = port.events(since=since, types=EVENT_TYPES)
        return tuple(self._process(port, event) for event in sorted(events, key=lambda item: (item.created, item.id)))

    def _use_space(self, port: StripePort) -> StripeSpace:
        """The space of the port's key. The store is told once: two processes with other keys must not take turns."""
        space = port.space()
        if space != self._space:
            with storage_errors("use the keys' account and mode"):
                self._store.use_space(space)
            self._space = space
        return space

    def _verified(self, payload: bytes, signature: str | None, secrets: Sequence[str]) -> RemoteEvent | None:
        verify_signature(payload, signature, secrets, self._clock.now())
        try:
            return parse_event(payload)
        except ValueError as error:
            raise WebhookRejectedError("signed, but no event of Stripe's") from error

    def _process(self, port: StripePort, event: RemoteEvent) -> WebhookOutcome:
        space = self._use_space(port)
        ignored = why_ignored(event, space)
        subscription_id = subscription_of(event)
        if ignored is not None or subscription_id is None:
            reason = ignored or "not about a subscription"
            return WebhookOutcome(WebhookResult.IGNORED, reason, event.id, event.type)
        with storage_errors("look up the event"):
            if self._store.look_up_event(event.id).is_handled:
                return WebhookOutcome(WebhookResult.DUPLICATE, "", event.id, event.type)
        sync = self._sync(port, space, subscription_id, event.id)
        if event.type == "invoice.payment_failed" and sync.row is not None and not sync.is_duplicate:
            self._tell(BillingNotice(NoticeKind.PAYMENT_FAILED, sync.row))
        return WebhookOutcome(_result(sync), "", event.id, event.type, sync.change, sync.alarms)

    def _sync(
        self, port: StripePort, space: StripeSpace, subscription_id: str, event_id: str | None = None
    ) -> SubscriptionSync:
        """Read the version, fetch, compare and swap; again while others write in between."""
        for _ in range(ATTEMPTS):
            with storage_errors("load the subscription"):
                stored = self._store.load_subscription(subscription_id)
            folded = self._fetch(port, space, subscription_id, stored.row)
            if folded is None:
                return SubscriptionSync(stored.row)
            with storage_errors("save the subscription"):
                put = self._store.put_subscription(
                    folded.row, expected_version=stored.version, event_id=event_id, on_change=self._on_change
                )
            if put.outcome is PutOutcome.DUPLICATE:
                return SubscriptionSync(put.previous, is_duplicate=True)
            if put.outcome is PutOutcome.SAVED:
                return self._saved(folded, put.previous)
        raise StorageError(f"subscription {subscription_id} is written by too many at once; try again")

    def _fetch(
        self, port: StripePort, space: StripeSpace, subscription_id: str, held: OrgSubscription | None
    ) -> Folded | None:
        """The row as it should be; None for what is none of ours."""
        remote = port.subscription(subscription_id)
        if remote is None:
            return Folded(ended(held)) if held is not None else None
        if naming.is_foreign(remote.metadata, self._namespace):
            return None
        return fold(held, remote, self._names(remote, space), space=space, namespace=self._namespace)

    def _names(self, remote: RemoteSubscription, space: StripeSpace) -> Names:
        with storage_errors("look up plan and org"):
            found = {item.price_id: self._store.plan_of_price(space, item.price_id) for item in remote.items}
            org_id = self._store.org_of_customer(space, remote.customer_id)
        return Names({price_id: slug for price_id, slug in found.items() if slug is not None}, org_id)

    def _differs(self, remote: RemoteSubscription, space: StripeSpace) -> bool:
        """Whether a listed subscription is worth a look: a listing is older than its row's version may be."""
        with storage_errors("load the subscription"):
            held = self._store.load_subscription(remote.id).row
        folded = fold(held, remote, self._names(remote, space), space=space, namespace=self._namespace)
        return folded.row != held

    def _saved(self, folded: Folded, previous: OrgSubscription | None) -> SubscriptionSync:
        row = folded.row
        change = SubscriptionChange(previous, row) if previous != row else None
        alarms = folded.alarms + (self._several_alarm(row) if change is not None else ())
        if change is not None:
            self._tell(BillingNotice(NoticeKind.SUBSCRIPTION_CHANGED, row, change))
        if alarms:
            _log.warning("subscription %s: %s", row.subscription_id, ", ".join(alarms))
            self._tell(BillingNotice(NoticeKind.ALARM, row, change, alarms))
        return SubscriptionSync(row, change, alarms)

    def _several_alarm(self, row: OrgSubscription) -> tuple[Alarm, ...]:
        if row.org_id is None or row.access is Access.NONE:
            return ()
        with storage_errors("load the org's subscriptions"):
            rows = self._store.subscriptions_of(row.org_id)
        granting = [other for other in rows if other.access is not Access.NONE and other.space == row.space]
        return (Alarm.SEVERAL_GRANTING,) if len(granting) > 1 else ()

    def _tell(self, notice: BillingNotice) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(notice)
            except Exception:  # noqa: BLE001 - the host's own code, after the commit
                _log.exception("a listener failed; the row is written all the same")


def _result(sync: SubscriptionSync) -> WebhookResult:
    if sync.is_duplicate:
        return WebhookResult.DUPLICATE
    if sync.row is None:
        return WebhookResult.IGNORED
    if sync.row.org_id is None or sync.row.plan is None:
        return WebhookResult.UNMATCHED
    return WebhookResult.APPLIED if sync.change is not None else WebhookResult.UNCHANGED
