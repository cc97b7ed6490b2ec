"""What every store of the kit must do, as pytest classes: subclass those of the ports that your store implements.

    class TestMyUsage(UsageStoreTests):
        @pytest.fixture
        def store(self, clock):
            return MyStore(clock=clock)

`store` gives a new, empty store for each test. `clock` is a `ManualClock`: a store takes expiry and leases from it in
place of its server's clock. With the fixture `reopen` processes race and are killed too, with `stepping` each verb is
stopped before each of its statements; without them these tests are skipped and say what they need. The option
`--kuploy-rounds` makes races and crashes last longer. `FromThreads` stands between the classes and an async store, of
which `CancelledTests` asks more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from kuploy_saas_kit.testing.conformance.billing import (
        CurrentSpaceTests,
        CustomerStoreTests,
        FingerprintStoreTests,
        ProvisioningStoreTests,
        SubscriptionStoreTests,
    )
    from kuploy_saas_kit.testing.conformance.crashes import CancelledTests
    from kuploy_saas_kit.testing.conformance.license import IdentityStoreTests, LeaseStoreTests, LicenseStoreTests
    from kuploy_saas_kit.testing.conformance.meters import AnnouncementStoreTests, MeterStoreTests
    from kuploy_saas_kit.testing.conformance.plans import (
        AuditStoreTests,
        ChangeFeedTests,
        PlanStoreTests,
        StandingStoreTests,
    )
    from kuploy_saas_kit.testing.conformance.threads import FromThreads
    from kuploy_saas_kit.testing.conformance.usage import HoldingStoreTests, UsageStoreTests

__all__ = [
    "AnnouncementStoreTests",
    "AuditStoreTests",
    "CancelledTests",
    "ChangeFeedTests",
    "CurrentSpaceTests",
    "CustomerStoreTests",
    "FingerprintStoreTests",
    "FromThreads",
    "HoldingStoreTests",
    "IdentityStoreTests",
    "LeaseStoreTests",
    "LicenseStoreTests",
    "MeterStoreTests",
    "PlanStoreTests",
    "ProvisioningStoreTests",
    "StandingStoreTests",
    "SubscriptionStoreTests",
    "UsageStoreTests",
]

_MODULES: Final = {
    "billing": (
        "CurrentSpaceTests",
        "CustomerStoreTests",
        "FingerprintStoreTests",
        "ProvisioningStoreTests",
        "SubscriptionStoreTests",
    ),
    "crashes": ("CancelledTests",),
    "license": ("IdentityStoreTests", "LeaseStoreTests", "LicenseStoreTests"),
    "plans": ("AuditStoreTests", "ChangeFeedTests", "PlanStoreTests", "StandingStoreTests"),
    "meters": ("AnnouncementStoreTests", "MeterStoreTests"),
    "threads": ("FromThreads",),
    "usage": ("HoldingStoreTests", "UsageStoreTests"),
}
_HOMES: Final = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

# A failed assertion then shows its values, as it does in a test file.
pytest.register_assert_rewrite(*sorted(set(_HOMES.values())))


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
