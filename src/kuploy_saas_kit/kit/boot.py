"""What a kit sees to before anything else: that its stores are ready, and that there are plans to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from kuploy_saas_kit.errors import StoredPlansError, storage_errors
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import ProductSchema
from kuploy_saas_kit.plans.ports import PlansReplaced, PlanStore
from kuploy_saas_kit.plans.revisions import BOOTSTRAP, BOOTSTRAP_REVISION


@runtime_checkable
class TableStore(Protocol):
    """A store that can tell whether its tables are as it needs them."""

    def require_tables(self) -> None:
        """`StorageError` that says what to do unless they are."""


def make_embedded_tables(stores: Iterable[Any]) -> None:
    """Make the tables of stores that are files of this host's own."""
    for store in stores:
        if getattr(store, "is_embedded", False):
            store.migrate()


def require_tables(stores: Iterable[object]) -> None:
    """`StorageError` where a server's tables were not migrated."""
    for store in stores:
        if isinstance(store, TableStore):
            with storage_errors("look at the tables"):
                store.require_tables()


def product_catalog(catalog: PlanCatalog, schema: ProductSchema) -> PlanCatalog:
    """*catalog* with every key in its wire spelling; a never-gate key is `NeverGateKeyError`."""
    for plan in catalog:
        schema.check_plan(plan)
    return PlanCatalog(schema.normalised(plan) for plan in catalog)


def seed_plans(store: PlanStore, catalog: PlanCatalog) -> PlansReplaced:
    """Store *catalog* if *store* has no plans at all, until a license brings its own; else nothing is applied.

    Any process may do so at each of its boots, and several at once: the store decides, so that whoever was too late
    to see another's plans does not undo them, and a catalog of a license is above it, whatever its revision.
    """
    with storage_errors("store the bootstrap plans"):
        if not _has_no_plans(store):  # spares the store a transaction that would write nothing, at each boot but one
            return PlansReplaced(applied=False)
        return store.replace_plans(catalog, revision=BOOTSTRAP_REVISION, source=BOOTSTRAP)


def _has_no_plans(store: PlanStore) -> bool:
    try:
        return store.load_plans().catalog is None
    except StoredPlansError:
        return False
