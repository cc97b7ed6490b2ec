"""An async store behind a sync face, so that one suite holds for both worlds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from functools import partial
from typing import Any, Self

from kuploy_saas_kit.testing.conformance.crew import PATIENCE


class _Stepped:
    """A coroutine that tells whenever it waits for something."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        go_on: Callable[[], Any] = partial(next, inner)
        while True:
            try:
                awaited = go_on()
            except StopIteration as end:
                return end.value
            self._step()
            go_on = partial(next, inner)
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - it is handed on, a cancellation too
                go_on = partial(inner.throw, error)


class FromThreads:
    """Every coroutine function of the async store that *make* returns, as a method that waits for its answer.

    A context manager. All calls run in one event loop in a thread of its own, those of several threads at the same
    time; *make* is called there too. *step* is called in that thread whenever a verb waits for something. A verb that
    has not answered within *patience* is taken to hang.
    """

    def __init__(self, make: Callable[[], Any], *, patience: timedelta = PATIENCE) -> None:
        self.step: Callable[[], object] | None = None
        self._make = make
        self._patience = patience.total_seconds()
        self._hangs = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._store: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._store = self._wait(self._made(), "making the store")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store in its event loop, and end that; a loop that hangs is left to the end of the process."""
        if self._hangs:
            return
        if hasattr(self._store, "close"):
            self._wait(self._store.close(), "close")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._wait(verb(*args, **kwargs), name)

        return call

    async def _made(self) -> Any:
        return self._make()

    def _wait(self, coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
        if self.step is not None:
            coroutine = _awaited(_Stepped(coroutine, self.step))
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result(self._patience)
        except TimeoutError:
            if answer.done():
                raise  # it is the store's own
            self._hangs = True
            raise AssertionError(
                f"{name} did not answer within {self._patience:.0f} s: does the store block its event loop, or has a "
                "verb that failed or was cancelled kept a lock, a transaction or a connection?"
            ) from None


async def _awaited(stepped: _Stepped) -> Any:
    return await stepped
