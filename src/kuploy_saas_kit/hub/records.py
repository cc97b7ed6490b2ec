"""What the hub keeps, as frozen values. Each kind names its key and what else it is looked up by.

Instants are aware UTC, limits are in the wire's units, meter totals in base units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from kuploy_saas_kit.model.plan import Plan


class HubStatus(StrEnum):
    """What the hub says about a license (hub protocol, section 1)."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


class RefusalCode(StrEnum):
    """Why the hub has no payload to answer with (hub protocol, section 1)."""

    LICENSE_NOT_FOUND = "license_not_found"
    LICENSE_SUSPENDED = "license_suspended"
    LICENSE_REVOKED = "license_revoked"
    INSTANCE_LIMIT_REACHED = "instance_limit_reached"
    RATE_LIMITED = "rate_limited"
    INVALID_REQUEST = "invalid_request"
    PRODUCT_NOT_ENTITLED = "product_not_entitled"
    CODE_TAKEN = "code_taken"
    SLOW_DOWN = "slow_down"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a payload: HTTP status, code, words for people, and when to come again."""

    status: int
    code: RefusalCode
    error: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPolicy:
    """What a hub decides for all its licenses.

    An answer is fresh for *fresh_for* and may be used offline for *grace*, both from when it was issued.
    """

    issuer: str = "https://kuploy.app"
    fresh_for: timedelta = timedelta(seconds=180)
    grace: timedelta = timedelta(days=7)


class Row:
    """A kind of record: the fields that are its key, and the others that it is looked up by."""

    __slots__ = ()

    KEY: ClassVar[tuple[str, ...]]
    LOOKUPS: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(Row):
    """Somebody who buys licenses."""

    KEY: ClassVar[tuple[str, ...]] = ("tenant_id",)

    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSubscription(Row):
    """What a tenant pays for one product: every license of the two is on this tier.

    *paid_until* is the end of the hub's own dunning, None while nothing is overdue.
    """

    KEY: ClassVar[tuple[str, ...]] = ("tenant_id", "product_type")

    tenant_id: str
    product_type: str
    tier: str
    paid_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCatalog(Row):
    """The plans that a tenant sells with one product; *revision* rises when they change."""

    KEY: ClassVar[tuple[str, ...]] = ("tenant_id", "product_type")

    tenant_id: str
    product_type: str
    revision: int
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class License(Row):
    """The right to run instances of one product. The license key itself is not kept, only its hash."""

    KEY: ClassVar[tuple[str, ...]] = ("license_id",)
    LOOKUPS: ClassVar[tuple[str, ...]] = ("key_hash", "tenant_id")

    license_id: str
    key_hash: str
    tenant_id: str
    product_type: str
    issued_at: datetime
    status: HubStatus = HubStatus.ACTIVE
    status_reason: str = ""


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """The largest total that an instance has reported for a meter in the period that begins at *period*."""

    key: str
    period: datetime
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance(Row):
    """A deployment that has used the license.

    It holds one of the license's seats until its last answer runs out at *held_until*; *place* says after whom it took
    it. *epoch* and *revision* are those of its last answer, *report_seq* orders the gauges in *usage*. An *allowance*
    is the total that it may hold.
    """

    KEY: ClassVar[tuple[str, ...]] = ("license_id", "instance_id")

    license_id: str
    instance_id: str
    place: int
    held_until: datetime
    is_removed: bool = False
    epoch: int = 0
    revision: int = 0
    report_seq: int = -1
    kit_version: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    meters: tuple[MeterTotal, ...] = ()
    allowances: Mapping[str, int] = field(default_factory=dict)

    def is_live(self, now: datetime) -> bool:
        """Whether it holds a seat, and what it uses counts."""
        return not self.is_removed and now < self.held_until


class ClaimStatus(StrEnum):
    """How a claim stands (hub protocol, section 5)."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Row):
    """An instance that asks for a license by a code that it shows.

    The instance polls with a secret of which the hub has the hash. *expires_at* ends the time to decide, and then,
    once decided, the time to fetch the answer. The license key is here only between the two.
    """

    KEY: ClassVar[tuple[str, ...]] = ("secret_hash",)

    secret_hash: str = field(repr=False)
    instance_id: str
    product_type: str
    code: str
    hostname: str
    public_url: str
    registered_at: datetime
    expires_at: datetime
    interval: timedelta
    status: ClaimStatus = ClaimStatus.PENDING
    polled_at: datetime | None = None
    license_key: str | None = field(default=None, repr=False)
    tenant_name: str | None = None


@dataclass(frozen=True, slots=True)
class WrongCode:
    """A claim code that nobody has shown, typed in by a tenant."""

    tenant_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongCodes(Row):
    """The wrong codes of the last minutes, over all tenants. There is one such row."""

    KEY: ClassVar[tuple[str, ...]] = ("name",)
    NAME: ClassVar[str] = "wrong_codes"

    name: str = NAME
    entries: tuple[WrongCode, ...] = ()


ROW_KINDS: Final[tuple[type[Row], ...]] = (
    Tenant,
    TenantSubscription,
    TenantCatalog,
    License,
    Instance,
    Claim,
    WrongCodes,
)
"""All that a hub's store keeps."""


def secret_hash(secret: str) -> str:
    """The hash of a license key or a claim secret, as the wire writes it: `sha256:` and hex digits."""
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
