"""One world for gate tests: a license that is set by hand, a memory store, three plans, and the gate in two shells."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.plans import UNLIMITED, AsyncGate, Gate, GatePolicy, Plan, PlanCatalog, Price
from kuploy_saas_kit.testing.awaited import Awaited
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.gates import FixedLicense

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
SPACE = StripeSpace("acct_1", livemode=False)

FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan(
    "pro",
    "Pro",
    Price(2000, "cad"),
    {"customDomains", "aiAssistant", "whiteLabel"},
    {"maxProjects": 5, "maxApps": 10, "maxStorageBytes": 1000, "buildMinutesPerMonth": 100},
)
BIG = Plan("big", "Big", Price(9900, "cad"), {"aiAssistant"}, {"maxProjects": UNLIMITED, "maxApps": UNLIMITED})
CATALOG = PlanCatalog([FREE, PRO, BIG])


@dataclass
class World:
    """Everything a scenario touches."""

    license: FixedLicense
    store: MemoryStore
    clock: ManualClock
    gate: Any
    """The gate, each verb awaited."""
    raw: Gate | AsyncGate

    def subscribe(self, org_id: str, plan: str | None = "pro", status: str = "active", **fields: Any) -> None:
        """Put a subscription row into the store, as a webhook would."""
        identity = f"sub_{org_id}"
        row = OrgSubscription(
            subscription_id=identity,
            space=SPACE,
            org_id=org_id,
            customer_id=f"cus_{org_id}",
            plan=plan,
            price_id="price_1",
            status=status,
            known_status=fields.pop("known_status", status),
            created=NOW - timedelta(days=40),
            **fields,
        )
        version = self.store.load_subscription(identity).version
        self.store.put_subscription(row, expected_version=version)


def make_world(shell: str, **policy: Any) -> World:
    """A world whose gate is the sync or the async one."""
    store, clock, license_ = MemoryStore(), ManualClock(NOW), FixedLicense()
    store.replace_plans(CATALOG, revision=1)
    chosen = GatePolicy(**policy)
    if shell == "sync":
        raw: Gate | AsyncGate = Gate(
            license=license_, plans=store, subscriptions=store, usage=store, policy=chosen, clock=clock
        )
        return World(license_, store, clock, Awaited(raw), raw)
    awaited: Any = Awaited(store)
    raw = AsyncGate(license=license_, plans=awaited, subscriptions=awaited, usage=awaited, policy=chosen, clock=clock)
    return World(license_, store, clock, raw, raw)
