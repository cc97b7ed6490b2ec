"""A store in this process's memory: the oracle that the other stores are compared with, and a host's test double."""

from __future__ import annotations

from kuploy_saas_kit.adapters.awaited import AwaitedFromMemory
from kuploy_saas_kit.adapters.memory.billing import CustomerVerbs, ProvisioningVerbs, SpaceVerbs, SubscriptionVerbs
from kuploy_saas_kit.adapters.memory.license import IdentityVerbs, LeaseVerbs, LicenseVerbs
from kuploy_saas_kit.adapters.memory.plans import FeedVerbs, PlanVerbs, StandingVerbs
from kuploy_saas_kit.adapters.memory.usage import AnnouncementVerbs, HoldingVerbs, MeterVerbs, UsageVerbs

__all__ = ["MemoryStore"]


class MemoryStore(
    PlanVerbs,
    StandingVerbs,
    FeedVerbs,
    HoldingVerbs,
    UsageVerbs,
    MeterVerbs,
    AnnouncementVerbs,
    LicenseVerbs,
    IdentityVerbs,
    LeaseVerbs,
    SpaceVerbs,
    ProvisioningVerbs,
    SubscriptionVerbs,
    CustomerVerbs,
):
    """Implements every port of the kit under one lock. What it holds ends with the process.

    `MemoryStore(clock)` takes expiry and leases from *clock*; without one from the machine's.
    """

    def migrate(self) -> None:
        """Nothing to make; here so that it stands in for the other stores."""

    def async_store(self) -> AwaitedFromMemory:
        """The same store for code that awaits."""
        return AwaitedFromMemory(self)

    def close(self) -> None:
        """Nothing to let go of."""
