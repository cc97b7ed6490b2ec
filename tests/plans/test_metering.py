"""Periods, splits and levels of use."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.plans import Level
from kuploy_saas_kit.plans.metering import (
    checked_instant,
    level_of,
    levels_crossed,
    license_period,
    month_period,
    org_period,
    split,
    to_base_units,
    to_limit_units,
    utc_month,
)
from kuploy_saas_kit.testing.strategies import instants

MINUTES = KUPLOY_CLOUD.limits["buildMinutesPerMonth"]
STORAGE = KUPLOY_CLOUD.limits["maxStorageBytes"]
PROJECTS = KUPLOY_CLOUD.limits["maxProjects"]


@given(instants, instants)
def test_every_instant_is_in_exactly_one_period(anchor: datetime, instant: datetime) -> None:
    """Periods hold their instants, follow each other without a gap, and are about a month long."""
    start, end = month_period(anchor, instant)
    assert start <= instant < end
    assert month_period(anchor, start) == (start, end)
    assert month_period(anchor, end)[0] == end
    assert month_period(anchor, start - timedelta(seconds=1))[1] == start
    assert timedelta(days=28) <= end - start <= timedelta(days=31)


@pytest.mark.parametrize(
    ("anchor", "instant", "start"),
    [
        ("2026-01-31", "2026-02-27", "2026-01-31"),
        ("2026-01-31", "2026-02-28", "2026-02-28"),
        ("2026-01-31", "2026-03-30", "2026-02-28"),
        ("2026-01-31", "2026-03-31", "2026-03-31"),
        ("2024-02-29", "2026-02-28", "2026-02-28"),
        ("2026-12-15", "2027-01-14", "2026-12-15"),
        ("2026-12-15", "2026-01-14", "2025-12-15"),
    ],
)
def test_short_months(anchor: str, instant: str, start: str) -> None:
    """A period that begins on the 29th to 31st begins on a shorter month's last day."""
    assert month_period(_day(anchor), _day(instant))[0] == _day(start)


@given(instants, instants, st.integers(1, 200 * 24 * 3600))
def test_split_loses_no_second(anchor: datetime, at: datetime, seconds: int) -> None:
    """A duration is split at every boundary: the parts add up, each in the period it fell into."""
    parts = split(at, seconds, MINUTES, lambda instant: month_period(anchor, instant))
    assert sum(part for _, part in parts) == seconds
    assert all(isinstance(part, int) for _, part in parts)
    assert [start for start, _ in parts] == sorted({start for start, _ in parts})
    assert parts[0][0] == month_period(anchor, at)[0]
    assert parts[-1][0] == month_period(anchor, at + timedelta(seconds=seconds - 1))[0]


def test_amounts_that_are_no_durations_are_not_split() -> None:
    """Bytes belong to the instant at which they were counted."""
    assert split(_day("2026-01-31"), 10**9, STORAGE, utc_month) == [(_day("2026-01-01"), 10**9)]


@given(st.integers(0, 300), st.integers(1, 200))
def test_levels_follow_the_share(used: int, cap: int) -> None:
    """Below 80 % is OK, then a warning, from 100 % on the limit, at ⌊110 %⌋ the hard stop where there is one."""
    level = level_of(used, cap)
    assert (level >= Level.WARNING) == (used * 5 >= cap * 4)
    assert (level >= Level.LIMIT) == (used >= cap)
    assert level is not Level.HARD_STOP
    assert (level_of(used, cap, 110) is Level.HARD_STOP) == (used >= cap * 110 // 100)
    assert level_of(used, UNLIMITED) is Level.OK


def test_crossings_are_the_levels_in_between() -> None:
    """A jump crosses every level on the way, and the hard stop only where there is one."""
    assert list(levels_crossed(Level.OK, Level.LIMIT, PROJECTS)) == [Level.WARNING, Level.LIMIT]
    assert list(levels_crossed(Level.OK, Level.HARD_STOP, MINUTES)) == [Level.WARNING, Level.LIMIT, Level.HARD_STOP]
    assert list(levels_crossed(Level.WARNING, Level.HARD_STOP, PROJECTS)) == [Level.LIMIT]
    assert list(levels_crossed(Level.LIMIT, Level.WARNING, MINUTES)) == []


def test_units() -> None:
    """Limits go to seconds exactly, use comes back in minutes rounded up."""
    assert to_base_units(100, MINUTES) == 6000
    assert to_base_units(UNLIMITED, MINUTES) is UNLIMITED
    assert [to_limit_units(seconds, MINUTES) for seconds in (0, 1, 60, 61)] == [0, 1, 1, 2]


def test_the_orgs_period_follows_its_subscription() -> None:
    """The day of the subscription's creation is the anchor where it agrees, else its period's start; else the month."""
    created = datetime(2026, 1, 31, 8, tzinfo=UTC)
    monthly = _subscription(created, datetime(2026, 2, 28, 8, tzinfo=UTC))
    assert org_period(monthly, _day("2026-03-31") + timedelta(hours=9))[0] == datetime(2026, 3, 31, 8, tzinfo=UTC)
    trial = _subscription(created, datetime(2026, 2, 10, 8, tzinfo=UTC))
    assert org_period(trial, _day("2026-01-15"))[0] == datetime(2026, 1, 10, 8, tzinfo=UTC)
    for nothing in (None, _subscription(created, None)):
        assert org_period(nothing, _day("2026-02-15")) == (_day("2026-02-01"), _day("2026-03-01"))


def test_the_licenses_period_is_the_hubs_or_the_month() -> None:
    """The hub's period holds within itself; late events get the months before it; without one it is the month."""
    named = (_day("2026-10-20"), _day("2026-11-20"))
    assert license_period(named, _day("2026-11-01")) == named
    assert license_period(named, _day("2026-10-01")) == (_day("2026-09-20"), _day("2026-10-20"))
    assert license_period(named, named[0]) == named
    assert license_period(named, named[1]) == (_day("2026-11-20"), _day("2026-12-20"))
    week = (_day("2026-10-20"), _day("2026-10-27"))
    assert license_period(week, week[0]) == week
    assert license_period(week, _day("2026-10-26")) == week
    short = (_day("2026-01-31"), _day("2026-02-28"))
    assert license_period(short, _day("2026-04-01"))[0] == _day("2026-03-31")
    assert license_period(None, _day("2026-10-05")) == (_day("2026-10-01"), _day("2026-11-01"))
    assert utc_month(_day("2026-10-05"))[0].tzinfo is UTC


def test_naive_instants_are_refused() -> None:
    """An instant without a time zone is refused with what to pass; others come back in UTC."""
    with pytest.raises(InvalidValueError, match=r"^at must be an aware datetime, such as datetime\.now\(UTC\)$"):
        checked_instant(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused
    instant = checked_instant(datetime.fromisoformat("2026-01-01T01:00:00+01:00"))
    assert instant == _day("2026-01-01")
    assert instant.tzinfo is UTC


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _subscription(created: datetime, period_start: datetime | None) -> OrgSubscription:
    return OrgSubscription(
        subscription_id="sub_1",
        space=StripeSpace("acct_1", livemode=False),
        org_id="acme",
        customer_id="cus_1",
        plan="pro",
        price_id="price_1",
        status="active",
        known_status="active",
        created=created,
        period_start=period_start,
    )
