"""Billing portal sessions."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.refusals import invalid, missing_param
from kuploy_saas_kit.testing.stripe.space import Row, Space

_NO_CONFIGURATION = (
    "No configuration provided and your {mode} mode default configuration has not been created. Provide a "
    "configuration or create your default by saving your customer portal settings in {mode} mode at https://dashboard.stripe.com/settings/billing/portal."
)


def create(space: Space, call: Call) -> Row:
    """`POST /v1/billing_portal/sessions`."""
    if "customer" not in call.params:
        raise missing_param("customer")
    customer = space.find("customer", call.params["customer"], param="customer")
    if not space.world.settings.has_portal and "configuration" not in call.params:
        raise invalid(_NO_CONFIGURATION.format(mode="live" if space.livemode else "test"))
    id_ = space.world.new_id("bps")
    row: Row = {
        "id": id_,
        "object": "billing_portal.session",
        "configuration": call.get("configuration", f"bpc_{space.world.account}"),
        "created": space.now,
        "customer": customer["id"],
        "customer_account": None,
        "flow": None,
        "livemode": space.livemode,
        "locale": call.get("locale"),
        "on_behalf_of": call.get("on_behalf_of"),
        "return_url": call.get("return_url"),
        "url": f"https://billing.stripe.com/p/session/{id_}",
    }
    return space.add(row, "billing_portal.session.created")
