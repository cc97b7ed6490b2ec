"""`kuploy-saas-kit stripe diff|apply`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kuploy_saas_kit.cli.output import confirmed, say, say_json
from kuploy_saas_kit.cli.plans.listing import NO_PLANS
from kuploy_saas_kit.cli.wiring import Opened, open_kit
from kuploy_saas_kit.errors import UnknownPlanError, storage_errors
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.plans.revisions import selling_revision
from kuploy_saas_kit.stripe_provision import Change, ProvisionReport
from kuploy_saas_kit.stripe_provision.changes import Blocked, Skipped


def diff(parsed: argparse.Namespace) -> int:
    """Show what would change; 1 if a plan is blocked."""
    with open_kit(parsed) as opened:
        changes = _diff(opened)
    if parsed.json:
        say_json({"changes": change_documents(changes)})
    else:
        say(*change_lines(changes))
    return int(is_blocked(changes))


def apply(parsed: argparse.Namespace) -> int:
    """Apply the diff that was shown, and no other; 1 if a plan failed or the operator said no."""
    with open_kit(parsed) as opened:
        changes = _diff(opened)
        if not parsed.json:
            say(*change_lines(changes))
        if not to_do(changes):
            if parsed.json:
                say_json({"changes": [], "plans": {}, "stopped_by": None})
            return int(is_blocked(changes))
        opened.kit.gate.require_operation(Operation.PROVISION)
        space = opened.kit.gateway.space()
        if not confirmed(f"Apply this to Stripe, {space}?", yes=parsed.yes):
            say("nothing was changed")
            return 1
        catalog, revision = _stored(opened)
        report = opened.kit.provisioner.provision(catalog, revision=revision, expected=changes)
    if parsed.json:
        say_json(report_document(report))
    else:
        say(*report_lines(report))
    return int(not report.is_complete)


def change_lines(changes: Sequence[Change]) -> list[str]:
    """The diff for people."""
    return [str(change) for change in changes] or ["nothing to change"]


def change_documents(changes: Sequence[Change]) -> list[dict[str, str]]:
    """The diff for machines."""
    return [{"change": type(one).__name__, "plan": one.slug, "text": str(one)} for one in changes]


def to_do(changes: Sequence[Change]) -> list[Change]:
    """The changes that would be made; the others say why nothing is."""
    return [change for change in changes if not isinstance(change, Blocked | Skipped)]


def is_blocked(changes: Sequence[Change]) -> bool:
    """Whether something must be mended first."""
    return any(isinstance(change, Blocked) for change in changes)


def report_lines(report: ProvisionReport) -> list[str]:
    """What was done, and what was not."""
    failed = [f"! {slug}: {result}" for slug, result in report.plans.items() if result.error is not None]
    stopped = [] if report.stopped_by is None else [f"stopped: {report.stopped_by}. The next run goes on"]
    return [f"{len(report.changes)} changes made at {report.space}", *failed, *stopped]


def report_document(report: ProvisionReport) -> dict[str, object]:
    """The same for machines."""
    return {
        "changes": change_documents(report.changes),
        "plans": {slug: str(result) for slug, result in report.plans.items()},
        "stopped_by": None if report.stopped_by is None else str(report.stopped_by),
    }


def _diff(opened: Opened) -> tuple[Change, ...]:
    catalog, revision = _stored(opened)
    return opened.kit.provisioner.diff(catalog, revision=revision)


def _stored(opened: Opened) -> tuple[PlanCatalog, int | None]:
    with storage_errors("load the plans"):
        stored = opened.stores.main.load_plans()
    if stored.catalog is None:
        raise UnknownPlanError(NO_PLANS)
    return stored.catalog, selling_revision(stored)
