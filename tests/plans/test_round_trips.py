"""Plans as other places write them: the hub's JSON and the columns of `cloud_plans`."""

import json
import shutil
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import examples

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.hub.catalogs import plan_to_wire
from kuploy_saas_kit.license.wire import read_catalog
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Plan, PlanCatalog
from kuploy_saas_kit.testing.strategies import catalogs

printable = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20)


def _named(catalog: PlanCatalog, name: str) -> PlanCatalog:
    """The same catalog with names that the wire takes: no control characters."""
    renamed = [
        Plan(
            plan.slug,
            name,
            plan.price,
            plan.features,
            plan.limits,
            is_default=plan.is_default,
            is_active=plan.is_active,
            description=name,
        )
        for plan in catalog
    ]
    return PlanCatalog(renamed)


@given(catalogs(), printable)
def test_the_hubs_json(catalog: PlanCatalog, name: str) -> None:
    """What the hub writes the instance reads as the same plans, and names the keys that the product lacks."""
    sent = _named(catalog, name)
    document: Any = json.loads(json.dumps({"revision": 7, "plans": [plan_to_wire(plan) for plan in sent]}))
    read = read_catalog(document, KUPLOY_CLOUD)
    assert read.error is None
    assert read.catalog == sent
    assert {one.key for one in read.unknown_keys} <= {"futureFeature", "maxFutureThings"}


@settings(max_examples=examples(25))
@given(st.lists(catalogs(), min_size=1, max_size=3))
def test_the_columns_of_cloud_plans(tmp_path_factory: Any, sqlite_template: Path, history: list[PlanCatalog]) -> None:
    """Every plan comes back from the table as it went in; what a later catalog lacks is inactive and kept."""
    file: Path = tmp_path_factory.mktemp("plans") / "kit.db"
    shutil.copy(sqlite_template, file)
    store = SqlStore.from_url(f"sqlite:///{file}")
    seen: set[str] = set()
    for revision, catalog in enumerate(history):
        store.replace_plans(catalog, revision=revision)
        stored = store.load_plans()
        assert stored.catalog is not None
        assert {plan.slug: stored.catalog.plan(plan.slug) for plan in catalog} == {plan.slug: plan for plan in catalog}
        gone = seen - {plan.slug for plan in catalog}
        assert all(not stored.catalog.plan(slug).is_active for slug in gone)
        seen |= {plan.slug for plan in catalog}
        assert {plan.slug for plan in stored.catalog} == seen
    store.close()
