"""Periods, thresholds and units of use: pure functions over instants and integers.

Periods are half-open, `[start, end)`, in UTC. A period begins on the subscription's day of the month, or on the
last day of a shorter month.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, TypeAlias

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.limits import LimitValue, Unlimited
from kuploy_saas_kit.model.product import LimitSpec
from kuploy_saas_kit.model.subscription import OrgSubscription

WARNING_PERCENT: Final = 80
"""From this share of a limit on its use is worth a warning. Source: Kuploy's "Billing notifications"."""

_WHOLE: Final = 100

Period: TypeAlias = tuple[datetime, datetime]


class Level(IntEnum):
    """How far a limit is used up; higher is fuller."""

    OK = 0
    """Below 80 %."""
    WARNING = 1
    """From 80 % on."""
    LIMIT = 2
    """From 100 % on."""
    HARD_STOP = 3
    """At the tolerated excess, for limits that have one."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A use that has reached a level for the first time in a period.

    *org_id* is None for the instance as a whole; *used* and *cap* are in base units of the limit (seconds for build
    minutes).
    """

    org_id: str | None
    limit: str
    level: Level
    used: int
    cap: int
    period: datetime

    @property
    def name(self) -> str:
        """What the crossing is announced under, once."""
        return f"{self.org_id or ''}/{self.limit}/{self.level.name.lower()}/{self.period:%Y-%m-%dT%H:%M:%SZ}"


def level_of(used: int, cap: LimitValue, hard_stop_percent: int = 100) -> Level:
    """The level of *used* under *cap*, both in the same unit."""
    if isinstance(cap, Unlimited):
        return Level.OK
    if hard_stop_percent > _WHOLE and used >= cap * hard_stop_percent // _WHOLE:
        return Level.HARD_STOP
    if used >= cap:
        return Level.LIMIT
    return Level.WARNING if used * _WHOLE >= cap * WARNING_PERCENT else Level.OK


def levels_crossed(before: Level, after: Level, spec: LimitSpec) -> Iterator[Level]:
    """The levels above *before*, up to *after*, that the limit has."""
    has_stop = spec.hard_stop_percent > _WHOLE
    return (level for level in Level if before < level <= after and (has_stop or level is not Level.HARD_STOP))


def month_period(anchor: datetime, instant: datetime) -> Period:
    """The month-long period that holds *instant*, counted from *anchor* in both directions."""
    steps = (instant.year - anchor.year) * 12 + instant.month - anchor.month
    if _add_months(anchor, steps) > instant:
        steps -= 1
    return _add_months(anchor, steps), _add_months(anchor, steps + 1)


def utc_month(instant: datetime) -> Period:
    """The calendar month that holds *instant*."""
    return month_period(datetime(1970, 1, 1, tzinfo=UTC), instant)


def org_period(subscription: OrgSubscription | None, instant: datetime) -> Period:
    """The org's period that holds *instant*: by its subscription, else the calendar month."""
    if subscription is None or subscription.period_start is None:
        return utc_month(instant)
    created = subscription.created
    # The day of creation is the anchor wherever it agrees: Jan 31, Feb 28, Mar 31 cannot be counted from Feb 28.
    agrees = month_period(created, subscription.period_start)[0] == subscription.period_start
    return month_period(created if agrees else subscription.period_start, instant)


def license_period(named: Period | None, instant: datetime) -> Period:
    """The license's period that holds *instant*: by the one that the hub named, else the calendar month."""
    if named is None:
        return utc_month(instant)
    if named[0] <= instant < named[1]:
        return named
    return month_period(named[0], instant)


def split(
    at: datetime, amount: int, spec: LimitSpec, period_at: Callable[[datetime], Period]
) -> list[tuple[datetime, int]]:
    """*amount* base units from *at* on, by the start of the period that each falls into.

    Only durations (seconds of build time) spread over time; other amounts belong to the instant *at*.
    """
    if spec.unit != "minutes":
        return [(period_at(at)[0], amount)]
    parts = []
    while amount > 0:
        start, end = period_at(at)
        here = min(amount, _whole_seconds(end - at))
        parts.append((start, here))
        at, amount = at + timedelta(seconds=here), amount - here
    return parts


def to_base_units(value: LimitValue, spec: LimitSpec) -> LimitValue:
    """A limit, in the units in which use is recorded."""
    return value if isinstance(value, Unlimited) else value * spec.base_units


def to_limit_units(amount: int, spec: LimitSpec) -> int:
    """Recorded use in the limit's units, rounded up for display."""
    return -(-amount // spec.base_units)


def checked_instant(instant: datetime) -> datetime:
    """*instant* in UTC; a naive one is refused."""
    if instant.tzinfo is None:
        raise InvalidValueError("at must be an aware datetime, such as datetime.now(UTC)")
    return instant.astimezone(UTC)


def _whole_seconds(span: timedelta) -> int:
    return -(-span // timedelta(seconds=1))


def _add_months(anchor: datetime, steps: int) -> datetime:
    years, month = divmod(anchor.month - 1 + steps, 12)
    year = anchor.year + years
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)
