"""`kuploy-saas-kit store migrate|check`."""

from __future__ import annotations

import argparse

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.cli.findings import documents_of, exit_status, lines_of
from kuploy_saas_kit.cli.output import say, say_json
from kuploy_saas_kit.cli.store.selftest import tested
from kuploy_saas_kit.cli.wiring import open_stores


def migrate(parsed: argparse.Namespace) -> int:
    """Make the tables."""
    with open_stores(parsed, make_file=True) as stores:
        stores.main.migrate()
        say(f"the tables are there: {stores.main!r}")
    return 0


def check(parsed: argparse.Namespace) -> int:
    """Test the stores; 1 if one fails."""
    with open_stores(parsed) as stores:
        findings = tested(stores, SystemClock())
    if parsed.json:
        say_json(documents_of(findings))
    else:
        say(*lines_of(findings))
    return exit_status(findings)
