"""A hub, Stripe and a kit over one store, all on loopback and on one clock."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from kuploy_saas_kit import KitConfig, SaasKit
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.plans import Plan, PlanCatalog, Price
from kuploy_saas_kit.stripe_provision import StripeKeys
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.hub import HubSimulator
from kuploy_saas_kit.testing.stripe import StripeSimulator

FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan("pro", "Pro", Price(2000, "cad", "monthly"), {"aiAssistant"}, {"maxProjects": 5})
CATALOG = PlanCatalog([FREE, PRO])
KEYS = StripeKeys(secret="sk_test_kit", publishable="pk_test_kit", webhook_secrets=("whsec_kit",))


@dataclass
class World:
    """Everything around one instance."""

    clock: ManualClock
    hub: HubSimulator
    hub_url: str
    stripe: StripeSimulator
    stripe_url: str
    exits: ExitStack
    store: Any = field(default_factory=MemoryStore)
    keys: StripeKeys | None = KEYS
    tenant_id: str = ""
    license_key: str = ""

    def kit(self, **settings: Any) -> SaasKit:
        """A kit as a process of this instance would make it."""
        license_settings = settings.pop("license_settings", {"license_key": self.license_key})
        license_config = LicenseConfig(hub_url=self.hub_url, trusted_keys=self.hub.trusted_keys, **license_settings)
        wiring = {name: settings.pop(name) for name in ("license_store", "usage_store") if name in settings}
        config = KitConfig(license=license_config, stripe_base_url=self.stripe_url, **settings)
        kit = SaasKit(config, self.store, stripe=lambda: self.keys, clock=self.clock, **wiring)
        self.exits.callback(kit.stop)
        return kit

    def later(self, **step: float) -> None:
        """Let time pass."""
        self.clock.advance(timedelta(**step))


@contextmanager
def make_world(store: Any = None) -> Iterator[World]:
    """A world with a Growth license and two plans at the hub."""
    with ExitStack() as exits:
        clock = ManualClock()
        hub, stripe = HubSimulator(clock=clock), StripeSimulator(clock=clock)
        made = World(clock, hub, exits.enter_context(hub.serve()), stripe, exits.enter_context(stripe.serve()), exits)
        made.store = MemoryStore(clock) if store is None else store
        made.tenant_id = hub.add_tenant("Acme Hosting")
        made.license_key = hub.issue_license(made.tenant_id, tier="growth")
        hub.set_catalog(made.tenant_id, CATALOG)
        yield made
