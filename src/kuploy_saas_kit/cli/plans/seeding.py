"""`kuploy-saas-kit plans seed`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from kuploy_saas_kit.cli.output import say
from kuploy_saas_kit.cli.wiring import open_stores
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.hub.home import read_plans
from kuploy_saas_kit.kit import seed_plans
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD


def run(parsed: argparse.Namespace) -> int:
    """Seed; where there are plans nothing is left to do."""
    try:
        document = Path(parsed.file).read_bytes()
    except OSError as error:
        raise StorageError(f"{parsed.file} cannot be read: {error.strerror}") from error
    product = os.environ.get("LICENSE_PRODUCT_TYPE") or KUPLOY_CLOUD.product_type
    catalog = PlanCatalog(read_plans(document, product))
    with open_stores(parsed) as stores:
        seeded = seed_plans(stores.main, catalog)
    if seeded.applied:
        say(f"stored until the license's first catalog takes their place: {', '.join(plan.slug for plan in catalog)}")
    else:
        say("there are plans already: nothing is changed")
    return 0
