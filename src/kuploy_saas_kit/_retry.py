"""Calling again what may succeed later, as often and as long as a budget allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import tenacity

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How long all waits of one call may be together, and between which bounds the single ones grow."""

    waiting: timedelta = timedelta(seconds=30)
    first_wait: timedelta = timedelta(milliseconds=500)
    longest_wait: timedelta = timedelta(seconds=10)


def call_with_retries(
    attempt: Callable[[int], Result],
    *,
    attempts_for: Callable[[BaseException], int],
    budget: RetryBudget,
    sleep: Callable[[float], None] = tenacity.nap.sleep,
) -> Result:
    """The result of `attempt(1)`, or of a later attempt after a random and growing wait.

    *attempts_for* says how many attempts an error is worth in all; 1 is never again. The last error is raised as it
    is, once these are used up or the next wait would go beyond the budget.
    """

    def stop(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome is not None else None
        spent = timedelta(seconds=state.idle_for + state.upcoming_sleep)
        return error is None or state.attempt_number >= attempts_for(error) or spent > budget.waiting

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda error: attempts_for(error) > 1),
        stop=stop,
        wait=tenacity.wait_random_exponential(
            multiplier=budget.first_wait.total_seconds(), max=budget.longest_wait.total_seconds()
        ),
        sleep=sleep,
        reraise=True,
    )
    for step in retrying:
        with step:
            return attempt(step.retry_state.attempt_number)
    raise AssertionError("tenacity ends with a result or the last error")  # pragma: no cover
