"""`kuploy-saas-kit plans check`: the stored plans against the license that is held."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from kuploy_saas_kit.cli.findings import Finding, documents_of, exit_status, fail, lines_of, ok, warn
from kuploy_saas_kit.cli.output import say, say_json
from kuploy_saas_kit.cli.plans.listing import NO_PLANS
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.errors import LicenseError, NeverGateKeyError, UnknownPlanError, storage_errors
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import ProductSchema
from kuploy_saas_kit.plans.ceiling import ceiling_violations


def run(parsed: argparse.Namespace) -> int:
    """Check every plan; 1 if one asks for what it cannot have."""
    with open_kit(parsed) as opened:
        snapshot = opened.kit.license.snapshot()
        with storage_errors("load the plans"):
            catalog = opened.stores.main.load_plans().catalog
        schema = opened.kit.gate.policy.schema
    if catalog is None:
        raise UnknownPlanError(NO_PLANS)
    if snapshot.grant is None:
        raise LicenseError(f"no license is held to compare the plans with: it is {snapshot.status.name}")
    findings = [one for plan in catalog for one in plan_findings(plan, snapshot.grant, schema)]
    findings += catalog_findings(catalog)
    if parsed.json:
        say_json(documents_of(findings))
    else:
        say(*lines_of(findings))
    return exit_status(findings)


def plan_findings(plan: Plan, grant: LicenseGrant, schema: ProductSchema) -> list[Finding]:
    """What is wrong with *plan*, or that nothing is."""
    found = [*_keys(plan, schema), *_ceiling(plan, grant)]
    return found or [ok(plan.slug, f"within the license ({grant.tier})")]


def catalog_findings(catalog: PlanCatalog) -> list[Finding]:
    """What is allowed and probably not meant."""
    return [warn("catalog", warning, "") for warning in catalog.warnings]


def _keys(plan: Plan, schema: ProductSchema) -> Iterator[Finding]:
    try:
        unknown = schema.check_plan(plan)
    except NeverGateKeyError as error:
        yield fail(plan.slug, str(error), "take it out of the plan")
        return
    for one in unknown:
        yield fail(
            plan.slug,
            f"{schema.product_type} has no {one.kind} {one.key!r}",
            "correct the key, or declare it in the ProductSchema",
        )


def _ceiling(plan: Plan, grant: LicenseGrant) -> Iterator[Finding]:
    for one in ceiling_violations(plan, grant):
        if one.kind == "feature":
            yield fail(plan.slug, str(one), "take it out of the plan, or upgrade the license at the hub")
        else:
            yield warn(plan.slug, str(one), f"it counts as {one.ceiling}")
