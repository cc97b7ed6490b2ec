"""What the documentation shows is run: code blocks, their output, commands, and links out of README.md."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import PAGES, ROOT, Block, blocks_of, name_of

from kuploy_saas_kit.cli import _parser

WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks_of(page))]
MANIFEST = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A page runs in an empty folder, and the variables that it sets end with it."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_code_of_a_page_runs(page: Path) -> None:
    """Every python block runs after those before it, and prints what the page says."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    try:
        _run_all(page, namespace)
    finally:
        _close_all(namespace)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_that_is_only_shown_says_why(page: Path) -> None:
    """Nothing is left out of the run without a reason, and only python is ever run."""
    assert all(block.shown != "" for block in blocks_of(page))
    assert all(block.language == "python" for block in blocks_of(page) if block.shown is not None)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    """A line after a prompt calls a target, a command or an extra that this version has."""
    for block in blocks_of(page):
        if block.language == "console":
            for line in block.text.splitlines():
                if line.startswith("$ "):
                    for command in re.split(r" && | \| ", line[2:].replace(".venv/bin/", "")):
                        _check_command(shlex.split(command, comments=True))


def test_links_out_of_the_readme_lead_somewhere() -> None:
    """README.md links only to files that are there, and to sections that they have."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target.partition("#")[0]).exists()] == []


def test_a_command_that_does_not_exist_is_noticed() -> None:
    """The check of commands is not vacuous."""
    for wrong in ("make tea", "kuploy-saas-kit brew", "pip install 'kuploy-saas-kit[tea]'", "tea"):
        with pytest.raises((AssertionError, SystemExit)):
            _check_command(shlex.split(wrong))


def _run_all(page: Path, namespace: dict[str, Any]) -> None:
    printed = ""
    for block in blocks_of(page):
        if block.language in {"python", "setup"} and block.shown is None:
            printed = _run(block, page, namespace)
        if block.language == "console" and "run_command" in namespace:
            printed = _run_commands(block, namespace["run_command"])
        if block.language == "output":
            assert printed == block.text, f"{name_of(page)}:{block.line} shows another output"


def _close_all(namespace: dict[str, Any]) -> None:
    """Stop the servers of a page, also of one that failed on its way: they would keep the process from ending."""
    for value in namespace.values():
        if isinstance(value, contextlib.ExitStack):
            value.close()


def _run(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    if block.title is not None:
        Path(block.title).write_text(block.text, encoding="utf-8")
        return ""
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, namespace)  # noqa: S102 - running the page is the test
    return out.getvalue()


def _run_commands(block: Block, run: Callable[[list[str]], object]) -> str:
    """What the commands print, of those lines that `grep` lets through: for pages whose setup says how to run one."""
    printed = ""
    for line in block.text.splitlines():
        command, _, wanted = line.removeprefix("$ ").partition(" | grep ")
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            run(shlex.split(command)[1:])
        lines = out.getvalue().splitlines(keepends=True)
        printed += "".join(said for said in lines if all(word in said for word in shlex.split(wanted)))
    return printed


def _check_command(words: list[str]) -> None:
    while "=" in words[0]:
        words = words[1:]
    match words:
        case ["make", *targets]:
            assert targets
            assert {target for target in targets if "=" not in target} <= set(TARGETS)
        case ["kuploy-saas-kit", *arguments] | ["python", "-m", "kuploy_saas_kit", *arguments]:
            _parser().parse_args(arguments)
        case ["python", script] if script.endswith(".py"):
            assert (ROOT / script).exists()
        case ["python", "-m", "venv", _]:
            pass
        case ["pip", "install", *packages]:
            assert packages
            for package in packages:
                _check_package(package)
        case ["cd" | "mkdir" | "export" | "git" | "grep" | "pytest", *_]:
            pass
        case _:
            raise AssertionError(f"a command that nothing here provides: {words}")


def _check_package(package: str) -> None:
    name, _, extras = package.rstrip("]").partition("[")
    assert name == MANIFEST["project"]["name"]
    assert set(filter(None, extras.split(","))) <= set(MANIFEST["project"]["optional-dependencies"])
