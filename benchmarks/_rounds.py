"""Figures that repeat on a shared machine: one process, interleaved rounds, and ratios taken inside one round.

A candidate is an expression over `o` (an org id) and `f` (a feature key). It is compiled into the timed loop, as
`timeit` does, so nobody pays for a wrapper. Garbage collection is off inside timed loops, which favours candidates
that allocate. Times are those of the thread, not of the wall, and net of the empty loop.
"""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any

Keys = Sequence[tuple[str, str]]
Loop = Callable[[Keys, range], int]

EMPTY = "empty loop"

_SOURCE = """
def make({names}):
    def loop(keys, repeats):
        start = thread_time_ns()
        for _ in repeats:
            for o, f in keys:
                {expression}
        return thread_time_ns() - start
    def one(o, f):
        return {expression}
    return loop, one
"""


@dataclass
class Candidate:
    """One way to answer: *expression* over `o`, `f` and the names in *scope*; *read* makes a bool of its value.

    *is_live*: its answer follows a change of plan or flag at once, without a new object.
    """

    name: str
    expression: str
    scope: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Any], bool] = bool
    is_live: bool = True
    close: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        names = {"thread_time_ns": thread_time_ns, **self.scope}
        made: dict[str, Any] = {}
        exec(_SOURCE.format(names=", ".join(names), expression=self.expression), made)  # noqa: S102 - our own text
        self.loop: Loop
        self.loop, self.one = made["make"](**names)


def verify(candidates: Sequence[Candidate], keys: Keys, truth: Callable[[str, str], bool]) -> None:
    """Stop the run unless every candidate gives the right answer on every key."""
    for candidate in candidates:
        for org_id, feature in keys:
            got, want = candidate.read(candidate.one(org_id, feature)), truth(org_id, feature)
            if got is not want:
                raise SystemExit(f"wrong answer: {candidate.name} says {got} for {org_id} and {feature}, not {want}")


class Timings:
    """Nanoseconds of one check, by candidate and round."""

    def __init__(self, by_name: Mapping[str, Sequence[float]]) -> None:
        self.by_name = by_name

    def best(self, name: str) -> float:
        """The least disturbed round."""
        return min(self.by_name[name])

    def ratio(self, name: str, to: str) -> float:
        """How many times as long as *to* a check takes: compared inside each round, the median of all."""
        return median(mine / its for mine, its in zip(self.by_name[name], self.by_name[to], strict=True))


def measure(candidates: Sequence[Candidate], keys: Keys, *, rounds: int, batch_ms: float) -> Timings:
    """Time all candidates in each round, in an order that changes from round to round."""
    empty = Candidate(EMPTY, "None")
    work = [(one, *_batch(one, keys, batch_ms)) for one in (empty, *candidates)]
    shuffle = random.Random(1).shuffle  # noqa: S311 - no secret
    raw: dict[str, list[float]] = {one.name: [] for one, *_ in work}
    with no_collection():
        for _ in range(rounds):
            shuffle(work)
            for one, part, repeats in work:
                raw[one.name].append(one.loop(part, repeats) / (len(part) * len(repeats)))
    idle = raw.pop(EMPTY)
    return Timings({name: _net(times, idle) for name, times in raw.items()})


def throughput(candidate: Candidate, keys: Keys, *, threads: int, repeats: int) -> float:
    """Checks a second of all *threads* together, which share the work of `repeats` passes over *keys*."""
    passes = range(max(1, repeats // threads))
    ready = threading.Barrier(threads)
    spans: list[tuple[int, int]] = []

    def work() -> None:
        ready.wait()
        start = perf_counter_ns()  # by the workers: whoever started them may wait long for its turn
        candidate.loop(keys, passes)
        spans.append((start, perf_counter_ns()))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = max(end for _, end in spans) - min(start for start, _ in spans)
    return threads * len(passes) * len(keys) / took * 1e9


def allocated(candidate: Candidate, keys: Keys) -> int:
    """The most bytes that one check had allocated at any instant, net of the loop."""
    idle = Candidate(EMPTY, "None")
    return max(_peak(candidate, key) - _peak(idle, key) for key in keys)


@contextmanager
def no_collection() -> Iterator[None]:
    """Garbage is collected before, and not within."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _batch(candidate: Candidate, keys: Keys, batch_ms: float) -> tuple[Keys, range]:
    """As many keys, or passes over all of them, as take about *batch_ms*."""
    sample = keys[:64]
    candidate.loop(sample, range(1))
    cost = max(1.0, candidate.loop(sample, range(1)) / len(sample))
    wanted = int(batch_ms * 1e6 / cost)
    return (keys[: max(8, wanted)], range(1)) if wanted < len(keys) else (keys, range(wanted // len(keys)))


def _net(times: Sequence[float], idle: Sequence[float]) -> list[float]:
    return [max(gross - loop, 0.1) for gross, loop in zip(times, idle, strict=True)]


def _peak(candidate: Candidate, key: tuple[str, str]) -> int:
    keys, once = [key], range(1)
    candidate.loop(keys, range(3))
    tracemalloc.start()
    try:
        candidate.loop(keys, once)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        candidate.loop(keys, once)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
