"""What was promised, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """*measured* must be at most *bound*, or with *at_least* no less than it. None: it was not measured, and why."""

    what: str
    measured: float | None
    bound: float
    unit: str
    at_least: bool = False
    note: str = ""

    @property
    def is_held(self) -> bool | None:
        """Whether it is; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def row(self) -> tuple[str, ...]:
        """What, measured, target, held."""
        sign = "≥" if self.at_least else "≤"
        measured = "not measured" if self.measured is None else f"{self.measured:,.3g} {self.unit}"
        held = {None: self.note, True: "yes", False: "**no**"}[self.is_held]
        return self.what, measured, f"{sign} {self.bound:g} {self.unit}", held


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))
