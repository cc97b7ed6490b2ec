"""When people should hear that the grace runs out: at shares of it, and an hour before its end. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kuploy_saas_kit.license.snapshot import LicenseSnapshot
from kuploy_saas_kit.model.status import LicenseStatus

SHARES: Final = (75, 50, 25, 10)
"""Percent of the time from `freshUntil` to the end of the grace that are left when somebody is to hear of it."""

LAST_CALL: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class GraceStep:
    """How much of the grace is left: at most *percent* of it, or at most the last hour where *percent* is 0."""

    percent: int
    left: timedelta


def grace_step(snapshot: LicenseSnapshot) -> GraceStep | None:
    """The last step that *snapshot* has passed; None outside of GRACE and before the first step."""
    fresh_until, grace_until = snapshot.fresh_until, snapshot.grace_until
    if snapshot.status is not LicenseStatus.GRACE or fresh_until is None or grace_until is None:
        return None
    left = grace_until - snapshot.at
    if left <= LAST_CALL:
        return GraceStep(0, left)
    whole = grace_until - fresh_until
    passed = [percent for percent in SHARES if left * 100 <= whole * percent]
    return GraceStep(min(passed), left) if passed else None
