"""Whether a file's disk outlasts the container, as far as Linux tells. Pure.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/self/mountinfo")
"""Where Linux tells what is mounted; other systems have no such file, and nothing is said there."""

_EPHEMERAL: Final = {
    "tmpfs": "a disk in memory",
    "ramfs": "a disk in memory",
    "overlay": "the container's own layer",
    "aufs": "the container's own layer",
}


def ephemeral_kind(file: Path, mounts: str) -> str | None:
    """What kind of passing disk *file* is on, None for one that lasts. *mounts* is the text of `MOUNTS`."""
    best: tuple[int, str] = (-1, "")
    place = file.resolve()
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not separator or len(fields) < 5:
            continue
        mounted = Path(_unescaped(fields[4]))
        if place.is_relative_to(mounted) and len(mounted.parts) >= best[0]:
            best = (len(mounted.parts), kinds[0])  # of two mounts at one place the later hides the earlier
    return _EPHEMERAL.get(best[1])


def _unescaped(text: str) -> str:
    for escaped, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(escaped, char)
    return text
