"""Runs several workers in an interleaving that the test chooses: one step of one worker at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

Pause: TypeAlias = Callable[[], None]
Worker: TypeAlias = Callable[[Pause], None]

_PATIENCE = 60


class _Lane:
    def __init__(self, worker: Worker) -> None:
        self._go = threading.Semaphore(0)
        self._parked = threading.Semaphore(0)
        self._worker = worker
        self.error: BaseException | None = None
        self.is_done = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._await_parked()

    def step(self) -> None:
        """Let the worker go on to its next pause, or to its end."""
        self._go.release()
        self._await_parked()

    def _run(self) -> None:
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


def interleave(workers: Iterable[Worker], picks: Iterable[int]) -> None:
    """Run *workers*; each pick says whose step is next (modulo those that are left).

    When the picks are used up, the first that is left goes on. What a worker raises is raised here.
    """
    lanes = [_Lane(worker) for worker in workers]
    source = iter(picks)
    while alive := [lane for lane in lanes if not lane.is_done]:
        alive[next(source, 0) % len(alive)].step()
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
