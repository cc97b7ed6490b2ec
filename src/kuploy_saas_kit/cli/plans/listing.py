"""`kuploy-saas-kit plans list`."""

from __future__ import annotations

import argparse
from typing import Final

from kuploy_saas_kit.cli.output import say, say_json, table
from kuploy_saas_kit.cli.wiring import open_stores
from kuploy_saas_kit.errors import storage_errors
from kuploy_saas_kit.model.features import AllFeatures
from kuploy_saas_kit.model.limits import limit_to_wire
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.plans.ports import StoredPlans
from kuploy_saas_kit.plans.revisions import BOOTSTRAP, catalog_revision

NO_PLANS: Final = (
    "there are no plans yet: they come with the license's first sync in a running host; "
    "until then `kuploy-saas-kit plans seed` stores some"
)


def run(parsed: argparse.Namespace) -> int:
    """List the plans."""
    with open_stores(parsed) as stores, storage_errors("load the plans"):
        stored = stores.main.load_plans()
    if parsed.json:
        say_json(plans_document(stored))
    else:
        say(*plan_lines(stored))
    return 0


def plan_lines(stored: StoredPlans) -> list[str]:
    """The plans for people."""
    if stored.catalog is None:
        return [NO_PLANS]
    rows = [
        (plan.slug, plan.name, named_price(plan), _state(plan), str(stored.versions.get(plan.slug, "")))
        for plan in stored.catalog
    ]
    return [*table(("SLUG", "NAME", "PRICE", "STATE", "VERSION"), rows), *filter(None, [described_origin(stored)])]


def described_origin(stored: StoredPlans) -> str:
    """Whose catalog was applied last, which says nothing of single plans that were saved since."""
    if stored.source == BOOTSTRAP:
        return "bootstrap to begin with; no catalog of a license has been applied yet"
    return "" if stored.revision is None else f"catalog revision {stored.revision}"


def plans_document(stored: StoredPlans) -> dict[str, object]:
    """The plans for machines; limits as on the wire, −1 is unlimited."""
    plans = () if stored.catalog is None else stored.catalog.plans
    return {
        "revision": catalog_revision(stored),
        "plans": [_document(plan, stored.versions.get(plan.slug)) for plan in plans],
    }


def named_price(plan: Plan) -> str:
    """What the plan costs, in the currency's own units."""
    return "free" if plan.price is None else str(plan.price)


def _state(plan: Plan) -> str:
    return ", ".join(
        word for word, applies in (("default", plan.is_default), ("inactive", not plan.is_active)) if applies
    )


def _document(plan: Plan, version: int | None) -> dict[str, object]:
    price = plan.price
    return {
        "slug": plan.slug,
        "name": plan.name,
        "amount": None if price is None else price.amount,
        "currency": None if price is None else price.currency,
        "cycle": None if price is None else price.cycle.value,
        "is_default": plan.is_default,
        "is_active": plan.is_active,
        "version": version,
        "features": ["all"] if isinstance(plan.features, AllFeatures) else sorted(plan.features),
        "limits": {key: limit_to_wire(value) for key, value in plan.limits.items()},
    }
