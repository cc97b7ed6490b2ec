"""The examples run as a newcomer would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT


@pytest.mark.parametrize("script", ["quickstart.py"])
def test_an_example_runs(script: str, tmp_path: Path) -> None:
    """An example runs in a process of its own, in another folder, and tells what it shows."""
    command = [sys.executable, str(ROOT / "examples" / script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0, done.stderr
    assert "5 of 8 concurrent requests got a project" in done.stdout


def test_the_quickstart_is_as_short_as_the_readme_says() -> None:
    """README.md gives the number of its lines."""
    lines = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8").splitlines()
    assert f"in {len(lines)} lines" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(lines) < 60
