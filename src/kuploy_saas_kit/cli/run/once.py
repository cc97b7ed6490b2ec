"""One run, and what it did."""

from __future__ import annotations

import argparse

from kuploy_saas_kit.cli.license.sync import sync_document, sync_lines
from kuploy_saas_kit.cli.output import say, say_json
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.kit import RunReport
from kuploy_saas_kit.license import LicenseSnapshot


def run(parsed: argparse.Namespace) -> int:
    """Run once; 1 if the sync failed or something else hindered it."""
    with open_kit(parsed) as opened:
        report = opened.kit.run_once()
        snapshot = opened.kit.license.snapshot()
    if parsed.json:
        say_json(run_document(report, snapshot))
    else:
        say(*run_lines(report, snapshot))
    return 0 if report.sync.ok and not report.problems else 1


def run_lines(report: RunReport, snapshot: LicenseSnapshot) -> list[str]:
    """What the run did, a line each."""
    lines = sync_lines(report.sync, snapshot)
    if report.plans is not None:
        lines.append(
            f"plans: changed {_listed(report.plans.changed)}, no more sold {_listed(report.plans.deactivated)}"
        )
    if report.provision is not None:
        lines += [f"stripe: {line}" for line in str(report.provision).splitlines()]
    return [*lines, *(f"problem: {problem}" for problem in report.problems)]


def run_document(report: RunReport, snapshot: LicenseSnapshot) -> dict[str, object]:
    """The same for machines."""
    plans, provision = report.plans, report.provision
    return {
        "sync": sync_document(report.sync, snapshot),
        "plans": None if plans is None else {"changed": plans.changed, "deactivated": plans.deactivated},
        "stripe": None if provision is None else [str(change) for change in provision.changes],
        "problems": report.problems,
    }


def _listed(slugs: tuple[str, ...]) -> str:
    return ", ".join(slugs) or "none"
