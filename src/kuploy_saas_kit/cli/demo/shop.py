"""Where the demo's money is made: Stripe's simulator on loopback, or Stripe's own test mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.stripe_provision import CheckoutSession, StripeGateway, StripeKeys
from kuploy_saas_kit.stripe_provision.ports import RemotePrice, RemoteProduct
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.stripe import StripeSimulator
from kuploy_saas_kit.testing.stripe.testmode import TestModeBuyer

SIMULATED_KEY: Final = "sk_test_demo"
GOOD_CARD: Final = "4242424242424242"


class Shop(Protocol):
    """Stripe as the story needs it, beside what the kit itself does there."""

    name: str
    clock: ManualClock

    @property
    def namespace(self) -> str | None:
        """What tells the demo's objects from others of the account; None lets the kit choose."""

    @property
    def base_url(self) -> str | None:
        """Where the kit finds Stripe; None for Stripe itself."""

    def keys(self, webhook_secret: str) -> StripeKeys:
        """What the operator enters on the billing page."""

    def open(self) -> AbstractContextManager[None]:
        """Be there until the block ends."""

    def listen(self, url: str, secret: str) -> None:
        """Send events to *url*."""

    def pay(self, session: CheckoutSession) -> None:
        """Pay as the buyer would, with a good card."""

    def deliver(self) -> list[int | None] | None:
        """Deliver all events, twice and in reverse, and say how each was answered; None where Stripe cannot."""

    def calls(self) -> int | None:
        """Requests so far; None where they cannot be counted."""


class SimulatedShop:
    """The simulator on loopback."""

    name = "the Stripe simulator"
    namespace = None

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self._stripe = StripeSimulator(clock=clock)
        self._url: str | None = None

    @property
    def base_url(self) -> str | None:
        return self._url

    def keys(self, webhook_secret: str) -> StripeKeys:
        return StripeKeys(secret=SIMULATED_KEY, publishable="pk_test_demo", webhook_secrets=(webhook_secret,))

    @contextmanager
    def open(self) -> Iterator[None]:
        with self._stripe.serve() as url:
            self._url = url
            yield

    def listen(self, url: str, secret: str) -> None:
        self._stripe.endpoint(url, secret=secret)

    def pay(self, session: CheckoutSession) -> None:
        self._stripe.pay(session.id, card=GOOD_CARD)

    def deliver(self) -> list[int | None] | None:
        return [delivery.status for delivery in self._stripe.deliver(order="reversed", duplicates=2)]

    def calls(self) -> int | None:
        return len(self._stripe.requests)


class TestModeShop:
    """Stripe's own test mode. It cannot deliver webhooks to this machine, so the kit asks instead."""

    __test__ = False  # pytest: this is no test class

    name = "Stripe's test mode"
    namespace = "kuploy-demo"

    def __init__(self, key: str, clock: ManualClock, *, base_url: str | None = None) -> None:
        self.clock = clock
        self.base_url = base_url
        self._key = key
        self._buyer = TestModeBuyer(key, base_url=base_url)

    def keys(self, webhook_secret: str) -> StripeKeys:
        return StripeKeys(secret=self._key, webhook_secrets=(webhook_secret,))

    def open(self) -> AbstractContextManager[None]:
        return nullcontext()

    def listen(self, url: str, secret: str) -> None:
        """Nothing: Stripe does not reach this machine."""

    def pay(self, session: CheckoutSession) -> None:
        self._buyer.buy(session.id)

    def deliver(self) -> list[int | None] | None:
        return None

    def calls(self) -> int | None:
        return None


def test_mode_shop(environ: Mapping[str, str], clock: ManualClock) -> TestModeShop:
    """The shop for `STRIPE_TEST_KEY`; anything but a test key is refused."""
    key = environ.get("STRIPE_TEST_KEY", "").strip()
    if not key:
        raise ConfigurationError("--stripe-test needs a key: set STRIPE_TEST_KEY=sk_test_… (never a live one)")
    if not key.startswith("sk_test_"):
        raise ConfigurationError("STRIPE_TEST_KEY must begin with sk_test_: the demo never touches live data")
    return TestModeShop(key, clock)


def products_and_prices(gateway: StripeGateway, prefix: str) -> tuple[list[RemoteProduct], list[RemotePrice]]:
    """What is on sale at Stripe under the instance's namespace."""
    found = gateway.catalog(prefix)
    products = [product for product in found.products if product.active]
    offered = {product.id for product in products}
    return products, [price for price in found.prices if price.product in offered]
