"""What a reader of the change feed has seen, and what an answer of the feed means to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from kuploy_saas_kit.plans.ports import Changes, Everyone

KEPT_CHANGES: Final = 10_000
"""So many changes are kept; a reader that is further behind looks at everyone."""

LOOK_AT_ALL: Final = timedelta(minutes=10)
"""So often every reader looks at everyone: a change that was never announced, because its writer or Redis died between
the commit and the announcement, is late and not lost."""

_MICROSECOND: Final = timedelta(microseconds=1)
_DIGITS: Final = 16


class Seen(NamedTuple):
    """How far a reader has come: in which life of the feed, in which run of the server, when it last looked at all."""

    epoch: str
    run: str
    looked: int
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.run}.{self.looked}.{self.position}"


def seen_at(cursor: str | None) -> Seen | None:
    """What *cursor* says; None where the feed never gave it."""
    parts = (cursor or "").split(".")
    if len(parts) != len(Seen._fields) or not all(part.isdecimal() and len(part) <= _DIGITS for part in parts[2:]):
        return None
    return Seen(parts[0], parts[1], int(parts[2]), int(parts[3]))


def news(seen: Seen | None, answer: Sequence[Any]) -> Changes:
    """What changed since *seen*, by the answer of the script `CHANGES`."""
    epoch, run, end, now, entries = answer
    here = Seen(epoch, run, int(now), int(end))
    if seen is None or not _follows(seen, here) or len(entries) < here.position - seen.position or "" in entries:
        return Changes(str(here), Everyone.ALL)
    return Changes(str(here._replace(looked=seen.looked)), frozenset(entries))


def _follows(seen: Seen, here: Seen) -> bool:
    """Whether nothing can have been lost in between, and it is not yet time to look at all."""
    age = (here.looked - seen.looked) * _MICROSECOND
    same = (seen.epoch, seen.run) == (here.epoch, here.run)
    return same and seen.position <= here.position and timedelta() <= age < LOOK_AT_ALL
