"""What the demo plays on: a hub, Stripe, a database and an instance, all on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.cli.demo.place import Place, Stores
from kuploy_saas_kit.cli.demo.shop import Shop
from kuploy_saas_kit.kit import KitConfig, SaasKit
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.plans import Plan, PlanCatalog, Price
from kuploy_saas_kit.stripe_provision import StripeKeys
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.hub import HubSimulator
from kuploy_saas_kit.testing.loopback import LoopbackServer

WEBHOOK_PATH: Final = "/api/webhooks/stripe"
WEBHOOK_SECRET: Final = "whsec_demo"  # noqa: S105 - opens nothing outside the demo

FREE: Final = Plan("free", "Free", limits={"maxProjects": 1, "maxApps": 2}, is_default=True)
PRO: Final = Plan(
    "pro",
    "Pro",
    Price(2000, "cad", "monthly"),
    {"customDomains", "aiAssistant"},
    {"maxProjects": 5, "maxApps": 15, "buildMinutesPerMonth": 500},
    description="For small teams",
)
BUSINESS: Final = Plan(
    "business",
    "Business",
    Price(290_000, "gnf", "monthly"),
    {"customDomains", "aiAssistant", "multiServer"},
    {"maxProjects": 20, "maxApps": 50, "buildMinutesPerMonth": 2_000},
    description="For larger organizations",
)
CATALOG: Final = PlanCatalog([FREE, PRO, BUSINESS])


@dataclass(slots=True)
class Stage:
    """The props of the story. *kit* is the instance's; `restart` makes a new one over the same stores."""

    clock: ManualClock
    hub: HubSimulator
    hub_url: str
    shop: Shop
    place: Place
    exits: ExitStack
    keys: StripeKeys | None = None
    tenant_id: str = ""
    license_key: str = ""
    kit: SaasKit = field(init=False)
    stores: Stores = field(init=False)

    @property
    def store(self) -> SqlStore:
        """Where the instance keeps plans, subscriptions and what was provisioned."""
        return self.stores.main

    def restart(self) -> None:
        """A new process, as far as the kit can tell: nothing is left but the stores."""
        self.stores = self.place.open(self.clock, self.exits)
        license_config = LicenseConfig(hub_url=self.hub_url, trusted_keys=self.hub.trusted_keys)
        config = KitConfig(license=license_config, namespace=self.shop.namespace, stripe_base_url=self.shop.base_url)
        self.kit = SaasKit(
            config,
            self.stores.main,
            license_store=self.stores.license,
            usage_store=self.stores.usage,
            stripe=lambda: self.keys,
            clock=self.clock,
        )
        self.exits.callback(self.kit.stop)

    def pass_time(self, step: timedelta) -> None:
        """Let the demo's own clock go on."""
        self.clock.advance(step)

    def serve_webhooks(self) -> str:
        """The instance's webhook endpoint, over HTTP on loopback."""
        server = LoopbackServer(self._take_webhook, lambda: False)
        server.open()
        self.exits.callback(server.close)
        return f"{server.url}{WEBHOOK_PATH}"

    def _take_webhook(self, request: HubRequest) -> HubResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        outcome = self.kit.webhooks.handle(request.body, headers.get("stripe-signature"))
        return HubResponse(outcome.status, {}, b"")


@contextmanager
def stage(place: Place, shop: Shop) -> Iterator[Stage]:
    """Set everything up, and let go of it at the end."""
    with ExitStack() as exits:
        clock = shop.clock
        hub = HubSimulator(clock=clock)
        hub_url = exits.enter_context(hub.serve())
        exits.enter_context(shop.open())
        made = Stage(clock, hub, hub_url, shop, place, exits)
        made.restart()
        yield made
