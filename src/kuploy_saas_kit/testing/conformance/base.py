"""What the classes share: the fixtures that a subclass fills in, and races."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import pytest

from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.crew import PROCESSES, WORKERS, Crew, Opener, ProcessCrew, ThreadCrew, race

__all__ = ["MINUTE", "NOW", "RACES", "WORKERS", "Crew", "StoreTests", "local_time", "race"]

NOW: Final = datetime(2024, 11, 20, 12, 0, tzinfo=UTC)  # long ago by any clock: other processes go by their own
MINUTE: Final = timedelta(minutes=1)
RACES: Final = 2
"""How often a race that can be over in a moment is run, times the option `--kuploy-rounds`."""


class StoreTests:
    """A port's tests; a subclass gives them a `store`, and `reopen` where other processes can open the same.

    So many *processes* race.
    """

    processes: ClassVar[int] = PROCESSES

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock that the store goes by."""
        return ManualClock(NOW)

    @pytest.fixture
    def store(self, clock: ManualClock) -> Any:
        """A new, empty store that takes its time from *clock*."""
        raise NotImplementedError("override the fixture `store` with one that returns a new, empty store")

    @pytest.fixture
    def reopen(self) -> Opener:
        """A function without arguments that opens the storage of `store` once more, in whatever process it is called.

        It is sent there by pickle: a function or class of a module, or a `functools.partial` of one.
        """
        pytest.skip("no other process: override the fixture `reopen` where others can open the store's storage")

    @pytest.fixture(params=["threads", "processes"])
    def crew(self, request: pytest.FixtureRequest, store: Any) -> Iterator[Crew]:
        """Who races: threads that share `store`, and processes that `reopen` its storage."""
        if request.param == "threads":
            yield ThreadCrew(store)
            return
        with ProcessCrew(request.getfixturevalue("reopen"), workers=self.processes) as crew:
            yield crew

    @pytest.fixture
    def rounds(self, request: pytest.FixtureRequest) -> int:
        """How often a race is run: the option `--kuploy-rounds`, 1 without it."""
        found: int = request.config.getoption("kuploy_rounds", default=1)
        return found


@contextmanager
def local_time(rule: str) -> Iterator[None]:
    """This process is in the time zone that *rule* says, as POSIX's `TZ` does. Elsewhere the test is skipped."""
    if not hasattr(time, "tzset"):
        pytest.skip("no other local time: this system has no time.tzset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", rule)
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()
