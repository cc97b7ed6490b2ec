"""The only place that reads a clock.

Everything else takes `now` as an argument or a `Clock` in its constructor, so that tests move time by hand.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

# CLOCK_BOOTTIME goes on while the machine sleeps; CLOCK_MONOTONIC on Linux does not.
_ELAPSED_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Where the kit gets its time from."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""

    def elapsed(self) -> timedelta:
        """Time since some fixed moment; never goes back and, where the system allows, counts suspend."""


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> timedelta:
        if _ELAPSED_CLOCK is None:
            return timedelta(seconds=time.monotonic())
        return timedelta(seconds=time.clock_gettime(_ELAPSED_CLOCK))


def from_timestamp(seconds: int) -> datetime:
    """The aware UTC instant *seconds* after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def to_timestamp(instant: datetime) -> int:
    """Whole seconds since the epoch, rounded down; *instant* must be aware."""
    if instant.tzinfo is None:
        raise ValueError("a naive datetime names no instant: pass an aware one, such as datetime.now(UTC)")
    return int(instant.timestamp() // 1)
