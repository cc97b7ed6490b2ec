"""Gates for hosts' tests: your store, a license that you set, one plan for every org."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import UNLIMITED, LimitValue
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits
from kuploy_saas_kit.plans.gate import Gate
from kuploy_saas_kit.plans.policy import GatePolicy
from kuploy_saas_kit.plans.ports import CountingStore, PlanSaved, PlansReplaced, StandingStore, StoredPlans


@dataclass(frozen=True, slots=True)
class FixedSnapshot:
    """A license snapshot that says what it was made with."""

    grant: LicenseGrant | None = KUPLOY_CLOUD.tiers["growth"]
    status: LicenseStatus = LicenseStatus.ACTIVE
    status_reason: str = ""
    revision: int | None = 1
    age: timedelta | None = timedelta()
    caps: Mapping[str, LimitValue] = field(default_factory=dict)
    periods: Mapping[str, tuple[datetime, datetime]] = field(default_factory=dict)

    def permits(self, operation: Operation) -> bool:
        """Whether the status permits *operation*."""
        return permits(self.status, operation)

    def instance_cap(self, limit: str) -> LimitValue:
        """What *caps* says, else the grant's own limit."""
        return self.caps.get(limit, 0 if self.grant is None else self.grant.limits[limit])

    def meter_period(self, limit: str) -> tuple[datetime, datetime] | None:
        """What *periods* says."""
        return self.periods.get(limit)


class FixedLicense:
    """A `LicenseView` whose license is set by hand."""

    def __init__(self, snapshot: FixedSnapshot | None = None) -> None:
        self._snapshot = snapshot or FixedSnapshot()

    def snapshot(self) -> FixedSnapshot:
        """The license as it was set last."""
        return self._snapshot

    def set(self, **changes: Any) -> FixedSnapshot:
        """Change fields of the snapshot, such as `status` or `grant`."""
        self._snapshot = replace(self._snapshot, **changes)
        return self._snapshot


class FixedPlans:
    """A `PlanStore` that holds one catalog and refuses to change it."""

    def __init__(self, catalog: PlanCatalog) -> None:
        self._stored = StoredPlans(catalog, 1, {plan.slug: 1 for plan in catalog})

    def load_plans(self) -> StoredPlans:
        return self._stored

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        return PlansReplaced(applied=False)

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        return PlanSaved(saved=False, version=1)


def gate_over(
    store: CountingStore,
    *,
    tier: str = "growth",
    features: Iterable[str] | None = None,
    plan_features: Iterable[str] | None = None,
    plan_limits: Mapping[str, LimitValue] | None = None,
) -> Gate:
    """A gate over *store* with a fixed, active license of kuploy-cloud and one plan for every org.

    The license has the documented features and limits of *tier*, or these *features*. The plan grants all features
    and has no limits unless *plan_features* and *plan_limits* are given; a limit that *plan_limits* does not name is
    0. The store's tables are made if need be. *store* implements the usage ports, and the standings if it can.
    """
    if hasattr(store, "migrate"):
        store.migrate()
    standard = KUPLOY_CLOUD.tiers[tier]
    grant = standard if features is None else LicenseGrant(tier, features, standard.limits)
    plan = Plan(
        "standard",
        "Standard",
        features=KUPLOY_CLOUD.features if plan_features is None else plan_features,
        limits=dict.fromkeys(KUPLOY_CLOUD.limits, UNLIMITED) if plan_limits is None else plan_limits,
        is_default=True,
    )

    return Gate(
        license=FixedLicense(FixedSnapshot(grant)),
        plans=FixedPlans(PlanCatalog([plan])),
        subscriptions=_standings(store),
        usage=store,
        policy=GatePolicy(schema=KUPLOY_CLOUD),
    )


def _standings(store: Any) -> StandingStore:
    if hasattr(store, "standing"):
        standings: StandingStore = store
        return standings
    from kuploy_saas_kit.adapters.memory import MemoryStore  # noqa: PLC0415 - only where it is needed

    return MemoryStore()
