"""How commands speak: lines for people, one JSON document for machines, questions that want a yes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from kuploy_saas_kit.errors import ConfigurationError

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def say(*lines: str) -> None:
    """Print *lines*."""
    for line in lines:
        print(printable(line), flush=True)


def complain(line: str) -> None:
    """Print one line, whatever it holds, where errors go."""
    print(f"kuploy-saas-kit: {printable(' '.join(line.split()))}", file=sys.stderr)


def say_json(document: object) -> None:
    """Print *document* as JSON."""
    print(json.dumps(document, indent=2, default=str))


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the operator agrees, by *yes* or by answering; nobody to answer is a `ConfigurationError`."""
    if yes:
        return True
    print(printable(question), end=" [y/N] ", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise ConfigurationError("there is nobody to answer: pass --yes to go ahead without being asked")
    return answer.strip().lower() in {"y", "yes"}


def printable(line: str) -> str:
    """*line* without what would steer the terminal: names come from the hub, from Stripe and from databases."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """*rows* in columns under their *headings*."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def pairs(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and what they are, one a line; nothing is said of what is empty."""
    told = [(name, what) for name, what in rows if what]
    width = max((len(name) for name, _ in told), default=0)
    return [f"{name.ljust(width)}  {what}" for name, what in told]


def instant(moment: datetime | None) -> str:
    """*moment* in UTC to the second, or nothing."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def iso(moment: datetime | None) -> str | None:
    """*moment* for machines."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def span(length: timedelta) -> str:
    """A length of time in the largest unit of which it has one, such as `41 s` or `3 d`."""
    seconds = int(length.total_seconds())
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            return f"{seconds // size if seconds >= 0 else -(-seconds // size)} {unit}"
    return f"{seconds} s"
