"""Workers that do the same to a store at the same moment: threads of this process, or processes of their own."""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from random import Random
from threading import Barrier, Event
from types import FrameType
from typing import Any, Final, Protocol, Self, TypeVar

T = TypeVar("T")

WORKERS: Final = 8
PROCESSES: Final = 4
PATIENCE: Final = timedelta(minutes=1)
"""How long a process may take to answer before it is taken to hang."""

Opener = Callable[[], Any]
"""Opens a storage once more. It can be pickled: a function or class of a module, or a `partial` of one."""

_STUMBLE: Final = 0.1
_ALWAYS: Final = 1.0
_PAUSE: Final = 1e-4  # seconds, between threads; processes begin further apart
_LONG_PAUSE: Final = 2e-3
_DRIVERS: Final = ("aiosqlite", "psycopg", "sqlalchemy.dialects.postgresql.psycopg")  # SQLAlchemy loads them when used
_CLOSING: Final = 5.0


class WorkerFailedError(AssertionError):
    """A process of the crew raised, died or hung; the message has its traceback."""


class Crew(Protocol):
    """Some workers. In processes an action must be a function of a module, or a `partial` of one."""

    workers: int

    def race(self, action: Callable[[Any, int], T]) -> list[T]:
        """Call `action(store, worker)` in every worker at the same moment; what each returned."""


class ThreadCrew:
    """Threads that share one store."""

    def __init__(self, store: object, *, workers: int = WORKERS) -> None:
        self.workers = workers
        self._store = store
        self._how = _ways(_PAUSE)

    def race(self, action: Callable[[Any, int], T]) -> list[T]:
        """Call *action* in every thread at the same moment."""
        return race(partial(next(self._how), action, self._store), workers=self.workers)


class ProcessCrew:
    """Processes that each open the storage for themselves. A context manager: they end with it.

    One that does not answer within *patience* is taken to hang.
    """

    def __init__(self, reopen: Opener, *, workers: int = PROCESSES, patience: timedelta = PATIENCE) -> None:
        self.workers = workers
        self._reopen = reopen
        self._patience = patience
        self._how = _ways(_LONG_PAUSE)
        self._running: list[Worker] = []

    def __enter__(self) -> Self:
        try:
            for number in range(self.workers):
                self._running.append(Worker(_work, self._reopen, number))
            self._answers()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self._running:
            if kind is not None:
                worker.process.kill()
            worker.end()

    def race(self, action: Callable[[Any, int], T]) -> list[T]:
        """Call *action* in every process at the same moment: all have read it before the first may begin."""
        self._tell(partial(next(self._how), action))
        self._answers()
        self._tell(None)
        return self._answers()

    def _tell(self, what: object) -> None:
        for worker in self._running:
            worker.pipe.send(what)

    def _answers(self) -> list[Any]:
        return [worker.answer(self._patience) for worker in self._running]


class Worker:
    """A process that runs *target* with a pipe, and with *arguments* that can be pickled."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        _check_can_be_sent(arguments[0])
        context = process_context(arguments[0])
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *arguments), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()

    def answer(self, patience: timedelta = PATIENCE) -> Any:
        """What the process tells next; `WorkerFailedError` if it raised, died or said nothing for so long."""
        seconds = patience.total_seconds()
        if not self.pipe.poll(seconds):
            raise WorkerFailedError(f"a process said nothing for {seconds:.0f} s: does the store wait for itself?")
        try:
            answer, trouble = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerFailedError(f"a process died, exit code {self.process.exitcode}") from None
        if trouble is not None:
            raise WorkerFailedError(f"in another process:\n{trouble}")
        return answer

    def left(self) -> Iterator[Any]:
        """What the process, which is dead, had told before."""
        while True:
            try:
                yield self.answer()
            except WorkerFailedError:
                if self.process.exitcode is None or self.process.exitcode > 0:
                    raise
                return

    def end(self) -> None:
        """Stop the process, which closes its store if it is idle."""
        self.pipe.close()
        self.process.join(_CLOSING)
        self.process.kill()
        self.process.join()
        self.process.close()


def race(action: Callable[[int], T], *, workers: int = WORKERS) -> list[T]:
    """Do *action* in *workers* threads at the same moment and return what each got."""
    barrier = Barrier(workers)

    def start(worker: int) -> T:
        barrier.wait()
        return action(worker)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(start, range(workers)))


@contextmanager
def opened(reopen: Opener) -> Iterator[Any]:
    """The store that *reopen* opens; at the end it is closed, if it can be."""
    store = reopen()
    if hasattr(store, "__exit__"):
        manager: Any = store
    else:
        manager = closing(store) if hasattr(store, "close") else nullcontext(store)
    with manager as ready:
        yield ready


def process_context(opener: Callable[..., Any]) -> BaseContext:
    """Where processes come from that share nothing with this one: forks of a clean process where there are forks.

    That process imports what they need once; each of them starts in some milliseconds then.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    ours = [name for name in sys.modules if name.startswith(("kuploy_saas_kit.adapters", "kuploy_saas_kit.testing"))]
    context.set_forkserver_preload([*ours, *_modules_of(opener), *(_DRIVERS if "sqlalchemy" in sys.modules else ())])
    return context


def _check_can_be_sent(opener: Callable[..., Any]) -> None:
    try:
        ForkingPickler.dumps(opener)
    except Exception as error:
        raise TypeError(
            f"{opener!r} cannot be sent to another process: let the fixtures `reopen` and `stepping` return a function "
            "or a class of a module that can be imported, or a functools.partial of one"
        ) from error


def _modules_of(opener: Callable[..., Any]) -> list[str]:
    function = opener
    while isinstance(function, partial):
        function = function.func
    owner = getattr(function, "__self__", function)
    return [name for name in {getattr(owner, "__module__", None)} if name is not None]


def _work(pipe: Connection, reopen: Opener, number: int) -> None:
    """Open the store, and then do what is told, each time at the signal."""
    with telling(pipe), opened(reopen) as store:
        pipe.send((None, None))
        while True:
            try:
                action = pipe.recv()
            except EOFError:
                return
            pipe.send((None, None))
            pipe.recv()
            pipe.send((action(store, number), None))


@contextmanager
def telling(pipe: Connection) -> Iterator[None]:
    """Tell whoever listens at *pipe* what goes wrong here, in place of printing it."""
    try:
        yield
    except Exception:  # noqa: BLE001 - it is raised where the process was started from
        pipe.send((None, traceback.format_exc()))


def stumbling(action: Callable[[Any, int], T], store: Any, worker: int) -> T:
    """Do *action* and pause at each line of the store's own code, for races that cannot be run again."""
    return _stumbling(_LONG_PAUSE, action, store, worker, often=_ALWAYS)


def _stumbling(pause: float, action: Callable[[Any, int], T], store: Any, worker: int, *, often: float = _STUMBLE) -> T:
    """Do *action* and pause between lines of the store's own code now and then, as on a machine that has more to do.

    Whoever reads, decides and then writes is overtaken in between by others, which would be rare without.
    """
    modules = {owner.__module__ for owner in type(store).__mro__} - {"builtins"}
    dice = Random(worker)  # noqa: S311 - when to pause is no secret

    def in_store(_frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and dice.random() < often:
            Event().wait(pause)
        return in_store

    def anywhere(frame: FrameType, _event: str, _: object) -> Any:
        return in_store if frame.f_globals.get("__name__") in modules else None

    before = sys.gettrace()
    sys.settrace(anywhere)
    try:
        return action(store, worker)
    finally:
        sys.settrace(before)


def _ways(pause: float) -> Iterator[Callable[..., Any]]:
    """How races are run: in turn with pauses and without, which some mistakes need."""
    return cycle((partial(_stumbling, pause), _running))


def _running(action: Callable[[Any, int], T], store: Any, worker: int) -> T:
    """Do *action* as fast as it goes."""
    return action(store, worker)
