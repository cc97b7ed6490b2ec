"""What the demo tells: a line a step, a line a check, and whether all of them held."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must be true at this point of the story."""

    text: str
    held: bool


@dataclass(slots=True)
class StepReport:
    """One step of the story: what happened, and what was checked."""

    title: str
    notes: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every check held, of at least one."""
        return bool(self.checks) and all(check.held for check in self.checks)


class Reporter:
    """Collects the story and, unless it is to be one report, prints it as it goes."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._steps: list[StepReport] = []

    def begin(self, title: str) -> None:
        """Begin a step."""
        self._steps.append(StepReport(title))
        self._print(f"\n{len(self._steps)}. {title}")

    def note(self, text: object) -> None:
        """Tell something that happened; each line of *text* is one note."""
        for line in str(text).splitlines():
            self._steps[-1].notes.append(line)
            self._print(f"     {line}")

    def check(self, text: str, *, held: bool) -> None:
        """Tell whether something that must be true is."""
        self._steps[-1].checks.append(Check(text, held))
        self._print(f"   {'✓' if held else '✗'} {text}")

    def end(self) -> int:
        """Tell the result; the exit status."""
        checks = [check for step in self._steps for check in step.checks]
        failed = sum(not check.held for check in checks)
        ok = all(step.held for step in self._steps)
        if self._as_json:
            steps = [{**asdict(step), "held": step.held} for step in self._steps]
            print(json.dumps({"ok": ok, "checks": len(checks), "failed": failed, "steps": steps}, indent=2))
        self._print(f"\n{len(checks) - failed} of {len(checks)} checks held in {len(self._steps)} steps.")
        return 0 if ok else 1

    def _print(self, line: str) -> None:
        if not self._as_json:
            print(line, flush=True)
