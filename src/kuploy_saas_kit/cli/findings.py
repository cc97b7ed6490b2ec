"""What a look at something found: whether it is well, and how to mend it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from kuploy_saas_kit.errors import KitError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and will not always."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, what was seen, and what to do unless it is well."""

    level: Level
    subject: str
    seen: str
    mend: str = ""

    def __str__(self) -> str:
        what_to_do = f"\n      {self.mend}" if self.mend else ""
        return f"{self.level:<4}  {self.subject}: {self.seen}{what_to_do}"


def ok(subject: str, seen: str) -> Finding:
    """It is well."""
    return Finding(Level.OK, subject, seen)


def warn(subject: str, seen: str, mend: str) -> Finding:
    """It works, and will not always."""
    return Finding(Level.WARN, subject, seen, mend)


def fail(subject: str, seen: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, subject, seen, mend)


def looked_at(subject: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What *look* finds; an error of the kit is a finding too, and its message says how to mend it."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except KitError as error:
        found.append(Finding(Level.FAIL, subject, str(error)))
    return found


def lines_of(findings: Iterable[Finding]) -> list[str]:
    """The findings for people, and how many there are of each level."""
    listed = list(findings)
    counts = [f"{sum(one.level is level for one in listed)} {level}" for level in Level]
    return [*(line for one in listed for line in str(one).splitlines()), "", ", ".join(counts)]


def documents_of(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """The findings for machines."""
    return [{"level": one.level, "subject": one.subject, "seen": one.seen, "mend": one.mend} for one in findings]


def exit_status(findings: Iterable[Finding]) -> int:
    """1 if something failed."""
    return int(any(one.level is Level.FAIL for one in findings))
