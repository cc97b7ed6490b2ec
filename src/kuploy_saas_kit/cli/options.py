"""What the commands have in common on the command line. Light: `--help` loads nothing else."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from importlib import import_module
from typing import Final, TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""What commands are added to."""

_WIDTH: Final = 88


def add_group(commands: Commands, name: str, summary: str) -> Commands:
    """A command that has commands of its own."""
    group = commands.add_parser(name, help=summary, description=_sentence(summary), allow_abbrev=False)
    return group.add_subparsers(title="commands", required=True, metavar="COMMAND")


def add_command(
    commands: Commands, name: str, summary: str, *, about: str, example: str, runs: str
) -> argparse.ArgumentParser:
    """A command that does something.

    *about* says what it does and reads. *runs* is `module:function` under this package, loaded when the command runs.
    """
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{_sentence(summary)}\n\n{textwrap.fill(about, _WIDTH)}",
        epilog=f"example:\n  $ {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=_loaded_later(runs), runs=runs)
    return command


def add_json(command: argparse.ArgumentParser) -> None:
    """`--json`."""
    command.add_argument("--json", action="store_true", help="print one machine-readable document instead of lines")


def add_yes(command: argparse.ArgumentParser) -> None:
    """`--yes`."""
    command.add_argument("--yes", action="store_true", help="go ahead without asking")


def add_stores(command: argparse.ArgumentParser) -> None:
    """`--store`, where its tables are, and the stores that may stand beside it."""
    stores = command.add_argument_group("stores", "Where an address holds a password, set the variable instead.")
    stores.add_argument("--store", metavar="URL", help="the database (default: KUPLOY_STORE, else sqlite:///kit.db)")
    stores.add_argument(
        "--license-store",
        metavar="URL",
        help="where the host keeps the license apart from it: file:PATH or redis://… (default: KUPLOY_LICENSE_STORE)",
    )
    stores.add_argument(
        "--usage-store",
        metavar="URL",
        help="where the host counts apart from it: redis://… (default: KUPLOY_USAGE_STORE)",
    )
    layout = command.add_argument_group("tables", "As the host's SqlLayout has them, if it has one.")
    layout.add_argument("--prefix", help="what the kit's tables begin with (default: KUPLOY_PREFIX, else kuploy_saas_)")
    layout.add_argument("--schema", help="the schema that they are in (default: KUPLOY_SCHEMA, else the connection's)")
    layout.add_argument("--plans-table", metavar="NAME", help="(default: KUPLOY_PLANS_TABLE, else cloud_plans)")


def _loaded_later(target: str) -> Callable[[argparse.Namespace], int]:
    def run(parsed: argparse.Namespace) -> int:
        return int(load_target(target)(parsed))

    return run


def load_target(target: str) -> Callable[[argparse.Namespace], int]:
    """The function that *target*, `module:function` under this package, names."""
    module, _, function = target.partition(":")
    loaded: Callable[[argparse.Namespace], int] = getattr(import_module(f"kuploy_saas_kit.cli.{module}"), function)
    return loaded


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."
