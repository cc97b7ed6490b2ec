"""Two that do the same to a store, one of which is overtaken by the other at each line of the store's code in turn.

A store that reads in one transaction and writes in the next is right until somebody comes in between, which in a race
happens now and then. Here it happens at every line once.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from kuploy_saas_kit._clock import SystemClock

T = TypeVar("T")

Place: TypeAlias = tuple[CodeType, int, int]
"""A line of code, and how often it was come to in one call of a verb."""

_VISITS: Final = 2
"""A line in a loop is a place so many times."""
_UNDISTURBED: Final = 2
"""So many times at first nobody is stopped, which tells how long an action takes; the very first fills caches too."""
_LONGEST: Final = 1.0
"""Seconds after which whoever is stopped goes on in any case."""
_ALONE: Final = "one after the other"


class _Patience(NamedTuple):
    """How many seconds whoever is stopped waits for the other one."""

    still: float
    """Without a step: then the other one is taken to wait for a lock."""
    in_all: float
    """With steps: then it is taken to ask for a lock again and again."""

    @classmethod
    def for_action(cls, seconds: float) -> _Patience:
        """What is enough for an action that takes *seconds* when nobody is in its way."""
        return cls(min(max(2 * seconds, 0.005), _LONGEST), min(max(10 * seconds, 0.05), _LONGEST))


def overtaken(store: object, contest: Callable[[], Callable[[Any, int], T]]) -> Iterator[tuple[list[T], str]]:
    """What `action(store, 0)` and `action(store, 1)` returned, the first one overtaken one place later each time.

    *contest* makes the action of each time; what comes with the answers tells of the place. One whose store needs more
    than half a second for an action may be taken to wait for a lock, and is not found out then.
    """
    modules = {owner.__module__ for owner in type(store).__mro__} - {"builtins"}
    known: set[Place] = set()
    with ThreadPoolExecutor(2) as pool:
        fastest = _LONGEST
        for _ in range(_UNDISTURBED):
            action = contest()
            runs = [pool.submit(_timed, partial(action, store, worker)).result() for worker in range(2)]
            fastest = min(fastest, max(seconds for _, seconds in runs))
            yield [answer for answer, _ in runs], _ALONE
        patience = _Patience.for_action(fastest)
        while True:
            action, meeting = contest(), _Meeting(modules, known, patience)
            slow = pool.submit(meeting.stop_once, partial(action, store, 0))
            meeting.is_stopped.wait()
            quick = pool.submit(meeting.pass_by, partial(action, store, 1))
            yield [slow.result(), quick.result()], meeting.where
            if not meeting.was_stopped:
                return


class _Meeting:
    """One who stops at the first place that is not *known* yet, and one who passes by meanwhile."""

    def __init__(self, modules: set[str], known: set[Place], patience: _Patience) -> None:
        self.is_stopped = Event()
        self.was_stopped = False
        self.where = _ALONE
        self._patience = patience
        self._has_begun = Event()
        self._has_passed = Event()
        self._steps = 0
        self._modules = modules
        self._known = known
        self._visits: Counter[tuple[CodeType, int]] = Counter()

    def stop_once(self, action: Callable[[], T]) -> T:
        """Do *action*, and wait in it until the other one has passed, or can go no further."""
        try:
            return _traced(self._in_any_function, action)
        finally:
            self.is_stopped.set()

    def pass_by(self, action: Callable[[], T]) -> T:
        """Do *action* while the other one waits."""
        self._has_begun.set()
        try:
            return _traced(self._step, action)
        finally:
            self._has_passed.set()

    def _in_any_function(self, frame: FrameType, _event: str, _: object) -> Any:
        is_its_own = not self.was_stopped and frame.f_globals.get("__name__") in self._modules
        return self._in_store if is_its_own else None

    def _in_store(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and not self.was_stopped and self._is_new(frame.f_code, frame.f_lineno):
            self.was_stopped = True
            self.where = f"overtaken before line {frame.f_lineno} of {frame.f_code.co_filename}"
            self.is_stopped.set()
            self._wait()
        return self._in_store

    def _is_new(self, code: CodeType, line: int) -> bool:
        self._visits[code, line] += 1
        place = (code, line, self._visits[code, line])
        if place[-1] > _VISITS or place in self._known:
            return False
        self._known.add(place)
        return True

    def _wait(self) -> None:
        self._has_begun.wait()
        end, seen = _seconds() + self._patience.in_all, 0
        while (self._steps != seen or not self._steps) and _seconds() < end:
            seen = self._steps
            if self._has_passed.wait(self._patience.still):
                return

    def _step(self, *_: object) -> None:
        self._steps += 1


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    begin = _seconds()
    answer = _traced(lambda *_: None, action)
    return answer, _seconds() - begin


def _seconds() -> float:
    return SystemClock().elapsed().total_seconds()


def _traced(trace: Callable[..., Any], action: Callable[[], T]) -> T:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return action()
    finally:
        sys.settrace(before)
