"""No answer has a field that the SDK's resource classes do not have, lacks one that they need, or gets a type wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
import stripe
from pydantic import BaseModel
from tests.testing.stripe.shapes import fields_of, problems
from tests.testing.stripe.shop import Row, Shop

from kuploy_saas_kit.stripe_provision import remote


@pytest.fixture(scope="module")
def objects() -> list[Row]:
    """All that a busy shop has made and told of, as it would be answered."""
    shop = Shop()
    shop.api.products.update("kuploy_pro", {"default_price": shop.price, "description": "For teams"})
    shop.new_price(1, currency_options={"usd": {"unit_amount": 2}}, lookup_key="k")
    made = shop.subscribed()
    shop.sim.advance(timedelta(days=31))
    shop.sim.fail_payment(made)
    shop.sim.pay_invoice(made)
    shop.sim.pause(made)
    shop.sim.pay(shop.session(subscription_data={"trial_period_days": 3}))
    shop.sim.pay(shop.session(), card="3220")
    shop.sim.pay(shop.session(mode="payment", line_items=[{"price_data": _ONCE, "quantity": 1}]))
    clock = shop.api.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    shop.api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": 1_800_000_001})
    shop.api.webhook_endpoints.create({"url": "https://host.test", "enabled_events": ["*"]})
    portal = shop.api.billing_portal.sessions.create({"customer": shop.customer()})
    answers = [portal, shop.api.accounts.retrieve_current(), shop.api.country_specs.retrieve("CA")]
    for kind in ("products", "prices", "customers", "subscriptions", "invoices", "payment_intents"):
        answers += list(getattr(shop.api, kind).list({"limit": 100}).auto_paging_iter())
    answers += [
        *shop.api.checkout.sessions.list(),
        *shop.api.test_helpers.test_clocks.list(),
        *shop.api.webhook_endpoints.list(),
    ]
    answers += [*shop.api.invoice_payments.list(), *shop.api.subscription_items.list({"subscription": made})]
    answers.append(shop.api.subscriptions.retrieve(made, {"expand": ["customer", "latest_invoice.payments"]}))
    answers.append(shop.api.checkout.sessions.list({"expand": ["data.line_items"]}).data[0])
    answers.append(shop.api.payment_methods.retrieve(answers[-2].default_payment_method))
    return [*map(_plain, answers), *shop.sim.events]


_ONCE = {"currency": "cad", "product": "kuploy_pro", "unit_amount": 500}


def _plain(answer: stripe.StripeObject) -> Row:
    raw: Row = answer.to_dict(for_json=True)
    return raw


KINDS = (
    "account", "billing_portal.session", "checkout.session", "country_spec", "customer", "event", "invoice",
    "invoice_payment", "payment_intent", "payment_method", "price", "product", "subscription", "subscription_item",
    "test_helpers.test_clock", "webhook_endpoint",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_answers_have_the_fields_of_the_sdk(objects: list[Row], kind: str) -> None:
    """Of every kind there is at least one, and none is wrong."""
    found = [row for row in objects if row["object"] == kind]
    assert found
    assert sorted({problem for row in found for problem in problems(row)}) == []


def test_every_kind_of_event_is_one_of_stripes(objects: list[Row]) -> None:
    """The types are among those that the SDK lists."""
    assert {row["type"] for row in objects if row["object"] == "event"} >= {
        "billing_portal.session.created",
        "checkout.session.completed",
        "customer.subscription.paused",
        "invoice.payment_failed",
        "price.created",
        "product.updated",
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "product.colour is invented"),
        ({"name": None}, "product.name is null"),
        ({"active": "true"}, "product.active is 'true'"),
        ({"type": "toy"}, "product.type is 'toy'"),
        ({"images": ["a", 1]}, "product.images[1] is 1"),
        ({"tax_details": {"rate": 1}}, "product.tax_details.rate is invented"),
        ({"metadata": "x"}, "product.metadata is 'x'"),
    ],
)
def test_the_check_sees_what_is_wrong(objects: list[Row], change: Row, problem: str) -> None:
    """An invented, null, mistyped or foreign value does not pass."""
    product = next(row for row in objects if row["object"] == "product")
    assert problem in problems({**product, **change})


READ: tuple[tuple[type[BaseModel], type[stripe.StripeObject]], ...] = (
    (remote._Price, stripe.Price),
    (remote._Recurring, stripe.Price.Recurring),
    (remote._Product, stripe.Product),
    (remote._Subscription, stripe.Subscription),
    (remote._Item, stripe.SubscriptionItem),
    (remote._ItemPrice, stripe.Price),
    (remote._Event, stripe.Event),
    (remote._EventContent, stripe.Event.Data),
    (remote._Session, stripe.checkout.Session),
    (remote._Session, stripe.billing_portal.Session),
)


def test_what_the_kit_reads_is_there() -> None:
    """Each field that is read from an answer is one of the SDK's resource class: a slip would read its default."""
    unknown = {(read, name) for read, resource in READ for name in read.model_fields.keys() - fields_of(resource)}
    assert unknown == set()


def test_all_that_the_kit_reads_is_checked() -> None:
    """No model is left out, but those that hold no object of Stripe's own."""
    models = {value for value in vars(remote).values() if isinstance(value, type) and issubclass(value, BaseModel)}
    assert models - {read for read, _ in READ} == {BaseModel, remote._Answer, remote._Items, remote._Thing}


def test_the_check_sees_what_is_missing(objects: list[Row]) -> None:
    """A field that the SDK's class always has must be there."""
    product = next(row for row in objects if row["object"] == "product")
    del (shorter := dict(product))["name"]
    assert problems(shorter) == ["product.name is missing"]
    assert problems({"object": "dog"}) == ["the SDK knows no dog"]
