"""Host callbacks, kept apart from the client: what they raise or how long they take is their own affair."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from kuploy_saas_kit.license.snapshot import LicenseSnapshot

_LOG: Final = logging.getLogger("kuploy_saas_kit.license")
_WAITING: Final = 64

Listener: TypeAlias = Callable[[LicenseSnapshot], None]
_Queue: TypeAlias = "queue.Queue[LicenseSnapshot | None]"


class Listeners:
    """Calls listeners when status, rights or catalog differ from those of the last call.

    From the background they are called in a daemon thread of their own, so that one that blocks delays no sync.
    """

    def __init__(self, first: LicenseSnapshot) -> None:
        self._callbacks: list[Listener] = []
        self._told = _essence(first)
        # The bound is kept by `_hand_over`, so that there is always room for the word that ends the thread.
        self._waiting: _Queue = queue.Queue()
        self._thread: threading.Thread | None = None

    def add(self, callback: Listener) -> None:
        """Call *callback* with the new snapshot from now on."""
        self._callbacks.append(callback)

    def tell(self, snapshot: LicenseSnapshot, *, in_background: bool) -> None:
        """Call the listeners if *snapshot* differs from what they were told."""
        essence = _essence(snapshot)
        if essence == self._told:
            return
        self._told = essence
        if not self._callbacks:
            return
        if in_background:
            self._hand_over(snapshot)
        else:
            self._call(snapshot)

    def stop(self) -> None:
        """Let the thread end once it has told what waits."""
        thread, self._thread = self._thread, None
        if thread is not None:
            waiting, self._waiting = self._waiting, queue.Queue()
            waiting.put_nowait(None)

    def after_fork(self) -> None:
        """The thread stayed in the parent."""
        self._waiting = queue.Queue()
        self._thread = None

    def _hand_over(self, snapshot: LicenseSnapshot) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(self._waiting,), name="kuploy-license-listeners", daemon=True
            )
            self._thread.start()
        if self._waiting.qsize() < _WAITING:
            self._waiting.put_nowait(snapshot)
        else:
            _LOG.warning("a license listener blocks: a change was not told")

    def _run(self, waiting: _Queue) -> None:
        while (snapshot := waiting.get()) is not None:
            self._call(snapshot)

    def _call(self, snapshot: LicenseSnapshot) -> None:
        for callback in tuple(self._callbacks):
            call_isolated(callback, snapshot)


def call_isolated(callback: Listener, snapshot: LicenseSnapshot) -> None:
    """Call *callback*; what it raises is logged and goes no further."""
    try:
        callback(snapshot)
    except Exception:  # noqa: BLE001 - the host's code
        _LOG.exception("a license listener failed")


def _essence(snapshot: LicenseSnapshot) -> tuple[object, ...]:
    return snapshot.status, snapshot.grant, snapshot.catalog
