"""Three ways to begin a plan, all of which end in the same: a plan that names every limit itself.

Source: Kuploy's "Setting Up Billing for Your Users", section 5: size presets, copy from plan, manual entry. Presets
are starting values and no tiers; nothing is inherited.
"""

from __future__ import annotations

from enum import Enum

from kuploy_saas_kit.model.limits import Limits
from kuploy_saas_kit.model.plan import Plan

_GB = 10**9


def _limits(projects: int, members: int, domains: int, minutes: int, storage: int) -> Limits:
    return Limits(
        {
            "maxProjects": projects,
            "maxApps": 3 * projects,
            "maxDatabases": projects,
            "maxTeamMembers": members,
            "maxDomains": domains,
            "maxCustomDomains": domains,
            "maxFreeSubdomains": projects,
            "maxMailboxes": members,
            "maxStorageBytes": storage,
            "buildMinutesPerMonth": minutes,
        }
    )


class SizePreset(Enum):
    """Sensible starting limits for a plan; edit them as you like."""

    SMALL = _limits(projects=3, members=3, domains=1, minutes=200, storage=5 * _GB)
    MEDIUM = _limits(projects=10, members=10, domains=5, minutes=1_000, storage=50 * _GB)
    LARGE = _limits(projects=30, members=30, domains=20, minutes=3_000, storage=200 * _GB)

    @property
    def limits(self) -> Limits:
        """The preset's limits, for `Plan(limits=...)`."""
        return self.value


def copy_plan(plan: Plan, *, slug: str, name: str) -> Plan:
    """A new plan with the price, features and limits of *plan*; it is not the default. `INTERNAL` cannot be copied."""
    return Plan(slug, name, plan.price, plan.features, plan.limits, description=plan.description)
