"""Who races in the conformance classes: what a process that fails tells, and that none is left behind."""

import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from kuploy_saas_kit.adapters import FileLicenseStore
from kuploy_saas_kit.testing.conformance.crew import ProcessCrew, ThreadCrew, Worker, WorkerFailedError


def process_of(_store: Any, _worker: int) -> int:
    """The process that it is called in."""
    return os.getpid()


def give_up(_store: Any, worker: int) -> int:
    """One of the workers raises."""
    if worker == 1:
        raise ValueError("no more")
    return worker


def die(_store: Any, _worker: int) -> None:
    """End the process without a word."""
    os._exit(7)


def hang(_store: Any, _worker: int) -> None:
    """Wait for what never comes."""
    Event().wait(60)


def open_once(path: Path) -> object:
    """The second one who comes is refused."""
    path.touch(exist_ok=False)
    return object()


def is_running(worker: Worker) -> bool:
    """Whether its process was not ended: of one that was nothing is known any more."""
    try:
        return bool(worker.process.is_alive())
    except ValueError:
        return False


def crew(tmp_path: Path, **options: Any) -> ProcessCrew:
    """Two processes with a store each."""
    return ProcessCrew(partial(FileLicenseStore, tmp_path / "license.json"), workers=2, **options)


def test_every_worker_is_a_process_of_its_own(tmp_path: Path) -> None:
    """They are others than this one, the same from race to race, and gone afterwards."""
    with crew(tmp_path) as racers:
        first, second = racers.race(process_of), racers.race(process_of)
    assert first == second
    assert len({*first, os.getpid()}) == 3
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_threads_share_the_store() -> None:
    """All of them are in this process."""
    assert ThreadCrew(object(), workers=3).race(process_of) == [os.getpid()] * 3


def test_what_a_worker_raises_is_shown(tmp_path: Path) -> None:
    """The failure of the test has the traceback of the other process."""
    with (
        pytest.raises(WorkerFailedError, match=r"(?s)in another process.*give_up.*ValueError: no more"),
        crew(tmp_path) as it,
    ):
        it.race(give_up)


def test_a_worker_that_dies(tmp_path: Path) -> None:
    """Its end is told, with the exit code."""
    with pytest.raises(WorkerFailedError, match="died, exit code 7"), crew(tmp_path) as it:
        it.race(die)


def test_a_worker_that_hangs(tmp_path: Path) -> None:
    """Nobody waits for ever for a store that waits for itself."""
    with pytest.raises(WorkerFailedError, match="said nothing"), crew(tmp_path, patience=timedelta(seconds=2)) as it:
        it.race(hang)


def test_a_worker_that_cannot_begin(tmp_path: Path) -> None:
    """None is left behind where the storage cannot be opened a second time."""
    it = ProcessCrew(partial(open_once, tmp_path / "opened"), workers=2)
    with pytest.raises(WorkerFailedError, match="FileExistsError"), it:
        pytest.fail("has begun")
    assert not [worker for worker in it._running if is_running(worker)]


def test_an_opener_that_cannot_be_sent() -> None:
    """A lambda is refused with what to write in its place."""
    with pytest.raises(TypeError, match=r"functools\.partial"), ProcessCrew(lambda: None):
        pass
