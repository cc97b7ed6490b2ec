"""The command itself: what it loads, how it ends, and what it never prints."""

import argparse
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kuploy_saas_kit import cli
from kuploy_saas_kit.cli import main, options
from kuploy_saas_kit.cli.findings import Finding, Level, exit_status, lines_of, looked_at
from kuploy_saas_kit.cli.options import load_target
from kuploy_saas_kit.cli.output import confirmed, instant, pairs, printable, span, table
from kuploy_saas_kit.errors import ConfigurationError, StorageError

_HELP = """
import sys
from kuploy_saas_kit.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that do something."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for command in group.choices.values():
            yield from leaves(command)


LEAVES = [leaf for leaf in leaves(cli._parser()) if leaf.get_default("runs")]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.prog)
def test_every_command_is_there_and_explains_itself(leaf: argparse.ArgumentParser) -> None:
    """Each command's function exists; its help says what it does and shows a call that can be parsed."""
    assert callable(load_target(leaf.get_default("runs")))
    assert leaf.description
    assert leaf.epilog
    words = leaf.epilog.rpartition("$ ")[2].partition("kuploy-saas-kit ")[2]
    assert f"kuploy-saas-kit {words}".startswith(leaf.prog)


def test_the_reference_has_every_command() -> None:
    """The page of the command line has a row for each command, and no other."""
    page = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(kuploy-saas-kit [^`]+)` \|", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(leaf.prog for leaf in LEAVES)


def test_help_loads_only_the_standard_library() -> None:
    """`--help` stays fast: nothing third-party is imported for it."""
    ran = subprocess.run([sys.executable, "-c", _HELP], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    loaded = set(ran.stdout.rpartition("LOADED ")[2].split())
    assert "kuploy_saas_kit" in loaded
    assert not loaded & {"pydantic", "httpx", "sqlalchemy", "stripe", "cryptography", "redis", "rich", "tenacity"}


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints it and ends well."""
    with pytest.raises(SystemExit) as asked:
        main(["--version"])
    assert asked.value.code == 0
    assert capsys.readouterr().out[:1].isdigit()


def ending_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit status of a command that raises *error*."""

    def failing(_: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(options, "load_target", lambda _: failing)
    return main(["store", "check"])


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the kit raises is status 2 and one line, without control characters and without a traceback."""
    assert ending_with(monkeypatch, StorageError("first\nsecond \x1b[31mred")) == 2
    assert capsys.readouterr().err == "kuploy-saas-kit: first second \N{REPLACEMENT CHARACTER}[31mred\n"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A package that is not installed is named with what installs it."""
    assert ending_with(monkeypatch, ModuleNotFoundError("no", name="starlette")) == 2
    assert "starlette is missing: pip install" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt is the shell's status for it, and nothing on standard error."""
    assert ending_with(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """Piped into a program that stops reading, the command ends without a word."""
    code = "import sys; from kuploy_saas_kit.cli import main, options\n"
    code += "from kuploy_saas_kit.cli.output import say\n"
    code += "options.load_target = lambda _: lambda _: say(*['line' * 20] * 100_000) or 0\n"
    code += "sys.exit(main(['store', 'check']))"
    words = [sys.executable, "-c", code]
    command = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 - ours
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.readline()
    command.stdout.close()
    with command.stderr:
        assert command.stderr.read() == b""
    assert command.wait(timeout=60) == 141


def test_what_would_steer_a_terminal_is_replaced() -> None:
    """Escapes, bidirectional overrides and line breaks become a visible mark; names in any script stay."""
    assert printable("Acme\x1b]0;x\x07 \u202egnp.exe") == "Acme\ufffd]0;x\ufffd \ufffdgnp.exe"
    assert printable("Café 東京 – ×") == "Café 東京 – ×"


def test_columns_and_pairs_line_up() -> None:
    """Columns are as wide as their widest cell; what is empty is left out of pairs."""
    assert table(("A", "LONG"), [("aaa", "b"), ("c", "")]) == ["A    LONG", "aaa  b", "c"]
    assert pairs([("name", "x"), ("n", "y"), ("left out", "")]) == ["name  x", "n     y"]
    assert pairs([]) == []


@pytest.mark.parametrize(
    ("length", "told"),
    [({}, "0 s"), ({"seconds": 59}, "59 s"), ({"seconds": 60}, "1 min"), ({"hours": 5}, "5 h"), ({"days": -3}, "-3 d")],
)
def test_spans(length: dict[str, int], told: str) -> None:
    """A length of time is told in the largest unit of which it has one."""
    assert span(timedelta(**length)) == told


def test_instants_are_utc() -> None:
    """Instants are told in UTC to the second; none is nothing."""
    assert instant(datetime(2026, 11, 1, 12, 0, 1, 999, tzinfo=UTC)) == "2026-11-01 12:00:01Z"
    assert instant(None) == ""


@pytest.mark.parametrize(
    ("typed", "agrees"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False), ("yellow\n", False)]
)
def test_only_a_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, typed: str, *, agrees: bool) -> None:
    """Anything but a clear yes is a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert confirmed("Sure?", yes=False) is agrees


def test_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can answer, the option that goes ahead is named."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(ConfigurationError, match="--yes"):
        confirmed("Sure?", yes=False)


def test_an_error_while_looking_is_a_finding() -> None:
    """What was found before the error stays, and the error's message says what to mend."""

    def look() -> Iterator[Finding]:
        yield Finding(Level.OK, "one", "well")
        raise StorageError("the disk is full: make room")

    findings = looked_at("two", look)
    assert [(one.level, one.subject) for one in findings] == [(Level.OK, "one"), (Level.FAIL, "two")]
    assert exit_status(findings) == 1
    assert lines_of(findings)[-1] == "1 ok, 0 warn, 1 fail"
    assert json.dumps([one.level for one in findings]) == '["ok", "fail"]'
