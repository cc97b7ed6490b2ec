"""`kuploy-saas-kit stripe resync`."""

from __future__ import annotations

import argparse

from kuploy_saas_kit.cli.output import say, say_json
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.stripe_provision.ports import SubscriptionChange
from kuploy_saas_kit.stripe_provision.webhooks import ResyncReport


def resync(parsed: argparse.Namespace) -> int:
    """Compare all subscriptions; 1 if some remain unmatched."""
    with open_kit(parsed) as opened:
        report = opened.kit.webhooks.resync_all()
    if parsed.json:
        say_json(resync_document(report))
    else:
        say(*resync_lines(report))
    return int(bool(report.unmatched))


def resync_lines(report: ResyncReport) -> list[str]:
    """What was seen and mended."""
    return [
        *(f"~ {_named(change)}" for change in report.changes),
        *(f"! {name}: its org or plan is unknown, so it grants nothing" for name in report.unmatched),
        f"{report.seen} subscriptions seen, {len(report.changes)} changed, {len(report.unmatched)} unmatched",
    ]


def resync_document(report: ResyncReport) -> dict[str, object]:
    """The same for machines."""
    return {
        "seen": report.seen,
        "changed": [change.after.subscription_id for change in report.changes],
        "unmatched": list(report.unmatched),
    }


def _named(change: SubscriptionChange) -> str:
    row = change.after
    return f"{row.subscription_id}: {row.org_id or 'no org'} on {row.plan or 'no plan'}, {row.status}"
