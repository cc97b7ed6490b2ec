"""The license's status, the operations it permits, and the table between them (hub protocol, section 3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class LicenseStatus(StrEnum):
    """How the license stands at an instant."""

    UNLICENSED = "unlicensed"
    """No license key."""
    PENDING = "pending"
    """A key, and no verified payload for it yet."""
    REVOKED = "revoked"
    """The hub said, verifiably, that the license is revoked."""
    SUSPENDED = "suspended"
    """The hub said, verifiably, that the license is suspended."""
    EXPIRED = "expired"
    """Too long without the hub, or paid until an instant that has passed."""
    GRACE = "grace"
    """The hub has been silent for long; what was cached still holds."""
    STALE = "stale"
    """The hub is late; nothing is restricted."""
    ACTIVE = "active"
    """Fresh."""


class Operation(StrEnum):
    """What a caller is about to do."""

    CREATE = "create"
    """Resources, deploys, sign-ups, checkouts."""
    PROVISION = "provision"
    """Carrying the catalog to Stripe."""
    CONFIGURE = "configure"
    """Turning a feature on."""
    USE = "use"
    """A feature that is in use already."""
    RUN = "run"
    """Workloads, reads, deletes, restarts, webhooks, sync. Always permitted."""


_RUN_ONLY: Final = frozenset({Operation.RUN})
_IN_USE: Final = frozenset({Operation.USE, Operation.RUN})
_ALL_BUT_PROVISION: Final = frozenset(Operation) - {Operation.PROVISION}

PERMITTED: Final[dict[LicenseStatus, frozenset[Operation]]] = {
    LicenseStatus.UNLICENSED: _RUN_ONLY,
    LicenseStatus.PENDING: _RUN_ONLY,
    LicenseStatus.REVOKED: _RUN_ONLY,
    LicenseStatus.SUSPENDED: _IN_USE,
    LicenseStatus.EXPIRED: _IN_USE,
    LicenseStatus.GRACE: _ALL_BUT_PROVISION,
    LicenseStatus.STALE: frozenset(Operation),
    LicenseStatus.ACTIVE: frozenset(Operation),
}
"""What each status permits."""


def permits(status: LicenseStatus, operation: Operation) -> bool:
    """Whether *status* permits *operation*."""
    return operation in PERMITTED[status]
