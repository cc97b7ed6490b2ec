"""The worlds that candidates answer in, and the kit's gate in such a world."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.plans import (
    INTERNAL,
    FeatureSpec,
    Gate,
    GatePolicy,
    LicenseGrant,
    Plan,
    PlanCatalog,
    ProductSchema,
)
from kuploy_saas_kit.testing.gates import FixedLicense, FixedSnapshot

STATIC = "static"
"""A feature has one value for everybody; there is one org."""
BY_PLAN = "by plan"
"""A feature is on for the orgs of some plans; there are many orgs."""

_ORGS = 64


@dataclass(frozen=True, slots=True)
class World:
    """A license, plans and orgs. *granted* is what each plan has under the license: the composed truth."""

    kind: str
    features: tuple[str, ...]
    license: frozenset[str]
    plans: Mapping[str, frozenset[str]]
    plan_of: Mapping[str, str]
    granted: Mapping[str, frozenset[str]]

    @property
    def is_static(self) -> bool:
        """Whether every org has the same."""
        return self.kind == STATIC

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Every (org, feature), in an order without a pattern."""
        keys = [(org_id, feature) for org_id in self.plan_of for feature in self.features]
        random.Random(3).shuffle(keys)  # noqa: S311 - no secret
        return keys

    def truth(self, org_id: str, feature: str) -> bool:
        """Whether the org has the feature."""
        return feature in self.granted[self.plan_of[org_id]]

    def plans_granting(self, feature: str) -> list[str]:
        """The plans whose orgs have the feature."""
        return [slug for slug, features in self.granted.items() if feature in features]


def make_world(kind: str, flags: int) -> World:
    """A world with *flags* features, five plans (Internal is one), and a license that lacks a tenth of the features."""
    draw = random.Random(7)  # noqa: S311 - no secret
    features = tuple(f"feature-{n:04d}" for n in range(flags))
    licensed = frozenset(draw.sample(features, flags * 9 // 10))
    plans = {
        "free": frozenset(draw.sample(features, flags // 5)),
        "pro": frozenset(draw.sample(features, flags // 2)),
        "business": frozenset(draw.sample(features, flags * 4 // 5)),
        "enterprise": frozenset(features),
    }
    granted = {slug: named & licensed for slug, named in plans.items()} | {INTERNAL.slug: licensed}
    orgs = [draw.randbytes(16).hex() for _ in range(1 if kind == STATIC else _ORGS)]
    plan_of = {org_id: "pro" if kind == STATIC else draw.choice(list(granted)) for org_id in orgs}
    return World(kind, features, licensed, plans, plan_of, granted)


def make_schema(features: Iterable[str]) -> ProductSchema:
    """A product that has these features."""
    return ProductSchema("benchmark", {key: FeatureSpec(key, key) for key in features}, limits={})


def make_catalog(plans: Mapping[str, Iterable[str]]) -> PlanCatalog:
    """These plans; the first is the default."""
    first = next(iter(plans))
    return PlanCatalog(Plan(slug, slug, features=named, is_default=slug == first) for slug, named in plans.items())


def make_gate(features: Sequence[str], licensed: Iterable[str], store: MemoryStore) -> Gate:
    """A gate over *store* that keeps answers, as within a `SaasKit`."""
    license_ = FixedLicense(FixedSnapshot(grant=LicenseGrant("benchmark", licensed)))
    policy = GatePolicy(schema=make_schema(features))
    gate = Gate(license=license_, plans=store, subscriptions=store, usage=store, policy=policy)
    gate.begin_keeping(store.load_plans().catalog)
    return gate


def gate_of(world: World) -> Gate:
    """The kit's gate in *world*, which knows all of its orgs."""
    store = MemoryStore()
    store.replace_plans(make_catalog(world.plans), revision=1)
    gate = make_gate(world.features, world.license, store)
    for org_id, slug in world.plan_of.items():
        gate.assign(org_id, slug, actor="benchmark", reason="benchmark")
        gate.allows(org_id, world.features[0])
    return gate
