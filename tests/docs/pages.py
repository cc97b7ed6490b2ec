"""The pages of the documentation, taken apart into the blocks that are run or checked.

Every fenced `python` block is run, those of a page in order in one namespace; one with `title="name.py"` is saved
under that name instead. An `output` block is exactly what the block before it printed. `<!-- shown: why -->` in the
line before a fence says that the block is only shown, and why; `<!-- setup` opens a comment whose lines are run and
not shown.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n`]*$")
_TITLE = re.compile(r'title="([^"]+\.py)"')
_SHOWN = re.compile(r"^ *<!-- shown:(?P<why>.*)-->$")
_SETUP = "<!-- setup"


@dataclass(frozen=True)
class Block:
    """One block: *line* is that of its first line of content, *shown* why it is not run, *title* its file's name."""

    language: str
    text: str
    line: int
    shown: str | None = None
    title: str | None = None


def name_of(page: Path) -> str:
    """How tests call a page."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order; hidden ones have the language `setup`."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None and lines[at] != _SETUP:
            at += 1
            continue
        closing = "-->" if fence is None else f"{fence['indent']}```"
        end = lines.index(closing, at + 1)
        text = textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n"
        language = "setup" if fence is None else fence["language"]
        yield Block(language, text, at + 2, _why_shown(lines[at - 1] if at else ""), _title(lines[at]))
        at = end + 1


def _why_shown(line: str) -> str | None:
    found = _SHOWN.match(line)
    return None if found is None else found["why"].strip()


def _title(line: str) -> str | None:
    found = _TITLE.search(line)
    return None if found is None else found[1]
