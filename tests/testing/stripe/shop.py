"""What the tests of the simulator sell, and how a refusal is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe

from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.stripe import Quirks, StripeSimulator

Row = dict[str, Any]
MONTHLY: Row = {"interval": "month"}


@dataclass
class Shop:
    """A simulator with one product and a monthly price of 20.00 CAD."""

    clock: ManualClock = field(default_factory=ManualClock)
    quirks: Quirks = field(default_factory=Quirks)

    def __post_init__(self) -> None:
        self.sim = StripeSimulator(clock=self.clock, quirks=self.quirks)
        self.api: Any = self.sim.client().v1
        self.product = self.api.products.create({"id": "kuploy_pro", "name": "Pro"}).id
        self.price = self.new_price(2000)

    def new_price(self, amount: int, **params: Any) -> str:
        """Another price of the product."""
        fields = {"product": self.product, "currency": "cad", "unit_amount": amount, "recurring": MONTHLY, **params}
        return str(self.api.prices.create(fields).id)

    def customer(self, **params: Any) -> str:
        """A new customer."""
        return str(self.api.customers.create({"email": "owner@acme.test", **params}).id)

    def session(self, **params: Any) -> str:
        """A new checkout session for the price."""
        fields: Row = {
            "mode": "subscription",
            "success_url": "https://host.test/done",
            "line_items": [{"price": self.price, "quantity": 1}],
        }
        return str(self.api.checkout.sessions.create({**fields, **params}).id)

    def subscribed(self, **params: Any) -> str:
        """A subscription that was paid through checkout."""
        return str(self.sim.pay(self.session(**params))["subscription"])

    def status(self, subscription: str) -> str:
        """The status of a subscription, asked for through the API."""
        return str(self.api.subscriptions.retrieve(subscription).status)

    def invoices(self, subscription: str) -> list[str]:
        """The statuses of a subscription's invoices, oldest first."""
        return [str(row.status) for row in self.api.invoices.list({"subscription": subscription})][::-1]

    def told(self) -> list[str]:
        """The types of the events so far, and forgets none."""
        return [event["type"] for event in self.sim.events]


def refused(do: Callable[..., object], *args: Any) -> Row:
    """The error object of a request that Stripe refuses, with its HTTP status."""
    with pytest.raises(stripe.StripeError) as caught:
        do(*args)
    body = caught.value.json_body
    assert isinstance(body, dict)
    return {**body["error"], "status": caught.value.http_status}
