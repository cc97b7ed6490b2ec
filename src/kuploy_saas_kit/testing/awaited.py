"""A sync object behind an async face, so that one scenario drives both worlds."""

from __future__ import annotations

from typing import Any


class Awaited:
    """Every method of *target* as a coroutine function: a sync store as an async port, for tests and small hosts.

    The call itself runs in the event loop; use it only over stores that answer from memory.
    """

    def __init__(self, target: object) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call
