"""What provisioning costs in calls, and how fast webhooks are verified and parsed, beside Stripe's own package.

    python benchmarks/provision.py

Calls are counted against the simulator and do not depend on the machine. The throughputs do; their ratio hardly.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

import stripe

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
ROUNDS = 5
BATCH = 1000


def catalog(first_amount: int = 100) -> PlanCatalog:
    """A default plan and a thousand that are sold."""
    sold = (Plan(f"plan-{n:04d}", f"Plan {n}", Price(first_amount + n, "cad")) for n in range(PLANS))
    return PlanCatalog([Plan("free", "Free", is_default=True), *sold])


def calls_of_provisioning() -> dict[str, int]:
    """Calls of the first run, of one where nothing changed, and of a drift check."""
    sim = StripeSimulator()
    gateway = StripeGateway.from_key("sk_test_sim", http_client=sim.http_client())
    provisioner = StripeProvisioner(gateway, MemoryStore())
    counts = {}
    for name, force in (("first", False), ("unchanged", False), ("drift check", True)):
        sim.requests.clear()
        assert provisioner.provision(catalog(), force=force).is_complete
        counts[name] = len(sim.requests)
    assert counts["first"] <= 4 * PLANS
    assert counts["unchanged"] == 0
    assert counts["drift check"] <= PLANS // 100 + 2
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


def throughput(handle: Callable[[], object]) -> float:
    """Calls of *handle* a second, the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(BATCH):
            handle()
        best = max(best, BATCH / (perf_counter() - start))
    return best


def webhook_throughput() -> dict[str, float]:
    """Deliveries a second that are verified and parsed, by the kit and by Stripe's package."""
    body, now = event_body(), datetime.now(UTC)
    digest = hmac.new(SECRET.encode(), f"{to_timestamp(now)}.".encode() + body, hashlib.sha256).hexdigest()
    header = f"t={to_timestamp(now)},v1={digest}"

    def ours() -> object:
        verify_signature(body, header, [SECRET], now)
        return parse_event(body)

    kit = throughput(ours)
    package = throughput(lambda: stripe.Webhook.construct_event(body, header, SECRET))
    assert kit >= 5 * package
    return {"bytes": len(body), "kit": kit, "stripe.Webhook.construct_event": package, "ratio": kit / package}


if __name__ == "__main__":
    for title, figures in (
        ("calls for 1,000 plans", calls_of_provisioning()),
        ("deliveries a second", webhook_throughput()),
    ):
        print(title)
        for label, figure in figures.items():
            print(f"  {label:<32}{figure:>12,.0f}")
