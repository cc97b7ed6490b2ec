"""An instance as its operator has it: a database in a folder, settings in the environment, hub and Stripe out there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.kit.world import CATALOG, KEYS, World

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.cli import main, wiring
from kuploy_saas_kit.cli.wiring import Stores
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.hub import HubSimulator
from kuploy_saas_kit.testing.stripe import StripeSimulator

SECRET_KEY = KEYS.secret


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def one_line(self) -> str:
        """The error; there is exactly one line of it, and no traceback."""
        assert self.err.startswith("kuploy-saas-kit: ")
        assert self.err.count("\n") == 1
        return self.err


@dataclass
class Instance:
    """An instance and its operator's terminal."""

    world: World
    database: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    @property
    def url(self) -> str:
        """The address of the database."""
        return f"sqlite:///{self.database}"

    def run(self, *arguments: str) -> Ran:
        """Run a command."""
        self.capsys.readouterr()
        status = main(arguments)
        out, err = self.capsys.readouterr()
        assert self.world.license_key not in out + err
        assert SECRET_KEY not in out + err
        return Ran(status, out, err)

    def set(self, **variables: str) -> None:
        """Set variables of the environment."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def linked(self) -> None:
        """Configure the license key and Stripe's keys, and make the tables; no host has run."""
        self.set(LICENSE_KEY=self.world.license_key, STRIPE_SECRET_KEY=SECRET_KEY, STRIPE_WEBHOOK_SECRET="whsec_kit")
        self.world.store = self.store()

    def licensed(self) -> None:
        """A linked instance whose host ran once."""
        self.linked()
        kit = self.world.kit()
        self.world.keys = None  # nothing is provisioned yet
        assert kit.run_once().sync.ok
        self.world.keys = KEYS
        self.world.store.close()
        self.world.stripe.requests.clear()

    def store(self) -> SqlStore:
        """The database, with its tables."""
        store = SqlStore.from_url(self.url)
        store.migrate()
        self.world.exits.callback(store.close)
        return store


@contextmanager
def make_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Instance]:
    """An instance without license and tables; the hub has a Growth license and two plans for it."""
    with ExitStack() as exits:
        clock = ManualClock(SystemClock().now().replace(microsecond=0))
        hub, stripe = HubSimulator(clock=clock), StripeSimulator(clock=clock)
        hub_url, stripe_url = exits.enter_context(hub.serve()), exits.enter_context(stripe.serve())
        world = World(clock, hub, hub_url, stripe, stripe_url, exits)
        world.tenant_id = hub.add_tenant("Acme Hosting")
        world.license_key = hub.issue_license(world.tenant_id, tier="growth")
        hub.set_catalog(world.tenant_id, CATALOG)
        made = Instance(world, tmp_path / "kit.db", capsys, monkeypatch)
        pinned = ",".join(f"{kid}={key}" for kid, key in hub.trusted_keys.items())
        made.set(LICENSE_HUB_URL=hub_url, LICENSE_TRUSTED_KEYS=pinned, KUPLOY_STORE=made.url)

        def kit_in_this_world(stores: Stores, *, namespace: str | None = None) -> SaasKit:
            return SaasKit.from_env(
                stores.main,
                license_store=stores.license,
                usage_store=stores.usage,
                namespace=namespace,
                stripe_base_url=stripe_url,
                clock=clock,
            )

        monkeypatch.setattr(wiring, "make_kit", kit_in_this_world)
        monkeypatch.chdir(tmp_path)
        yield made
