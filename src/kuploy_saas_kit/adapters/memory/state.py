"""All that a `MemoryStore` holds, and what its verbs share."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.license.forks import mend_after_fork
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.subscription import Assignment, StripeSpace
from kuploy_saas_kit.plans.ports import CounterKey, TrailEntry
from kuploy_saas_kit.stripe_provision.ports import MadePrice, PriceMapping, StoredSubscription


@dataclass(slots=True)
class Holding:
    """What was taken under a key; for good where *expires_at* is None."""

    amounts: Mapping[CounterKey, int]
    expires_at: datetime | None

    def is_expired(self, now: datetime) -> bool:
        """Whether what it holds is to be returned at *now*."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(slots=True)
class State:
    """The tables."""

    plans: dict[str, Plan] = field(default_factory=dict)
    plan_versions: dict[str, int] = field(default_factory=dict)
    catalog_revision: int | None = None
    catalog_source: str = ""

    assignments: dict[str, Assignment] = field(default_factory=dict)
    trail: list[TrailEntry] = field(default_factory=list)
    standing_versions: dict[str, int] = field(default_factory=dict)
    feed: list[str | None] = field(default_factory=list)
    """Org ids in the order of their changes; None is everyone."""
    feed_name: str = field(default_factory=partial(secrets.token_hex, 8))

    used: dict[CounterKey, int] = field(default_factory=dict)
    holdings: dict[tuple[str, str], Holding] = field(default_factory=dict)
    meters: dict[tuple[str, str, datetime], int] = field(default_factory=dict)
    meter_events: set[str] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)

    license: LicenseRecord | None = None
    instance_id: str | None = None
    license_key: str | None = field(default=None, repr=False)
    claim: ClaimRecord | None = None
    leases: dict[str, tuple[str, Lease]] = field(default_factory=dict)

    space: StripeSpace | None = None
    mappings: dict[StripeSpace, dict[str, PriceMapping]] = field(default_factory=dict)
    prices: dict[tuple[StripeSpace, str], MadePrice] = field(default_factory=dict)
    fingerprints: dict[StripeSpace, str] = field(default_factory=dict)
    subscriptions: dict[str, StoredSubscription] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    customers: dict[tuple[StripeSpace, str], str] = field(default_factory=dict)


class Verbs:
    """One lock, one clock and one state for all verbs."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._state = State()
        mend_after_fork(self)

    def after_fork(self) -> None:
        """Whoever had the lock is in the parent."""
        self._lock = threading.RLock()

    def _changed(self, org_id: str | None) -> None:
        """Enter a change of *org_id*, or of everyone, in the feed."""
        if org_id is not None:
            self._state.standing_versions[org_id] = self._state.standing_versions.get(org_id, 0) + 1
        self._state.feed.append(org_id)
