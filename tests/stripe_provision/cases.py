"""The table of faults and edge cases: each case has a number, a title and a body that asserts its outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Body: TypeAlias = Callable[[], None]

CASES: dict[str, Body] = {}


def case(number: int, title: str) -> Callable[[Body], Body]:
    """Enter the body into the table."""

    def enter(body: Body) -> Body:
        name = f"{number:02d}-{title.replace(' ', '-')}"
        if name in CASES:
            raise ValueError(f"two cases are called {name}")
        CASES[name] = body
        return body

    return enter
