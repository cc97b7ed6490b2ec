"""What provisioning costs in calls, and how fast webhooks are verified and parsed, beside Stripe's own package.

    python benchmarks/provision.py

Calls are counted against the simulator and do not depend on the machine. The throughputs do; their ratio hardly: each
round times both, in turn, by the thread's own clock, and the ratio is taken inside the round. Nothing here enforces a
target.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from statistics import median
from time import thread_time

import stripe
from _targets import Target, table

from kuploy_saas_kit._clock import to_timestamp
from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.stripe_provision import StripeGateway, StripeProvisioner
from kuploy_saas_kit.stripe_provision.remote import parse_event
from kuploy_saas_kit.stripe_provision.signature import verify_signature
from kuploy_saas_kit.testing.stripe import StripeSimulator

PLANS = 1000
SECRET = "whsec_benchmark"  # noqa: S105 - it opens nothing
ROUNDS = 15
BATCH = 500


def catalog(last_amount: int = 0) -> PlanCatalog:
    """A default plan and a thousand that are sold; the last one costs *last_amount* more."""
    last = PLANS - 1
    amounts = [100 + number + (last_amount if number == last else 0) for number in range(PLANS)]
    sold = (Plan(f"plan-{n:04d}", f"Plan {n}", Price(amount, "cad")) for n, amount in enumerate(amounts))
    return PlanCatalog([Plan("free", "Free", is_default=True), *sold])


def calls_of_provisioning() -> dict[str, int]:
    """Calls of the first run, of one where nothing changed, of a drift check, and of one price that changed."""
    sim = StripeSimulator()
    gateway = StripeGateway.from_key("sk_test_sim", http_client=sim.http_client())
    provisioner = StripeProvisioner(gateway, MemoryStore())
    counts = {}
    runs = (
        ("first", catalog(), False),
        ("unchanged", catalog(), False),
        ("drift check", catalog(), True),
        ("one price", catalog(last_amount=1), False),
    )
    for name, wanted, force in runs:
        sim.requests.clear()
        assert provisioner.provision(wanted, force=force).is_complete
        counts[name] = len(sim.requests)
    return counts


def event_body() -> bytes:
    """A `customer.subscription.created` event of the usual size, as the simulator makes it."""
    sim = StripeSimulator()
    v1 = sim.client().v1
    product = v1.products.create({"name": "Pro"})
    price = v1.prices.create(
        {"product": product.id, "currency": "cad", "unit_amount": 2000, "recurring": {"interval": "month"}}
    )
    session = v1.checkout.sessions.create(
        {
            "mode": "subscription",
            "line_items": [{"price": price.id, "quantity": 1}],
            "success_url": "https://shop.test/ok",
        }
    )
    sim.pay(session.id)
    return json.dumps(next(found for found in sim.events if found["type"] == "customer.subscription.created")).encode()


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds a delivery in each round, of the kit and of Stripe's package."""

    size: int
    rounds: list[tuple[float, float]]

    @property
    def ratio(self) -> float:
        """How many deliveries the kit handles while the package handles one: the median over the rounds."""
        return median(package / kit for kit, package in self.rounds)

    @property
    def throughputs(self) -> tuple[float, float]:
        """Deliveries a second of the kit and of the package: the medians."""
        kit, package = zip(*self.rounds, strict=True)
        return 1 / median(kit), 1 / median(package)


def seconds(handle: Callable[[], object]) -> float:
    """How long one call of *handle* takes this thread."""
    start = thread_time()
    for _ in range(BATCH):
        handle()
    return (thread_time() - start) / BATCH


def webhook_race() -> Race:
    """The kit and Stripe's package verify and parse the same delivery."""
    body, now = event_body(), datetime.now(UTC)
    digest = hmac.new(SECRET.encode(), f"{to_timestamp(now)}.".encode() + body, hashlib.sha256).hexdigest()
    header = f"t={to_timestamp(now)},v1={digest}"

    def ours() -> object:
        verify_signature(body, header, [SECRET], now)
        return parse_event(body)

    def package() -> object:
        return stripe.Webhook.construct_event(body, header, SECRET)

    seconds(ours), seconds(package)  # both are warm before the first round
    return Race(len(body), [(seconds(ours), seconds(package)) for _ in range(ROUNDS)])


def targets(calls: dict[str, int], race: Race) -> Iterator[Target]:
    """What was promised."""
    yield Target("unchanged catalog", calls["unchanged"], 0, "calls")
    yield Target("drift check", calls["drift check"], ceil(PLANS / 100) + 2, "calls")
    yield Target("first provisioning", calls["first"] / PLANS, 4, "calls a plan")
    yield Target("webhooks, of construct_event", race.ratio, 5, "x", at_least=True)


def main() -> None:
    """Run everything and print it."""
    calls, race = calls_of_provisioning(), webhook_race()
    kit, package = race.throughputs
    print(f"stripe {stripe.VERSION}, {PLANS:,} plans, an event of {race.size:,} bytes\n")
    print(table(("run", "calls"), [(name, f"{count:,}") for name, count in calls.items()]), "\n")
    deliveries = [("kit", f"{kit:,.0f}"), ("stripe.Webhook.construct_event", f"{package:,.0f}")]
    print(table(("verified and parsed by", "deliveries a second"), deliveries), "\n")
    print(table(("what", "measured", "target", "held"), (one.row for one in targets(calls, race))))


if __name__ == "__main__":
    main()
