from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuploy_saas_kit.license.schedule import Schedule, parse_retry_after

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ZERO = timedelta()
DICE = st.floats(0, 1, exclude_max=True)


def seconds(number: float) -> timedelta:
    """*number* seconds."""
    return timedelta(seconds=number)


def test_a_new_schedule_is_due_at_once() -> None:
    """The first sync waits for nothing."""
    assert Schedule().is_due(ZERO)
    assert Schedule().until_due(ZERO) == ZERO


@given(DICE)
def test_after_a_success_comes_a_period(dice: float) -> None:
    """Period ± 20 %, and the back-off is forgotten."""
    after = Schedule(failures=9, delay=seconds(300)).after_success(ZERO, seconds(60), dice)
    assert seconds(48) <= after.until_due(ZERO) <= seconds(72)
    assert (after.failures, after.delay) == (0, seconds(5))


@given(st.lists(st.tuples(DICE, st.none() | st.integers(1, 900)), min_size=1, max_size=50))
def test_the_next_delay_is_from_1_to_990_seconds(rounds: list[tuple[float, int | None]]) -> None:
    """Whatever fails and whatever the hub asks for, polling goes on (invariant 18)."""
    schedule = Schedule()
    for dice, retry_after in rounds:
        wait = None if retry_after is None else seconds(retry_after)
        schedule = schedule.after_failure(ZERO, wait, dice)
        assert seconds(1) <= schedule.until_due(ZERO) <= seconds(990)
        if retry_after is None:
            assert seconds(5) <= schedule.until_due(ZERO) <= seconds(300)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("0", 1),
        ("3600", 900),
        ("99999999999999", 900),
        ("Sun, 01 Nov 2026 12:00:40 GMT", 40),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 900),
    ],
)
def test_retry_after_is_clamped(header: str, wait: int) -> None:
    """Seconds and dates, from 1 to 900 s (F12, F13)."""
    assert parse_retry_after(header, NOW) == seconds(wait)


@pytest.mark.parametrize(
    "header",
    [None, "", "-1", "abc", "1.5", "9" * 400, "٣", "Sun, 01 Nov 2026 11:59:00 GMT", "Sun, 99 Foo 2026", "0x10"],
)
def test_nonsense_in_retry_after_is_ignored(header: str | None) -> None:
    """Negative, empty, unreadable and past values fall back to the normal back-off (F14)."""
    assert parse_retry_after(header, NOW) is None


@given(st.text(max_size=60))
def test_no_header_crashes(header: str) -> None:
    """Any text gives a clamped wait or none."""
    wait = parse_retry_after(header, NOW)
    assert wait is None or seconds(1) <= wait <= seconds(900)


@given(DICE)
def test_a_second_look_comes_after_30_to_90_seconds(dice: float) -> None:
    """The mass-loss guard asks again soon, and not at once."""
    assert seconds(30) <= Schedule().for_second_look(ZERO, dice).until_due(ZERO) <= seconds(90)
