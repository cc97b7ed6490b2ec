"""Answers that say why, and who can change them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, NoReturn, TypeAlias

from kuploy_saas_kit.model.limits import LimitValue


class Reason(StrEnum):
    """Why a decision is as it is. Members are stable: hosts may store and compare them."""

    GRANTED = "granted"
    NOT_IN_LICENSE = "not_in_license"
    """The tenant's license does not grant it."""
    NOT_IN_PLAN = "not_in_plan"
    """The org's plan does not grant it."""
    LIMIT_REACHED = "limit_reached"
    """The org's own limit leaves no room."""
    AGGREGATE_LIMIT_REACHED = "aggregate_limit_reached"
    """All orgs of the instance together leave no room under the license."""
    NO_LICENSE = "no_license"
    LICENSE_PENDING = "license_pending"
    """There is a license key, and no verified license for it yet."""
    LICENSE_GRACE = "license_grace"
    LICENSE_EXPIRED = "license_expired"
    LICENSE_SUSPENDED = "license_suspended"
    LICENSE_REVOKED = "license_revoked"
    UNKNOWN_KEY = "unknown_key"
    """The product's schema has no such key."""


class Who(StrEnum):
    """Who can change the answer."""

    TENANT = "tenant"
    """The tenant, at the hub: upgrade, pay, or link the instance."""
    TENANT_ADMIN = "tenant_admin"
    """The tenant's administrator, on this instance: network, hub address, plans."""
    ORG = "org"
    """The org: another plan, or less use."""
    DEVELOPER = "developer"
    """Whoever wrote the call."""


LayerValue: TypeAlias = "bool | LimitValue | None"


@dataclass(frozen=True, slots=True)
class Remedy:
    """Who must act, and how."""

    who: Who
    what: str

    def __str__(self) -> str:
        return self.what


REMEDIES: Final[dict[Reason, Remedy]] = {
    Reason.NOT_IN_LICENSE: Remedy(Who.TENANT, "the tenant upgrades the license at the hub"),
    Reason.NOT_IN_PLAN: Remedy(Who.ORG, "the org changes to a plan that has it"),
    Reason.LIMIT_REACHED: Remedy(Who.ORG, "the org removes some or changes to a larger plan"),
    Reason.AGGREGATE_LIMIT_REACHED: Remedy(Who.TENANT, "the tenant upgrades the license at the hub"),
    Reason.NO_LICENSE: Remedy(Who.TENANT_ADMIN, "link the instance with a claim code, or set LICENSE_KEY"),
    Reason.LICENSE_PENDING: Remedy(Who.TENANT_ADMIN, "let the instance reach the hub once"),
    Reason.LICENSE_GRACE: Remedy(Who.TENANT_ADMIN, "let the instance reach the hub again"),
    Reason.LICENSE_EXPIRED: Remedy(
        Who.TENANT_ADMIN, "let the instance reach the hub, and see that the license is paid"
    ),
    Reason.LICENSE_SUSPENDED: Remedy(Who.TENANT, "the tenant settles the license at the hub"),
    Reason.LICENSE_REVOKED: Remedy(Who.TENANT, "the tenant gets a new license at the hub"),
    Reason.UNKNOWN_KEY: Remedy(Who.DEVELOPER, "correct the key, or declare it in the ProductSchema"),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that had a say: its *source* (`license:growth`, `plan:pro`, …) and the *value* that it gave.

    *version* is the revision or version it had, *age* how old it was, *status* its state, each where there is one.
    """

    source: str
    value: LayerValue
    version: int | None = None
    age: timedelta | None = None
    status: str = ""

    def __str__(self) -> str:
        notes = [f"v{self.version}"] if self.version is not None else []
        notes += [self.status] if self.status else []
        notes += [f"{int(self.age.total_seconds())} s old"] if self.age is not None else []
        return f"{self.source} = {self.value}" + (f" ({', '.join(notes)})" if notes else "")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is granted, why, and who can lift a refusal.

    *limit*, *used* and *remaining* are in the limit's units and only there for limits. *blocking* is the layer that
    refused.
    """

    granted: bool
    reason: Reason
    key: str
    limit: LimitValue | None = None
    used: int | None = None
    layers: tuple[Layer, ...] = ()
    blocking: Layer | None = None

    @property
    def remaining(self) -> LimitValue | None:
        """What is left under *limit*, at least 0."""
        if not isinstance(self.limit, int) or self.used is None:
            return self.limit
        return max(0, self.limit - self.used)

    @property
    def over_limit(self) -> int:
        """By how much the use is above the limit, such as after a downgrade; 0 if it is not."""
        if not isinstance(self.limit, int) or self.used is None:
            return 0
        return max(0, self.used - self.limit)

    @property
    def remedy(self) -> Remedy | None:
        """Who can lift the refusal, and how; None where it is granted."""
        return REMEDIES.get(self.reason)

    @classmethod
    def grant(
        cls, key: str, layers: tuple[Layer, ...], *, limit: LimitValue | None = None, used: int | None = None
    ) -> Decision:
        """A decision that grants *key*."""
        return cls(granted=True, reason=Reason.GRANTED, key=key, limit=limit, used=used, layers=layers)

    @classmethod
    def refuse(
        cls,
        reason: Reason,
        key: str,
        layers: tuple[Layer, ...],
        *,
        blocking: Layer,
        limit: LimitValue | None = None,
        used: int | None = None,
    ) -> Decision:
        """A decision that refuses *key* because of one layer."""
        return cls(granted=False, reason=reason, key=key, limit=limit, used=used, layers=layers, blocking=blocking)

    def __bool__(self) -> NoReturn:
        raise TypeError("use .granted")

    def __str__(self) -> str:
        if self.granted:
            return f"{self.key}: granted"
        counts = f" ({self.used} of {self.limit} used)" if self.used is not None else ""
        return f"{self.key}: {self.reason}{counts}; {self.remedy}"
