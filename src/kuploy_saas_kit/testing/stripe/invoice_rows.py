"""What a new invoice, its lines and its payment look like."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.space import Row, Space

_NEVER_SET = (
    "account_name", "account_tax_ids", "application", "automatically_finalizes_at", "custom_fields",
    "customer_account", "customer_address", "customer_name", "customer_phone", "customer_shipping",
    "default_payment_method", "default_source", "description", "due_date", "effective_at", "ending_balance",
    "footer", "from_invoice", "hosted_invoice_url", "invoice_pdf", "last_finalization_error", "latest_revision",
    "next_payment_attempt", "number", "on_behalf_of", "receipt_number", "rendering", "shipping_cost",
    "shipping_details", "statement_descriptor", "threshold_reason", "webhooks_delivered_at",
)  # fmt: skip
_ZEROES = (
    "amount_overpaid", "amount_paid", "amount_shipping", "attempt_count", "post_payment_credit_notes_amount",
    "pre_payment_credit_notes_amount", "starting_balance",
)  # fmt: skip


def new_invoice(space: Space, subscription: Row, items: list[Row], *, reason: str, period: tuple[int, int]) -> Row:
    """A draft for *items* of a subscription; *period* is the one that has passed, as on Stripe's invoices.

    A trial costs nothing.
    """
    id_ = space.world.new_id("in")
    lines = [_line(space, subscription, item, id_) for item in items]
    total = sum(line["amount"] for line in lines)
    nothing: Row = dict.fromkeys(_NEVER_SET)
    zeroes: Row = dict.fromkeys(_ZEROES, 0)
    return {
        "id": id_,
        "object": "invoice",
        **nothing,
        **zeroes,
        **_amounts(total),
        "account_country": space.world.settings.country,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": reason,
        "collection_method": subscription["collection_method"],
        "created": space.now,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "customer_email": space.table("customer").get(subscription["customer"], {}).get("email"),
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "lines": lines,
        "livemode": space.livemode,
        "metadata": {},
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": dict(subscription["metadata"]), "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": period[1],
        "period_start": period[0],
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "test_clock": subscription["test_clock"],
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def _amounts(total: int) -> Row:
    names = ("amount_due", "amount_remaining", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax")
    return dict.fromkeys(names, total)


def _line(space: Space, subscription: Row, item: Row, invoice: str) -> Row:
    price = space.table("price")[item["price"]]
    free = subscription["status"] == "trialing"
    amount = 0 if free else (price["unit_amount"] or 0) * (item["quantity"] or 0)
    return {
        "id": space.world.new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": space.table("product")[price["product"]]["name"],
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice,
        "livemode": space.livemode,
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": item["quantity"],
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    }


def new_intent(space: Space, *, amount: int, currency: str, customer: str | None) -> Row:
    """A payment intent that still needs a payment method."""
    id_ = space.world.new_id("pi")
    nothing = (
        "application", "application_fee_amount", "canceled_at", "cancellation_reason", "description",
        "last_payment_error", "latest_charge", "next_action", "on_behalf_of", "payment_method", "processing",
        "receipt_email", "review", "setup_future_usage", "shipping", "statement_descriptor",
        "statement_descriptor_suffix", "transfer_data", "transfer_group",
    )  # fmt: skip
    return {
        "id": id_,
        "object": "payment_intent",
        **dict.fromkeys(nothing),
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{id_}_secret_sim",
        "confirmation_method": "automatic",
        "created": space.now,
        "currency": currency,
        "customer": customer,
        "livemode": space.livemode,
        "metadata": {},
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
    }


def new_payment(space: Space, invoice: Row, intent: Row) -> Row:
    """The link between an invoice and the payment intent that pays it."""
    return {
        "id": space.world.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": space.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": space.livemode,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
