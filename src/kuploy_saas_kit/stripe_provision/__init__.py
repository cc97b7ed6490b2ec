"""The plan catalog in Stripe, and subscriptions out of it. Importing this loads nothing third-party."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
    from kuploy_saas_kit.stripe_provision.apply import PlanOutcome, PlanResult, ProvisionReport, StripeProvisioner
    from kuploy_saas_kit.stripe_provision.changes import Change
    from kuploy_saas_kit.stripe_provision.checkout import Checkout, CheckoutSession, SessionKind
    from kuploy_saas_kit.stripe_provision.diff import provision_changes
    from kuploy_saas_kit.stripe_provision.gateway import StripeGateway
    from kuploy_saas_kit.stripe_provision.keys import StripeKeys
    from kuploy_saas_kit.stripe_provision.naming import namespace_for
    from kuploy_saas_kit.stripe_provision.ports import StripePort
    from kuploy_saas_kit.stripe_provision.subscriptions import Alarm
    from kuploy_saas_kit.stripe_provision.webhooks import (
        BillingNotice,
        NoticeKind,
        ResyncReport,
        StripeWebhooks,
        SubscriptionSync,
        WebhookOutcome,
        WebhookResult,
    )

__all__ = [
    "Alarm",
    "BillingNotice",
    "Change",
    "Checkout",
    "CheckoutSession",
    "NoticeKind",
    "OrgSubscription",
    "PlanOutcome",
    "PlanResult",
    "ProvisionReport",
    "ResyncReport",
    "SessionKind",
    "StripeGateway",
    "StripeKeys",
    "StripePort",
    "StripeProvisioner",
    "StripeSpace",
    "StripeWebhooks",
    "SubscriptionSync",
    "WebhookOutcome",
    "WebhookResult",
    "namespace_for",
    "provision_changes",
]

_ROOM = "kuploy_saas_kit.stripe_provision"
_HOMES = {
    "Alarm": f"{_ROOM}.subscriptions",
    "BillingNotice": f"{_ROOM}.webhooks",
    "Change": f"{_ROOM}.changes",
    "Checkout": f"{_ROOM}.checkout",
    "CheckoutSession": f"{_ROOM}.checkout",
    "NoticeKind": f"{_ROOM}.webhooks",
    "OrgSubscription": "kuploy_saas_kit.model.subscription",
    "PlanOutcome": f"{_ROOM}.apply",
    "PlanResult": f"{_ROOM}.apply",
    "ProvisionReport": f"{_ROOM}.apply",
    "ResyncReport": f"{_ROOM}.webhooks",
    "SessionKind": f"{_ROOM}.checkout",
    "StripeGateway": f"{_ROOM}.gateway",
    "StripeKeys": f"{_ROOM}.keys",
    "StripePort": f"{_ROOM}.ports",
    "StripeProvisioner": f"{_ROOM}.apply",
    "StripeSpace": "kuploy_saas_kit.model.subscription",
    "StripeWebhooks": f"{_ROOM}.webhooks",
    "SubscriptionSync": f"{_ROOM}.webhooks",
    "WebhookOutcome": f"{_ROOM}.webhooks",
    "WebhookResult": f"{_ROOM}.webhooks",
    "namespace_for": f"{_ROOM}.naming",
    "provision_changes": f"{_ROOM}.diff",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
