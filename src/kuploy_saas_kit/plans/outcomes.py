"""What the gate's other verbs answer with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from kuploy_saas_kit.model.limits import LimitValue
from kuploy_saas_kit.plans.metering import Level
from kuploy_saas_kit.plans.ports import INSTANCE, GivenBack
from kuploy_saas_kit.plans.standing import PlanResolution


@dataclass(frozen=True, slots=True)
class Released:
    """What a release returned to the org's counters, by limit key.

    *drift* is by how much a counter would have gone below 0: more was released than was ever acquired, and
    `reconcile` mends it.
    """

    returned: Mapping[str, int]
    drift: Mapping[str, int]

    @classmethod
    def of(cls, given: GivenBack) -> Released:
        """The org's side of *given*."""
        return cls(_without_instance(given.returned), _without_instance(given.drift))

    def __bool__(self) -> NoReturn:
        raise TypeError("use .returned")


@dataclass(frozen=True, slots=True)
class Drift:
    """The difference between what was counted and what is: *actual* − *counted*, mended."""

    limit: str
    counted: int
    actual: int

    @property
    def difference(self) -> int:
        """By how much the counter was too low; negative if it was too high."""
        return self.actual - self.counted

    def __bool__(self) -> NoReturn:
        raise TypeError("use .difference")


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One feature of an org, for a page that lists them."""

    key: str
    label: str
    granted: bool
    in_license: bool
    in_plan: bool


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit of an org, for a page that lists them. *used* and *limit* are in the limit's units."""

    key: str
    label: str
    unit: str
    used: int
    limit: LimitValue
    level: Level

    @property
    def share(self) -> float | None:
        """The used share, 1.0 for all of it; None for no limit or a limit of 0."""
        return self.used / self.limit if isinstance(self.limit, int) and self.limit else None

    @property
    def over_by(self) -> int:
        """By how much the use is above the limit, such as after a downgrade."""
        return max(0, self.used - self.limit) if isinstance(self.limit, int) else 0


@dataclass(frozen=True, slots=True)
class OrgOverview:
    """Everything that an org has and uses."""

    org_id: str
    resolution: PlanResolution
    features: tuple[FeatureRow, ...]
    limits: tuple[LimitRow, ...]

    @property
    def over_limit(self) -> tuple[LimitRow, ...]:
        """The limits that the org is above. Nothing is deleted; creating is refused until it is below."""
        return tuple(row for row in self.limits if row.over_by)


def _without_instance(amounts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {limit: amount for (scope, limit), amount in amounts.items() if scope != INSTANCE}
