"""Objects that are told when they wake up in the child of a fork: their locks and threads stayed in the parent."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Mended(Protocol):
    """Something that a fork breaks and that can mend itself."""

    def after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


def mend_after_fork(thing: Mended) -> None:
    """Call `thing.after_fork()` in every child, as long as *thing* lives."""
    _THINGS.add(thing)


_THINGS: Final[weakref.WeakSet[Mended]] = weakref.WeakSet()


def _mend_all() -> None:
    for thing in list(_THINGS):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mend_all)
