"""Crashes in the middle of a verb: killed processes and failing statements leave everything as before or as after.

`CrashTests` kills processes at any instant where `reopen` is given, and where `stepping` is given too stops each verb
before each of its statements, once with an exception and once with the process.
"""
# ruff: noqa: S101 - asserting that nothing is half done is what these methods are for

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from random import Random
from threading import Event
from typing import Any, ClassVar, Final, TypeVar

import pytest

from kuploy_saas_kit.testing.conformance.base import StoreTests
from kuploy_saas_kit.testing.conformance.crew import Opener, Worker, WorkerFailedError, opened, telling
from kuploy_saas_kit.testing.conformance.threads import FromThreads

T = TypeVar("T")

Stepping = Callable[[Callable[[], object]], Any]
"""Opens a storage once more; the store calls the argument before each statement that it sends, a commit included.

It is called in other processes too, so it can be pickled: a function of a module, or a `partial` of one.
"""

_DIED: Final = 86
_UNTOLD: Final = "the store that `stepping` opened told of no statement of this verb"
_MOST_STEPS: Final = 500
_INSTANT: Final = 0.004  # seconds within which a process is killed after what it told last
_LOOKS: Final = 20
_PAUSE: Final = 0.15  # three seconds in all, for a server that has much to do


def _nothing(_store: Any, _number: int) -> None:
    """Nothing has to be there."""


@dataclass(frozen=True, slots=True)
class Deed:
    """A verb on things of its own *number*, and what is seen of it; each is a function of the store and that number.

    What *view* returns depends on no number: the same before the verb whatever the number, and the same after it.
    *repeatable*: to do it again is to have done it once.
    """

    do: Callable[[Any, int], object]
    view: Callable[[Any, int], object]
    prepare: Callable[[Any, int], object] = _nothing
    repeatable: bool = True

    def __str__(self) -> str:
        """What it is called in messages: the name of its function."""
        return getattr(self.do, "__name__", repr(self.do)).strip("_").replace("_", " ")


class Interrupted(Exception):  # noqa: N818 - no error of the store: the test stops it here
    """Raised before the statement that was to fail."""


class Steps:
    """Counts what a store sends, and stops it before the one that was asked for."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._left: int | None = None
        self.counted = 0

    def __call__(self) -> None:
        if self._left is None:
            return
        self.counted += 1
        self._left -= 1
        if self._left == 0:
            self._left = None
            self._stop()

    def arm(self, at: int) -> None:
        """Stop before step *at* from now; 1 is the next one."""
        self._left = at

    def disarm(self) -> bool:
        """Stop no more; whether it was stopped."""
        was_stopped, self._left = self._left is None, None
        return was_stopped


class CrashTests(StoreTests):
    """What holds for the *deeds* of a port wherever they are stopped.

    So many *kills* of processes at any instant, times the option `--kuploy-rounds`. Processes die before the last step
    of each verb, which is the commit as a rule, and before every one with that option above 1.
    """

    deeds: ClassVar[Sequence[Deed]] = ()
    kills: ClassVar[int] = 3

    @pytest.fixture
    def stepping(self) -> Stepping:
        """Opens the storage of `store` once more, in a store that tells before each statement; see `Stepping`."""
        pytest.skip("no steps: override the fixture `stepping` where each statement of the store can be stopped")

    def _judged(self) -> Sequence[Deed]:
        if not self.deeds:
            pytest.skip("no deeds: the class of this port has no verb that is judged where it is stopped")
        return self.deeds

    def test_killed_at_any_instant(self, store: Any, reopen: Opener, rounds: int) -> None:
        """A killed process leaves what it was doing as before or as after, and what it had done is there.

        A store that looked before sees it too.
        """
        deeds = self._judged()
        outcomes = [_rehearsed(store, deed, number) for number, deed in enumerate(deeds)]
        dice, number = Random(86), len(deeds)  # noqa: S311 - when to kill is no secret
        for _ in range(self.kills * rounds):
            first, _ = number, _of(deeds, number).view(store, number)
            told = _killed(Worker(_live, reopen, deeds, first), dice, len(deeds))
            with opened(reopen) as again:
                for done in told[-2:-1]:
                    deed, (_, after) = _of(deeds, done), _of(outcomes, done)
                    assert deed.view(again, done) == after, (
                        f"{deed!s} was done before the process was killed, and is lost"
                    )
                number = told[-1]
                if number > first:
                    deed, (_, after) = _of(deeds, first), _of(outcomes, first)
                    assert deed.view(store, first) == after, (
                        f"{deed!s} was done by another process, and is not seen by one that had looked before"
                    )
                deed = _of(deeds, number)
                _check(again, deed, number, _of(outcomes, number), f"{deed!s}: the process was killed in it")
            number += 1

    def test_failing_at_each_step(self, store: Any, stepping: Stepping) -> None:
        """Whichever statement of a verb fails, all is as before or as after, and the store can be used again."""
        steps = Steps(_fail)
        with opened(partial(stepping, steps)) as fragile:
            for deed, told in _stopped_at_each_step(
                self._judged(), store, fragile, steps, "statement {} failed", looks=0
            ):
                assert told, f"{deed!s}: {_UNTOLD}"

    def test_what_cannot_be_read_is_raised(self, store: Any, stepping: Stepping) -> None:
        """Whichever statement of a read fails, nobody is told that there is nothing."""
        steps = Steps(_fail)
        with opened(partial(stepping, steps)) as fragile:
            for number, deed in enumerate(self._judged()):
                _, after = _rehearsed(store, deed, number)
                for at in _each_step():
                    steps.arm(at)
                    seen = _seen(deed, fragile, number)
                    if not steps.disarm():
                        break
                    what = f"what is seen of {deed!s}: statement {at} of the reads failed, and nothing was raised"
                    assert seen in (None, after), what

    def test_dying_at_a_step(self, store: Any, stepping: Stepping, rounds: int) -> None:
        """Before whichever statement of a verb the process dies, all is as before or as after."""
        numbers = count()
        for deed in self._judged():
            outcomes = _rehearsed(store, deed, next(numbers))
            last = _steps_of(deed, store, stepping, next(numbers))
            assert last, _UNTOLD
            for at in range(1 if rounds > 1 else last, last + 1):
                number = next(numbers)
                deed.prepare(store, number)
                _die_of(Worker(_die, stepping, deed, number, at))
                _check(store, deed, number, outcomes, f"{deed!s}: the process died before statement {at} of {last}")


class CancelledTests(CrashTests):
    """What holds for an async store whose caller goes away; beside a port's class, which has the deeds.

    class TestUsage(CancelledTests, UsageStoreTests):
    """

    def test_cancelled_at_each_wait(self, store: FromThreads) -> None:
        """Wherever a verb waits when it is cancelled, all is as before or as after, and others need not wait for it."""
        steps = Steps(_cancel)
        store.step = steps
        what = "cancelled where it waits for the {}. time"
        for deed, told in _stopped_at_each_step(self._judged(), store, store, steps, what):
            assert told, f"{deed!s} never waits: nobody else is served meanwhile"

    def test_a_look_waits(self, store: FromThreads) -> None:
        """While a verb that reads is answered, others are."""
        steps = Steps(_cancel)
        store.step = steps
        for number, deed in enumerate(self._judged()):
            told_before = steps.counted
            steps.arm(_MOST_STEPS)
            deed.view(store, number)
            steps.disarm()
            assert steps.counted > told_before, (
                f"what is seen of {deed!s} is read without a wait: nobody else is served"
            )


def _stopped_at_each_step(
    deeds: Sequence[Deed], store: Any, stopped: Any, steps: Steps, what: str, *, looks: int = _LOOKS
) -> Iterator[tuple[Deed, int]]:
    """Have *stopped* do each deed as often as it has steps, stopped before another one each time, and check that.

    Yields each deed with the number of steps that were told. *what* happened is said where all is not as it has to be.
    """
    numbers = count()
    for deed in deeds:
        outcomes, told_before = _rehearsed(store, deed, next(numbers)), steps.counted
        for number, at in zip(numbers, _each_step(), strict=False):
            deed.prepare(store, number)
            steps.arm(at)
            has_failed = _fails(partial(deed.do, stopped, number))
            if not steps.disarm():
                break
            allowed = outcomes if has_failed else outcomes[1:]
            _check(stopped, deed, number, allowed, f"{deed!s}: {what.format(at)}", looks=looks)
        yield deed, steps.counted - told_before


def _rehearsed(store: Any, deed: Deed, number: int) -> tuple[object, object]:
    """What is seen before and after the deed where nothing goes wrong."""
    deed.prepare(store, number)
    before = deed.view(store, number)
    deed.do(store, number)
    after = deed.view(store, number)
    assert before != after, "a deed of which nothing is seen"
    return before, after


def _check(store: Any, deed: Deed, number: int, allowed: Sequence[object], what: str, *, looks: int = _LOOKS) -> None:
    """One of the *allowed* is seen, if need be once the server has noticed; and the deed can be done again.

    *what* happened to it is said where not.
    """
    with _after(what):
        seen = deed.view(store, number)
    for _ in range(looks):
        if seen in allowed:
            break
        Event().wait(_PAUSE)
        seen = deed.view(store, number)
    assert seen in allowed, f"{what}: {seen} is seen, and not {' or '.join(map(str, allowed))}"
    if deed.repeatable:
        with _after(what):
            deed.do(store, number)
            again = deed.view(store, number)
        assert again == allowed[-1], f"{what}, and {seen} was seen; done again, {again} is seen and not {allowed[-1]}"


@contextmanager
def _after(what: str) -> Iterator[None]:
    """*what* happened before is said of what is raised here: a lock that is still held then, for one."""
    try:
        yield
    except Exception as error:
        error.add_note(f"before this: {what}")
        raise


def _each_step() -> Iterator[int]:
    yield from range(1, _MOST_STEPS)
    raise AssertionError(f"a verb of more than {_MOST_STEPS} statements")


def _cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def _fail() -> None:
    raise Interrupted("this statement fails")


def _seen(deed: Deed, store: Any, number: int) -> object | None:
    """What is seen; None where it cannot be read."""
    try:
        return deed.view(store, number)
    except Exception:  # noqa: BLE001 - stores may wrap what they cannot send in what they like
        return None


def _fails(action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception:  # noqa: BLE001 - stores may wrap what they cannot send in what they like
        return True
    return False


def _live(pipe: Connection, reopen: Opener, deeds: Sequence[Deed], first: int) -> None:
    """Do one deed after another, and tell of each that it begins."""
    with telling(pipe), opened(reopen) as store:
        for number in count(first):
            deed = _of(deeds, number)
            deed.prepare(store, number)
            pipe.send((number, None))
            deed.do(store, number)


def _of(things: Sequence[T], number: int) -> T:
    """The deed, or its outcomes, that is done with this number: one after the other, again and again."""
    return things[number % len(things)]


def _killed(worker: Worker, dice: Random, deeds: int) -> list[int]:
    """What the process told before it was killed; the last may be half done, the others are done."""
    told = [worker.answer() for _ in range(dice.randint(1, 3 * deeds))]
    Event().wait(_INSTANT * dice.random())
    worker.process.kill()
    told.extend(worker.left())
    worker.end()
    return told


def _die(pipe: Connection, stepping: Stepping, deed: Deed, number: int, at: int) -> None:
    """Do the deed and end in the middle of it, as the kernel ends a process: nothing is cleaned up."""
    with telling(pipe):
        steps = Steps(partial(os._exit, _DIED))
        with opened(partial(stepping, steps)) as store:
            steps.arm(at)
            deed.do(store, number)
            steps.disarm()
        pipe.send((None, None))


def _die_of(worker: Worker) -> None:
    try:
        worker.answer()
    except WorkerFailedError:
        if worker.process.exitcode != _DIED:
            raise
    finally:
        worker.end()


def _steps_of(deed: Deed, store: Any, stepping: Stepping, number: int) -> int:
    """How many statements the deed sends."""
    deed.prepare(store, number)
    steps = Steps(_fail)
    with opened(partial(stepping, steps)) as counting:
        steps.arm(_MOST_STEPS)
        deed.do(counting, number)
    return steps.counted
