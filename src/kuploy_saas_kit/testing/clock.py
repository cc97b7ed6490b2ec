"""A clock that moves only when told to."""

from datetime import UTC, datetime, timedelta

_START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


class ManualClock:
    """A `Clock` for tests and simulations: wall time and elapsed time move together unless asked otherwise."""

    def __init__(self, now: datetime = _START) -> None:
        if now.tzinfo is None:
            raise ValueError("ManualClock needs an aware datetime")
        self._now = now.astimezone(UTC)
        self._elapsed = timedelta()

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> timedelta:
        return self._elapsed

    def advance(self, step: timedelta) -> datetime:
        """Let *step* pass on both clocks and return the new instant; *step* is not negative."""
        if step < timedelta():
            raise ValueError("time does not run backwards: use jump() to set the wall clock")
        self._now += step
        self._elapsed += step
        return self._now

    def jump(self, step: timedelta) -> datetime:
        """Set the wall clock forward or back by *step*, as an operator or a bad NTP server would; no time passes."""
        self._now += step
        return self._now
