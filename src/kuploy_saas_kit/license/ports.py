"""What `license` needs from others: HTTP, a place to keep the license, a lease, and the usage to report.

Only types of the standard library cross these walls. Whatever a store raises reaches callers as `StorageError`: it
raises where it cannot look, and never answers that there is nothing. What each verb keeps is kept by itself.
What stores keep of names and instants is as in `plans.ports`: every character, every microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class HubRequest:
    """One POST to the hub. The body and the Authorization header hold secrets and are not shown."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HubResponse:
    """What came back: status, headers with lower-case names, the body as it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class HubTransport(Protocol):
    """Carries a request to the hub.

    It follows no redirect, keeps to the total deadline and the body cap that it was made with, asks for identity
    encoding, and verifies TLS. A failure is `HubUnavailableError` with a code such as `transport.connect`.
    """

    def post(self, request: HubRequest) -> HubResponse:
        """Send the request and read the whole answer, or raise `HubUnavailableError`."""

    def close(self) -> None:
        """Let go of connections; a later `post` opens new ones."""


@dataclass(frozen=True, slots=True)
class LicenseRecord:
    """The newest accepted answer of the hub, as its bytes came, and the time high-water mark saved with it.

    *trust* is the mode under which it was accepted; a record of another mode is treated as absent.
    """

    body: bytes = field(repr=False)
    trust: str
    epoch: int
    revision: int
    received_at: datetime
    mark: datetime


@dataclass(frozen=True, slots=True)
class LicenseSaved:
    """Whether the record was saved. Not saved: somebody saved one that is at least as new."""

    saved: bool

    def __bool__(self) -> bool:
        raise TypeError("use .saved")


class LicenseStore(Protocol):
    """Keeps the license of one instance. What it returns is verified again by its caller."""

    def load_license(self) -> LicenseRecord | None:
        """The stored record, or None where there is none or its bytes cannot be read."""

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        """Save *record* if its (epoch, revision) is above the stored one, in one step.

        A stored record that equals *instead_of* is replaced whatever its revision: it is of another license, of
        another trust mode, or does not verify. A stored record that cannot be read counts as none.
        """

    def save_mark(self, mark: datetime) -> None:
        """Move the stored record's time mark forward to *mark*, never back; nothing happens without a record."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim that has begun. *secret* is what the instance polls with; nobody else knows it.

    *license_key* and *tenant_name* are there once the hub approved; the key counts once confirmed.
    """

    code: str
    secret: str = field(repr=False)
    expires_at: datetime
    interval: timedelta
    license_key: str | None = field(default=None, repr=False)
    tenant_name: str | None = None


class IdentityStore(Protocol):
    """Keeps who this instance is: its id, the claimed license key, and a claim on its way."""

    def ensure_instance_id(self, candidate: str) -> str:
        """The instance's id; *candidate* becomes it where there is none yet (insert if absent)."""

    def load_license_key(self) -> str | None:
        """The claimed license key, or None."""

    def save_license_key(self, license_key: str | None) -> None:
        """Keep the claimed license key, or forget it."""

    def load_claim(self) -> ClaimRecord | None:
        """The claim on its way, or None."""

    def save_claim(self, claim: ClaimRecord | None) -> None:
        """Keep the claim on its way, or forget it."""


class ClientStore(LicenseStore, IdentityStore, Protocol):
    """What a `LicenseClient` needs of its store. One that is a `LeaseStore` too also elects who syncs."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Whether the caller holds the lease, and until when by the store's clock."""

    held: bool
    until: datetime

    def __bool__(self) -> bool:
        raise TypeError("use .held")


@runtime_checkable
class LeaseStore(Protocol):
    """Elects one of several processes. Advisory: nothing that must be right hangs on it."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        """Take or prolong the lease *name* for *ttl*, if it is free, expired or held by *holder* already."""

    def drop_lease(self, name: str, holder: str) -> None:
        """Give the lease up early; nothing happens if somebody else holds it."""


@dataclass(frozen=True, slots=True)
class MeterReport:
    """The absolute total of a meter in one period, in base units."""

    key: str
    period: datetime
    total: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What this instance uses: absolute counts by limit key, and totals of meters."""

    usage: Mapping[str, int] = field(default_factory=dict)
    meters: Sequence[MeterReport] = ()


class UsageSource(Protocol):
    """Tells what to report with each sync. Totals, never differences, so that a lost report does no harm."""

    def usage_report(self) -> UsageReport:
        """The instance's totals now."""
