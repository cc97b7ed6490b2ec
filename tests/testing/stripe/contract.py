"""What the kit relies on at Stripe, as checks that run against the simulator and, with a key, against Stripe itself.

`STRIPE_TEST_KEY=sk_test_… python tests/testing/stripe/contract.py` plays them in Stripe's test mode.
What they make there is archived or deleted again; a live key is refused.
"""

from __future__ import annotations

import os
import secrets
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import stripe

Row = dict[str, Any]
MONTHLY: Row = {"interval": "month"}
PATIENCE = 60


@dataclass
class Stage:
    """An account in test mode, and a mark that makes this run's ids its own."""

    client: stripe.StripeClient
    mark: str
    pause: Callable[[], object] = lambda: None
    products: list[str] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api: Any = self.client.v1

    def name(self, what: str) -> str:
        """An id or key of this run."""
        return f"kitcontract_{self.mark}_{what}"

    def product(self, what: str, **params: Any) -> Any:
        """A new product with a chosen id."""
        self.products.append(self.name(what))
        return self.api.products.create({"id": self.name(what), "name": what, **params})

    def price(self, product: str, amount: int = 2000, **params: Any) -> Any:
        """A new monthly price."""
        fields = {"product": product, "currency": "cad", "unit_amount": amount, "recurring": MONTHLY, **params}
        return self.api.prices.create(fields)

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> str:
        """A new customer on a test clock of its own, with a stored card."""
        clock = self.api.test_helpers.test_clocks.create({"frozen_time": 1_790_000_000})
        self.clocks.append(clock.id)
        stored = {} if card is None else {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
        return str(self.api.customers.create({"test_clock": clock.id, **stored, **params}).id)

    def refused(self, do: Callable[..., object], *args: Any) -> Row:
        """The error object of a refusal, with its HTTP status."""
        try:
            do(*args)
        except stripe.StripeError as error:
            body: Any = error.json_body
            return {**body["error"], "status": error.http_status}
        raise AssertionError("it was not refused")

    def until(self, holds: Callable[[], bool]) -> None:
        """Ask until it holds; what Stripe does in the background takes seconds."""
        for _ in range(PATIENCE):
            if holds():
                return
            self.pause()
        raise AssertionError("it did not come to be")

    def clean(self) -> None:
        """Archive or delete what was made."""
        for clock in self.clocks:
            self.api.test_helpers.test_clocks.delete(clock)
        for product in self.products:
            try:
                self.api.products.update(product, {"active": False})
            except stripe.InvalidRequestError:
                continue  # deleted by its own check


def product_ids_are_chosen_and_taken_once(stage: Stage) -> None:
    """A chosen id reads back, and a second product under it is refused by code."""
    made = stage.product("chosen", metadata={"kuploy_plan": "pro"})
    assert stage.api.products.retrieve(made.id).metadata.to_dict() == {"kuploy_plan": "pro"}
    error = stage.refused(stage.api.products.create, {"id": made.id, "name": "again"})
    assert (error["status"], error["code"]) == (400, "resource_already_exists")
    error = stage.refused(stage.api.products.retrieve, stage.name("nobody"))
    assert (error["status"], error["code"]) == (404, "resource_missing")


def metadata_merges_and_empties(stage: Stage) -> None:
    """Keys merge; an empty value drops its key; a description is cleared by an empty string."""
    made = stage.product("metadata", metadata={"a": "1", "b": "2"}, description="text")
    changed = stage.api.products.update(made.id, {"metadata": {"a": "", "c": "3"}, "description": ""})
    assert (changed.metadata.to_dict(), changed.description) == ({"b": "2", "c": "3"}, None)


def products_with_prices_stay(stage: Stage) -> None:
    """Only a product without prices is deleted, and then it is gone."""
    kept, gone = stage.product("kept"), stage.product("gone")
    stage.price(kept.id)
    assert stage.refused(stage.api.products.delete, kept.id)["status"] == 400
    assert stage.api.products.delete(gone.id).deleted
    assert stage.refused(stage.api.products.retrieve, gone.id)["status"] == 404


def products_are_listed_by_ids_with_their_default_price(stage: Stage) -> None:
    """One request finds many products and opens their default prices."""
    made = stage.product("listed")
    price = stage.price(made.id)
    stage.api.products.update(made.id, {"default_price": price.id})
    (found,) = stage.api.products.list({"ids": [made.id], "expand": ["data.default_price"]}).data
    assert (found.default_price.id, found.default_price.unit_amount) == (price.id, 2000)
    assert "cannot be expanded" in stage.refused(stage.api.products.list, {"expand": ["default_price"]})["message"]


def lookup_keys_are_unique_even_against_archived_holders(stage: Stage) -> None:
    """A taken key is refused with its parameter named, whatever has become of its holder."""
    product, key = stage.product("keys").id, stage.name("key")
    holder = stage.price(product, lookup_key=key)
    for _ in range(2):
        create = {"product": product, "currency": "cad", "unit_amount": 1, "lookup_key": key}
        error = stage.refused(stage.api.prices.create, create)
        assert (error["status"], error["param"]) == (400, "lookup_key")
        assert holder.id in error["message"]
        stage.api.prices.update(holder.id, {"active": False})
    assert stage.api.prices.update(holder.id, {"active": True, "lookup_key": key}).lookup_key == key


def lookup_keys_are_transferred_and_found(stage: Stage) -> None:
    """A transfer clears the holder's key and leaves it active; a list by key sees it at once."""
    product, key = stage.product("transfer").id, stage.name("moved")
    holder = stage.price(product, 1, lookup_key=key)
    taker = stage.price(product, 2, lookup_key=key, transfer_lookup_key=True)
    old = stage.api.prices.retrieve(holder.id)
    assert (old.lookup_key, old.active) == (None, True)
    assert [row.id for row in stage.api.prices.list({"lookup_keys": [key], "active": True})] == [taker.id]


def archived_prices_are_listed_on_request(stage: Stage) -> None:
    """`active` tells the two apart."""
    product = stage.product("archived").id
    active, archived = stage.price(product, 1), stage.price(product, 2)
    stage.api.prices.update(archived.id, {"active": False})
    for state, expected in ((True, active), (False, archived)):
        listed = stage.api.prices.list({"product": product, "active": state})
        assert [row.id for row in listed] == [expected.id]


def the_default_price_cannot_be_archived(stage: Stage) -> None:
    """It is refused until the default has moved on."""
    product = stage.product("default").id
    old, new = stage.price(product, 1), stage.price(product, 2)
    stage.api.products.update(product, {"default_price": old.id})
    error = stage.refused(stage.api.prices.update, old.id, {"active": False})
    assert (error["status"], "default price" in error["message"]) == (400, True)
    stage.api.products.update(product, {"default_price": new.id})
    assert not stage.api.prices.update(old.id, {"active": False}).active
    assert stage.api.products.update(product, {"default_price": ""}).default_price is None


def amounts_are_minor_units_and_never_change(stage: Stage) -> None:
    """5000 XOF are 5000, nothing is a price too, and an amount is no parameter of an update."""
    product = stage.product("amounts").id
    francs, free = stage.price(product, 5000, currency="xof"), stage.price(product, 0)
    assert (francs.unit_amount, str(francs.unit_amount_decimal)) == (5000, "5000")
    assert free.unit_amount == 0
    error = stage.refused(stage.api.prices.update, francs.id, {"unit_amount": 1})
    assert (error["status"], error["code"]) == (400, "parameter_unknown")
    countries = stage.api.country_specs.retrieve(stage.api.accounts.retrieve_current().country)
    assert {"xof", "gnf", "cad"} <= set(countries.supported_payment_currencies)


def bad_parameters_are_named(stage: Stage) -> None:
    """Code and bracketed name of what is unknown, missing, no integer or no choice."""
    product = stage.product("parameters").id
    good = {"product": product, "currency": "cad", "unit_amount": 1}
    for change, code, param in (
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"unit_amount": "x"}, "parameter_invalid_integer", "unit_amount"),
        ({"recurring": {"interval": "moon"}}, None, "recurring[interval]"),
        ({"product": stage.name("nobody")}, "resource_missing", "product"),
        ({"currency": "abc"}, None, "currency"),
    ):
        error = stage.refused(stage.api.prices.create, {**good, **change})
        assert (error["status"], error["param"]) == (400, param)
        assert code in (None, error.get("code"))
    assert stage.refused(stage.api.products.create, {})["code"] == "parameter_missing"


def idempotency_keys_replay(stage: Stage) -> None:
    """The same request has one effect and says that it is a replay; another one under its key is refused."""
    key: Row = {"idempotency_key": stage.name("idempotent")}
    first = stage.api.customers.create({"name": "one"}, key)
    again = stage.api.customers.create({"name": "one"}, key)
    assert first.id == again.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    error = stage.refused(stage.api.customers.create, {"name": "two"}, key)
    assert (error["status"], error["type"]) == (400, "idempotency_error")
    stage.api.customers.delete(first.id)


def unusable_keys_are_refused(stage: Stage) -> None:
    """A key that is none is a 401."""
    assert stage.refused(stage.api.products.list, {}, {"api_key": "nonsense"})["status"] == 401


def answers_name_version_and_request(stage: Stage) -> None:
    """The version that was asked for is the one that was served."""
    headers = stage.api.products.list({"limit": 1}).last_response.headers
    assert headers["Stripe-Version"] == stripe.api_version
    assert headers["Request-Id"].startswith("req_")


def lists_are_newest_first_and_paged(stage: Stage) -> None:
    """Cursors go on behind an object, and one that does not exist is refused."""
    product = stage.product("pages").id
    made = [stage.price(product, amount).id for amount in (1, 2, 3)]
    listed = stage.api.prices.list({"product": product, "limit": 2})
    assert {row.id for row in listed.auto_paging_iter()} == set(made)
    assert listed.has_more
    error = stage.refused(stage.api.prices.list, {"starting_after": "price_none"})
    assert (error["status"], error["code"], error["param"]) == (400, "resource_missing", "starting_after")


def sessions_sell_active_prices_of_active_products(stage: Stage) -> None:
    """A session opens with an address, expires by hand, and sells nothing archived."""
    product = stage.product("session").id
    price = stage.price(product)
    order: Row = {
        "mode": "subscription",
        "success_url": "https://example.com/done",
        "line_items": [{"price": price.id, "quantity": 1}],
    }
    session = stage.api.checkout.sessions.create(order)
    assert (session.status, session.payment_status, bool(session.url)) == ("open", "unpaid", True)
    assert stage.api.checkout.sessions.expire(session.id).status == "expired"
    stage.api.prices.update(price.id, {"active": False})
    error = stage.refused(stage.api.checkout.sessions.create, order)
    assert (error["status"], "inactive" in error["message"]) == (400, True)
    stage.api.prices.update(price.id, {"active": True})
    stage.api.products.update(product, {"active": False})
    error = stage.refused(stage.api.checkout.sessions.create, order)
    assert (error["status"], "not active" in error["message"]) == (400, True)


def subscriptions_have_their_period_on_the_item(stage: Stage) -> None:
    """Active with a good card; canceled at the period's end or at once, and then for ever."""
    price = stage.price(stage.product("subscription").id).id
    made = stage.api.subscriptions.create({"customer": stage.customer(), "items": [{"price": price}]})
    item = made["items"].data[0]
    assert (made.status, item.price.id, item.current_period_end > item.current_period_start) == ("active", price, True)
    assert "current_period_end" not in made
    later = stage.api.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert (later.status, later.cancel_at) == ("active", item.current_period_end)
    assert stage.api.subscriptions.cancel(made.id).status == "canceled"
    assert stage.api.subscriptions.retrieve(made.id).status == "canceled"
    assert stage.refused(stage.api.subscriptions.cancel, made.id)["status"] == 404


def first_payments_may_fail_or_need_the_buyer(stage: Stage) -> None:
    """Either way the subscription is incomplete and its invoice open."""
    price = stage.price(stage.product("incomplete").id).id
    for card in ("pm_card_chargeCustomerFail", "pm_card_authenticationRequired"):
        order = {"customer": stage.customer(card), "items": [{"price": price}], "expand": ["latest_invoice"]}
        made = stage.api.subscriptions.create(order)
        assert (made.status, made.latest_invoice.status) == ("incomplete", "open")
        assert made.latest_invoice.parent.subscription_details.subscription == made.id


def subscriptions_renew_on_a_test_clock(stage: Stage) -> None:
    """A month later there is a second, paid invoice, and the period has moved on."""
    price = stage.price(stage.product("renewal").id).id
    customer = stage.customer()
    made = stage.api.subscriptions.create({"customer": customer, "items": [{"price": price}]})
    end = made["items"].data[0].current_period_end
    clock = stage.clocks[-1]
    stage.api.test_helpers.test_clocks.advance(clock, {"frozen_time": end + 2 * 3600})
    stage.until(lambda: stage.api.test_helpers.test_clocks.retrieve(clock).status == "ready")
    statuses = [row.status for row in stage.api.invoices.list({"subscription": made.id})]
    assert statuses == ["paid", "paid"]
    assert stage.api.subscriptions.retrieve(made.id)["items"].data[0].current_period_start == end


def events_tell_what_happened(stage: Stage) -> None:
    """A change has its event, with the request's key and the object."""
    key = stage.name("told")
    stage.products.append(stage.name("event"))
    stage.api.products.create({"id": stage.name("event"), "name": "event"}, {"idempotency_key": key})

    def told() -> bool:
        listed = stage.api.events.list({"type": "product.created", "limit": 20})
        return (stage.name("event"), key) in {(row.data.object["id"], row.request.idempotency_key) for row in listed}

    stage.until(told)


CHECKS: tuple[Callable[[Stage], None], ...] = (
    product_ids_are_chosen_and_taken_once,
    metadata_merges_and_empties,
    products_with_prices_stay,
    products_are_listed_by_ids_with_their_default_price,
    lookup_keys_are_unique_even_against_archived_holders,
    lookup_keys_are_transferred_and_found,
    archived_prices_are_listed_on_request,
    the_default_price_cannot_be_archived,
    amounts_are_minor_units_and_never_change,
    bad_parameters_are_named,
    idempotency_keys_replay,
    unusable_keys_are_refused,
    answers_name_version_and_request,
    lists_are_newest_first_and_paged,
    sessions_sell_active_prices_of_active_products,
    subscriptions_have_their_period_on_the_item,
    first_payments_may_fail_or_need_the_buyer,
    subscriptions_renew_on_a_test_clock,
    events_tell_what_happened,
)


def main() -> int:
    """Play all checks in Stripe's test mode; the number of those that failed."""
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if not key.startswith(("sk_test_", "rk_test_")):
        sys.stderr.write("set STRIPE_TEST_KEY to a key of Stripe's test mode (sk_test_…)\n")
        return 2
    client = stripe.StripeClient(key, max_network_retries=2)
    stage = Stage(client, secrets.token_hex(4), pause=lambda: Event().wait(1))
    failed = 0
    try:
        for check in CHECKS:
            try:
                check(stage)
            except (AssertionError, stripe.StripeError):
                failed += 1
                sys.stdout.write(f"FAILED {check.__name__}\n{traceback.format_exc()}\n")
            else:
                sys.stdout.write(f"held   {check.__name__}\n")
    finally:
        stage.clean()
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
