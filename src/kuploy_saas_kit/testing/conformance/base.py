"""What the classes share: the fixtures that a subclass fills in, and races."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, Final, TypeVar

import pytest

from kuploy_saas_kit.testing.clock import ManualClock

T = TypeVar("T")

NOW: Final = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
WORKERS: Final = 8


class StoreTests:
    """A port's tests; a subclass gives them a `store`."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock that the store goes by."""
        return ManualClock(NOW)

    @pytest.fixture
    def store(self, clock: ManualClock) -> Any:
        """A new, empty store that takes its time from *clock*."""
        raise NotImplementedError("override the fixture `store` with one that returns a new, empty store")


def race(action: Callable[[int], T], *, workers: int = WORKERS) -> list[T]:
    """Do *action* in *workers* threads at the same moment and return what each got."""
    barrier = Barrier(workers)

    def start(worker: int) -> T:
        barrier.wait()
        return action(worker)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(start, range(workers)))
