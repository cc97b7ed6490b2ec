"""Runs several workers in an interleaving that the test chooses: one step of one worker at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

Pause: TypeAlias = Callable[[], None]
Worker: TypeAlias = Callable[[Pause], None]

_PATIENCE = 30
_here = threading.local()


@dataclass(frozen=True)
class Step:
    """One step of the worker *lane*, chosen from those that were left, and whether it changed what others see."""

    lane: int
    alive: tuple[int, ...]
    has_written: bool


def wrote() -> None:
    """Say that the step that runs in this thread changes something that the other workers see."""
    lane = getattr(_here, "lane", None)
    if lane is not None:
        lane.has_written = True


class _Lane:
    def __init__(self, worker: Worker) -> None:
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._worker = worker
        self.error: BaseException | None = None
        self.is_done = False
        self.has_written = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await_parked()

    def step(self) -> None:
        """Let the worker go on to its next pause, or to its end."""
        self.has_written = False
        self._go.release()
        self._await_parked()

    def _run(self) -> None:
        _here.lane = self
        try:
            self._pause()
            self._worker(self._pause)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            self.error = error
        self.is_done = True
        self._parked.release()

    def _pause(self) -> None:
        self._parked.release()
        assert self._go.acquire(timeout=_PATIENCE)

    def _await_parked(self) -> None:
        assert self._parked.acquire(timeout=_PATIENCE)


def interleave(workers: Iterable[Worker], picks: Iterable[int]) -> list[Step]:
    """Run *workers*; each pick says whose step is next (modulo those that are left). Returns the steps.

    When the picks are used up, the first that is left goes on. What a worker raises is raised here.
    """
    lanes = [_Lane(worker) for worker in workers]
    source = iter(picks)
    steps = []
    while alive := tuple(number for number, lane in enumerate(lanes) if not lane.is_done):
        number = alive[next(source, 0) % len(alive)]
        lanes[number].step()
        steps.append(Step(number, alive, lanes[number].has_written))
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
    return steps


def all_interleavings(run: Callable[[list[int]], Sequence[Step]], *, reads_commute: bool = False) -> int:
    """Call *run* with the picks of every interleaving (depth first); how many there were.

    With *reads_commute* those that differ only in the order of neighbouring steps that wrote nothing are one: nobody
    can tell them apart. Of each such class the one that comes first in the alphabet of lanes is run to its end.
    """
    picks: list[int] = []
    count = 0
    while True:
        steps = run(picks)
        known = _seen_before(steps) if reads_commute else None
        count += known is None
        path = [step.alive.index(step.lane) for step in steps[:known]]
        while path and path[-1] + 1 >= len(steps[len(path) - 1].alive):
            path.pop()
        if not path:
            return count
        path[-1] += 1
        picks = path


def _seen_before(steps: Sequence[Step]) -> int | None:
    """How long the beginning is that an earlier interleaving had in another order, or None."""
    for length, (one, other) in enumerate(pairwise(steps), 2):
        if one.lane > other.lane and not (one.has_written or other.has_written):
            return length
    return None
