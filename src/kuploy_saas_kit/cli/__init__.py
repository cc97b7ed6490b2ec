"""The command `kuploy-saas-kit`."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

from kuploy_saas_kit.cli import explain, hub, license, plans, run, store, stripe  # noqa: A004 - the room of this name
from kuploy_saas_kit.cli.options import Commands
from kuploy_saas_kit.cli.output import complain
from kuploy_saas_kit.errors import KitError

_INTERRUPTED: Final = 130  # what shells expect of a program that Ctrl-C ended
_PIPE_CLOSED: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 a check did not hold, 2 it could not be done."""
    parsed = _parser().parse_args(arguments)
    logging.getLogger("kuploy_saas_kit").addHandler(logging.NullHandler())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to fail
    try:
        return int(parsed.run(parsed))
    except ModuleNotFoundError as error:
        complain(f"{error.name} is missing: pip install 'kuploy-saas-kit[all]'")
        return 2
    except KitError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left would fail at exit
        return _PIPE_CLOSED


class _Version(argparse.Action):
    """Prints the version, which is read when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - slower to load than all else that help needs

        print(version("kuploy-saas-kit"))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kuploy-saas-kit",
        description="Licensing, plans and Stripe for SaaS operators.",
        epilog="exit status: 0 done, 1 a check or a plan failed, 2 it could not be done",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for group in (run, license, plans, explain, stripe, store, hub):
        group.add_to(commands)
    _add_demo(commands)
    return parser


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="play a tenant's whole story on this machine, and check it",
        description="Starts a reference hub and a Stripe simulator on loopback and plays a tenant's story: license,"
        " plans, Stripe, webhooks, limits, an outage, a downgrade. Exits with 0 only if every check held.",
    )
    demo.add_argument("--json", action="store_true", help="print one machine-readable report instead of lines")
    demo.add_argument("--keep", metavar="DIR", help="keep the SQLite file in DIR to look at it")
    demo.add_argument(
        "--store",
        metavar="URL",
        help="play on postgresql://…, in a schema of the demo's own; or keep license and counters in redis://…",
    )
    demo.add_argument(
        "--stripe-test",
        action="store_true",
        help="use Stripe's test mode in place of the simulator; needs STRIPE_TEST_KEY=sk_test_…",
    )
    demo.set_defaults(run=_run_demo)


def _run_demo(parsed: argparse.Namespace) -> int:
    from kuploy_saas_kit.cli.demo import run_demo  # noqa: PLC0415 - each command loads what it needs

    return run_demo(as_json=parsed.json, keep=parsed.keep, store=parsed.store, stripe_test=parsed.stripe_test)
