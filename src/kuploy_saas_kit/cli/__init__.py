"""The command `kuploy-saas-kit`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from kuploy_saas_kit.errors import KitError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 a check did not hold, 2 it could not be done."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    logging.getLogger("kuploy_saas_kit").addHandler(logging.NullHandler())
    try:
        return int(parsed.run(parsed))
    except ModuleNotFoundError as error:
        print(f"kuploy-saas-kit: {error.name} is missing: pip install 'kuploy-saas-kit[all]'", file=sys.stderr)
        return 2
    except KitError as error:
        print(f"kuploy-saas-kit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kuploy-saas-kit", description="Licensing, plans and Stripe for SaaS operators."
    )
    parser.add_argument("--version", action="version", version=version("kuploy-saas-kit"))
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
