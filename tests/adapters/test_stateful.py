"""Random histories on each store and on the memory store, answer by answer."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from tests.adapters.conftest import empty
from tests.adapters.test_broken_stores import (
    CountsRefused,
    CountsWhatIsThere,
    KeepsVersions,
    LastSubscriptionWins,
    LosesEvents,
    ReleasesAgain,
    RewritesRows,
    TellsNobody,
)
from tests.conftest import examples

from kuploy_saas_kit.adapters import AsyncSqlStore, MemoryStore, SqlStore
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.stateful import books_machine, usage_machine
from kuploy_saas_kit.testing.conformance.threads import FromThreads


@pytest.mark.parametrize("machine", [usage_machine, books_machine])
def test_random_histories(machine: Callable[..., type[RuleBasedStateMachine]], url: str) -> None:
    """Whatever is done to it in whatever order, the SQL store answers as the memory store does."""

    def make(clock: ManualClock) -> SqlStore:
        store = SqlStore.from_url(url, clock=clock)
        empty(store)
        return store

    run_state_machine_as_test(
        machine(make), settings=settings(max_examples=examples(20), stateful_step_count=20, deadline=None)
    )


def test_random_histories_of_an_async_store(url: str) -> None:
    """What is awaited answers the same: one suite, one oracle, both faces."""

    def make(clock: ManualClock) -> FromThreads:
        with closing(SqlStore.from_url(url)) as store:
            empty(store)
        return FromThreads(partial(AsyncSqlStore.from_url, url, clock=clock)).__enter__()

    run_state_machine_as_test(
        usage_machine(make), settings=settings(max_examples=examples(8), stateful_step_count=20, deadline=None)
    )


@pytest.mark.parametrize(
    ("machine", "broken"),
    [
        (usage_machine, CountsRefused),
        (usage_machine, ReleasesAgain),
        (books_machine, LosesEvents),
        (books_machine, TellsNobody),
        (books_machine, KeepsVersions),
        (books_machine, RewritesRows),
        (books_machine, CountsWhatIsThere),
        (books_machine, LastSubscriptionWins),
    ],
)
def test_a_mistake_is_found(
    machine: Callable[..., type[RuleBasedStateMachine]], broken: Callable[[ManualClock], MemoryStore]
) -> None:
    """Random histories tell a store with one mistake from the memory store."""
    find = settings(max_examples=200, stateful_step_count=20, deadline=None, phases=[Phase.generate], derandomize=True)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(broken), settings=find)
