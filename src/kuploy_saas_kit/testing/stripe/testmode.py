"""A buyer in Stripe's own test mode: what a person with the card 4242… does on the Checkout page, by API."""

from __future__ import annotations

import stripe

from kuploy_saas_kit.errors import ConfigurationError

GOOD_CARD = "pm_card_visa"
"""Stripe's test payment method for the card 4242 4242 4242 4242."""


class TestModeBuyer:
    """Pays in the test mode that *key* belongs to; a live key is refused. *base_url* points to a simulator."""

    __test__ = False  # pytest: this is no test class

    def __init__(self, key: str, *, base_url: str | None = None) -> None:
        if not key.startswith(("sk_test_", "rk_test_")):
            raise ConfigurationError("a buyer pays with test keys only (sk_test_… or rk_test_…)")
        self._client = stripe.StripeClient(key, base_addresses={"api": base_url} if base_url else {})

    def buy(self, session_id: str) -> str:
        """Subscribe the customer of an open session to what it sells, as its metadata says, and close the session.

        Checkout pages can only be completed in a browser, so the subscription is made beside the session. Returns
        the subscription's id.
        """
        v1 = self._client.v1
        session = v1.checkout.sessions.retrieve(session_id, {"expand": ["line_items"]})
        price = session.line_items.data[0].price if session.line_items is not None else None
        if price is None or not isinstance(session.customer, str):
            raise ConfigurationError(f"session {session_id} is not one of the kit's: it lacks a customer or a price")
        method = v1.payment_methods.attach(GOOD_CARD, {"customer": session.customer})
        subscription = v1.subscriptions.create(
            {
                "customer": session.customer,
                "items": [{"price": price.id}],
                "default_payment_method": method.id,
                "metadata": dict(session.metadata.to_dict() if session.metadata else {}),
            }
        )
        v1.checkout.sessions.expire(session_id)
        return subscription.id
