"""What pytest gets from an installed kit: an option and two fixtures, and nothing that a test did not ask for.

pytest imports this module in every run of every project in whose environment the kit is, so it imports nothing itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kuploy_saas_kit.testing.clock import ManualClock
    from kuploy_saas_kit.testing.hub import HubSimulator


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the heavy tests of `kuploy_saas_kit.testing.conformance` go on."""
    parser.getgroup("kuploy-saas-kit").addoption(
        "--kuploy-rounds",
        type=int,
        default=1,
        metavar="N",
        help="run the races and crashes of kuploy_saas_kit.testing.conformance N times as often as usual",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    """One line where that option was given."""
    rounds: int = config.getoption("kuploy_rounds")
    return [] if rounds == 1 else [f"kuploy-saas-kit: races and crashes {rounds} times as often"]


@pytest.fixture
def kuploy_clock() -> ManualClock:
    """A clock that moves only when told to, for stores, simulators and a `SaasKit`."""
    from kuploy_saas_kit.testing.clock import ManualClock  # noqa: PLC0415 - only where a test asks for it

    return ManualClock()


@pytest.fixture
def kuploy_hub(kuploy_clock: ManualClock) -> HubSimulator:
    """A hub in memory that goes by `kuploy_clock`; it signs, for which it needs the extra `signing`."""
    from kuploy_saas_kit.testing.hub import HubSimulator  # noqa: PLC0415 - only where a test asks for it

    return HubSimulator(clock=kuploy_clock)
