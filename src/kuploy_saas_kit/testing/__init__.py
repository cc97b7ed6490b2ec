"""What hosts and authors of adapters test with: gates, clocks, a hub and a Stripe in memory, conformance suites.

`kuploy_saas_kit.testing.stripe` has the Stripe simulator, `.conformance` the suites for adapters, `.strategies` the
Hypothesis strategies; they need the extras `[stripe]` and `[testing]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.testing.awaited import Awaited
    from kuploy_saas_kit.testing.clock import ManualClock
    from kuploy_saas_kit.testing.gates import FixedLicense, FixedPlans, FixedSnapshot, gate_over
    from kuploy_saas_kit.testing.hub import HubSimulator

__all__ = ["Awaited", "FixedLicense", "FixedPlans", "FixedSnapshot", "HubSimulator", "ManualClock", "gate_over"]

_HOMES = {
    "Awaited": "kuploy_saas_kit.testing.awaited",
    "FixedLicense": "kuploy_saas_kit.testing.gates",
    "FixedPlans": "kuploy_saas_kit.testing.gates",
    "FixedSnapshot": "kuploy_saas_kit.testing.gates",
    "HubSimulator": "kuploy_saas_kit.testing.hub",
    "ManualClock": "kuploy_saas_kit.testing.clock",
    "gate_over": "kuploy_saas_kit.testing.gates",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
