"""One daemon thread that calls a tick, and waits as long as the tick says. It survives forks."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license.forks import mend_after_fork

_LOG: Final = logging.getLogger(__name__)
_AFTER_A_CRASH: Final = timedelta(seconds=5)
_JOIN_SECONDS: Final = 12.0
_EXIT_SECONDS: Final = 0.2


class Refresher:
    """Runs *tick* in a daemon thread named *name*; what it returns is how long to wait until the next call.

    A tick that raises is logged and called again after five seconds. In the child of a fork the thread is gone;
    `revive` starts it again there, if it ran in the parent.
    """

    def __init__(self, tick: Callable[[], timedelta], *, name: str) -> None:
        self._tick = tick
        self._name = name
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.is_orphaned = False

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; nothing happens where it runs already."""
        with self._lock:
            self.is_orphaned = False
            if self.is_running:
                return
            self._stopping = False
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            _LIVE.add(self)
            mend_after_fork(self)
            self._thread.start()

    def halt(self) -> None:
        """Begin no further tick; `stop` then waits for the one on its way."""
        with self._lock:
            self._stopping = True
            self._wake.set()

    def stop(self, *, timeout: float = _JOIN_SECONDS) -> None:
        """Stop the thread and wait up to *timeout* seconds for a tick on its way."""
        with self._lock:
            self.is_orphaned = False
            thread, self._thread = self._thread, None
            self._stopping = True
            self._wake.set()
            _LIVE.discard(self)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def poke(self) -> None:
        """Tick now instead of later."""
        self._wake.set()

    def revive(self) -> None:
        """Start the thread again in the child of a fork, if it ran in the parent."""
        if self.is_orphaned:
            self.start()

    def _run(self) -> None:
        me = threading.current_thread()
        while not self._stopping and self._thread is me:
            wait = self._ticked()
            self._wake.wait(wait.total_seconds())
            if not self._stopping:
                self._wake.clear()

    def _ticked(self) -> timedelta:
        try:
            return max(timedelta(), self._tick())
        except StorageError as error:
            _LOG.warning("%s: %s; it is tried again in a while", self._name, error)
            return _AFTER_A_CRASH
        except Exception:  # noqa: BLE001 - a thread that dies would end all refreshing
            _LOG.exception("%s: a tick failed; it is tried again in a while", self._name)
            return _AFTER_A_CRASH

    def after_fork(self) -> None:
        """The thread stayed in the parent, and its locks may be held for ever."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.is_orphaned = self._thread is not None and not self._stopping
        self._thread = None


_LIVE: Final[weakref.WeakSet[Refresher]] = weakref.WeakSet()


def _stop_all() -> None:
    """At exit: no new ticks; one on its way gets a moment and is then left behind with its daemon thread."""
    for refresher in list(_LIVE):
        refresher.stop(timeout=_EXIT_SECONDS)


atexit.register(_stop_all)
