"""`kuploy-saas-kit plans seed`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from kuploy_saas_kit.cli.output import say
from kuploy_saas_kit.cli.wiring import open_stores
from kuploy_saas_kit.errors import CatalogError, ConfigurationError, StorageError
from kuploy_saas_kit.kit import seed_plans
from kuploy_saas_kit.license.wire import read_plan_file
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, SCHEMAS, ProductSchema


def run(parsed: argparse.Namespace) -> int:
    """Seed; where there are plans nothing is left to do."""
    catalog = read_file(parsed.file, product_schema(os.environ))
    with open_stores(parsed) as stores:
        seeded = seed_plans(stores.main, catalog)
    if seeded.applied:
        stored = ", ".join(plan.slug for plan in catalog)
        say(f"stored to begin with: {stored}; where the hub owns the plans, the license's first catalog replaces them")
    else:
        say("there are plans already: nothing is changed")
    return 0


def read_file(name: str, schema: ProductSchema) -> PlanCatalog:
    """The plans in the file; `KitError` that names it where there are none."""
    try:
        return read_plan_file(Path(name).read_bytes(), schema)
    except OSError as error:
        raise StorageError(f"{name} cannot be read: {error.strerror}") from error
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from error


def product_schema(environ: Mapping[str, str]) -> ProductSchema:
    """The schema of the product that the host is set to; `ConfigurationError` where the kit has none."""
    product = environ.get("LICENSE_PRODUCT_TYPE") or KUPLOY_CLOUD.product_type
    if product not in SCHEMAS:
        raise ConfigurationError(
            f"LICENSE_PRODUCT_TYPE is {product!r}, for which the kit has no schema: set one of"
            f" {', '.join(sorted(SCHEMAS))}, or seed with KitConfig(bootstrap=...) in the host that has its own"
        )
    return SCHEMAS[product]
