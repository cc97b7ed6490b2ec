"""Billing periods: calendar arithmetic in UTC."""

from __future__ import annotations

import calendar
from datetime import timedelta

from kuploy_saas_kit._clock import from_timestamp, to_timestamp
from kuploy_saas_kit.testing.stripe.space import Row

_MONTHS = {"month": 1, "year": 12}
_DAYS = {"day": 1, "week": 7}


def next_boundary(start: int, recurring: Row, anchor: int) -> int:
    """The end of the period that begins at *start*, on the day of month of *anchor* where the month has it."""
    count: int = recurring["interval_count"]
    moment = from_timestamp(start)
    if recurring["interval"] in _DAYS:
        return to_timestamp(moment + timedelta(days=count * _DAYS[recurring["interval"]]))
    months = moment.year * 12 + moment.month - 1 + count * _MONTHS[recurring["interval"]]
    year, month = divmod(months, 12)
    day = min(from_timestamp(anchor).day, calendar.monthrange(year, month + 1)[1])
    return to_timestamp(moment.replace(year=year, month=month + 1, day=day))
