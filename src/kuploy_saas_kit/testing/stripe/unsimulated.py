"""Where the simulator ends: parameters that Stripe takes and that nothing here acts on."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.space import Row

_PARAMS = frozenset(
    (
        "add_invoice_items",
        "application_fee_percent",
        "backdate_start_date",
        "billing_cycle_anchor_config",
        "billing_schedules",
        "billing_thresholds",
        "discounts",
        "forgive",
        "invoice_creation",
        "optional_items",
        "pending_invoice_item_interval",
        "shipping_options",
        "source",
        "tax_id_data",
        "transfer_data",
    )
)


class UnsimulatedError(NotImplementedError):
    """The request is good at Stripe, and the simulator cannot play it out; it says so and invents nothing."""


def require_simulated(method: str, path: str, params: Row) -> None:
    """Raise for a parameter that would have to be ignored."""
    for name in params:
        if name in _PARAMS or (name == "collection_method" and method == "POST" and params[name] == "send_invoice"):
            raise UnsimulatedError(f"the Stripe simulator does not play out {name!r} of {method} {path}")
