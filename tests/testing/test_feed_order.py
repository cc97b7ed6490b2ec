"""A feed whose numbers are given out in one order and committed in another, as those of a database's sequence are."""

from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
from tests.adapters.test_broken_stores import again_and_again

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.model.subscription import Assignment
from kuploy_saas_kit.plans.ports import AssignmentSaved, Changes, Everyone
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW


class InOrder(MemoryStore):
    """Takes a number for the change when everything is written."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.numbers = count(1)
        self.log: dict[int, str] = {}

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        return self.write(assignment, lambda: None)

    def write(self, assignment: Assignment, step: Callable[[], object]) -> AssignmentSaved:
        """Write it, and call *step* before."""
        step()
        with self._lock:
            saved = super().put_assignment(assignment)
            self.log[next(self.numbers)] = assignment.org_id
            return saved

    def changes(self, cursor: str | None) -> Changes:
        if cursor is None:
            return Changes(str(max(self.log, default=0)), Everyone.ALL)
        news = {number: org_id for number, org_id in list(self.log.items()) if number > int(cursor)}
        return Changes(str(max(news, default=int(cursor))), frozenset(news.values()))


class NumbersFirst(InOrder):
    """Takes it when it begins, and others commit meanwhile: whoever reads them believes to have read it."""

    def write(self, assignment: Assignment, step: Callable[[], object]) -> AssignmentSaved:
        number = next(self.numbers)
        step()
        saved = MemoryStore.put_assignment(self, assignment)
        self.log[number] = assignment.org_id
        return saved


class Slow:
    """A store that is stopped before it writes."""

    def __init__(self, store: InOrder, step: Callable[[], object]) -> None:
        self._store = store
        self._step = step

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        return self._store.write(assignment, self._step)


def judge(kind: type[InOrder]) -> None:
    """Hold a new store to the law."""
    store = kind(ManualClock(NOW))
    conformance.ChangeFeedTests().test_a_race_at_each_step(store, partial(Slow, store))


def test_the_law_finds_the_mistake() -> None:
    """It is found at once, and the same store without it passes."""
    judge(InOrder)
    with pytest.raises(AssertionError, match="overtaken before statement 1"):
        again_and_again(partial(judge, NumbersFirst))
