"""API keys: what their prefix says, and what a restricted one may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kuploy_saas_kit.testing.stripe.refusals import RefusalError, forbidden, masked, unauthorized

Access = Literal["read", "write"]

PERMISSIONS = {
    "account": "rak_accounts_kyc_basic",
    "billing_portal": "rak_customer_portal",
    "checkout_sessions": "rak_checkout_session",
    "country_specs": "rak_country_spec",
    "customers": "rak_customer",
    "events": "rak_event",
    "invoices": "rak_invoice",
    "payment_intents": "rak_payment_intent",
    "payment_methods": "rak_payment_method",
    "prices": "rak_plan",
    "products": "rak_product",
    "subscriptions": "rak_subscription",
    "test_clocks": "rak_billing_clock",
    "webhook_endpoints": "rak_webhook",
}
"""What an operator ticks when making a restricted key, and the name that Stripe's refusals use for it."""

_SECRET = ("sk_test_", "sk_live_", "rk_test_", "rk_live_")


@dataclass(slots=True)
class KeyRing:
    """The keys of one account that differ from the rule that every well-formed secret key may do everything."""

    account: str
    permissions: dict[str, Mapping[str, Access]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)

    def restrict(self, key: str, permissions: Mapping[str, Access]) -> None:
        """Let *key* do only this."""
        unknown = sorted(permissions.keys() - PERMISSIONS.keys())
        if unknown:
            raise ValueError(f"no such permission: {', '.join(unknown)}; there are {', '.join(PERMISSIONS)}")
        self.permissions[key] = dict(permissions)

    def check(self, key: str) -> None:
        """Refuse a key that may not call the API at all."""
        if not key:
            raise unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, "
                "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            )
        if key.startswith("pk_"):
            message = "This API call cannot be made with a publishable API key. Please use a secret API key."
            raise unauthorized(message, code="secret_key_required")
        if not key.startswith(_SECRET):
            raise invalid_key(key)
        if key in self.revoked:
            raise unauthorized(f"Expired API Key provided: {masked(key)}", code="api_key_expired")

    def require(self, key: str, area: str, access: Access) -> None:
        """Refuse what a restricted key may not do."""
        permissions = self.permissions.get(key)
        if permissions is not None and permissions.get(area) not in (access, "write"):
            raise forbidden(key, self.account, f"{PERMISSIONS[area]}_{access}")


def invalid_key(key: str) -> RefusalError:
    """The 401 for a key that Stripe does not know."""
    return unauthorized(f"Invalid API Key provided: {masked(key)}")


def is_live(key: str) -> bool:
    """Whether *key* reaches live data."""
    return key.split("_")[1:2] == ["live"]
