"""Idempotency keys remember what Stripe's remember."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import stripe
from tests.testing.stripe.shop import Shop, refused

from kuploy_saas_kit.testing.stripe import Quirks


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


def test_a_key_replays_its_first_outcome(shop: Shop) -> None:
    """The second request makes nothing, answers the same and says that it is a replay."""
    first = shop.api.customers.create({"email": "a@acme.test"}, {"idempotency_key": "k"})
    again = shop.api.customers.create({"email": "a@acme.test"}, {"idempotency_key": "k"})
    assert first.to_dict() == again.to_dict()
    headers = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert [request.replayed for request in shop.sim.requests[-2:]] == [False, True]
    assert len(shop.api.customers.list().data) == 1


def test_a_key_stands_for_its_parameters_and_its_address(shop: Shop) -> None:
    """Other parameters or another endpoint under the same key are an `idempotency_error`."""
    shop.api.customers.create({"email": "a@acme.test"}, {"idempotency_key": "k"})
    error = refused(lambda: shop.api.customers.create({"email": "b@acme.test"}, {"idempotency_key": "k"}))
    assert (error["status"], error["type"]) == (400, "idempotency_error")
    assert "can only be used with the same parameters they were first used with." in error["message"]
    error = refused(lambda: shop.api.products.create({"name": "x"}, {"idempotency_key": "k"}))
    assert "'/v1/customers'" in error["message"]
    assert refused(lambda: shop.api.products.create({"name": "x"}, {"idempotency_key": "k" * 256}))["status"] == 400


def test_modes_have_their_own_keys(shop: Shop) -> None:
    """A key used with test data is fresh for live data."""
    shop.api.customers.create({"email": "a@acme.test"}, {"idempotency_key": "k"})
    live = shop.sim.client("sk_live_sim").v1.customers.create({"email": "b@acme.test"}, {"idempotency_key": "k"})
    assert live.livemode


def test_keys_are_forgotten_after_a_day(shop: Shop) -> None:
    """24 hours later the same key is a fresh one."""
    first = shop.api.customers.create({}, {"idempotency_key": "k"})
    shop.clock.advance(timedelta(hours=23, minutes=59))
    assert shop.api.customers.create({}, {"idempotency_key": "k"}).id == first.id
    shop.clock.advance(timedelta(minutes=1))
    assert shop.api.customers.create({}, {"idempotency_key": "k"}).id != first.id


def test_a_500_is_saved(shop: Shop) -> None:
    """The key replays it until a new key is used."""
    shop.sim.fault("saved_500", match="POST /v1/customers")
    for _ in range(2):
        assert refused(lambda: shop.api.customers.create({}, {"idempotency_key": "k"}))["status"] == 500
    assert shop.sim.requests[-1].replayed
    assert shop.api.customers.create({}, {"idempotency_key": "k2"}).id


def test_what_never_began_is_not_saved(shop: Shop) -> None:
    """A parameter error, a rate limit and a lock leave the key fresh."""
    refused(lambda: shop.api.customers.create({"colour": "red"}, {"idempotency_key": "k"}))
    for kind in ("429", "lock_timeout_409", "idempotency_in_use", "500"):
        shop.sim.fault(kind)
        refused(lambda: shop.api.customers.create({}, {"idempotency_key": "k"}))
    assert shop.api.customers.create({}, {"idempotency_key": "k"}).id


@pytest.mark.parametrize("saves", [True, False])
def test_whether_a_refusal_is_saved_is_a_quirk(*, saves: bool) -> None:
    """A 400 of the endpoint itself may or may not be remembered."""
    shop = Shop(quirks=Quirks(saves_refusals=saves))

    def create() -> object:
        return shop.api.products.create({"id": "kuploy_pro", "name": "Pro"}, {"idempotency_key": "k"})

    refused(create)
    refused(create)
    assert shop.sim.requests[-1].replayed is saves


def test_eight_threads_with_one_key_make_one_object(shop: Shop) -> None:
    """Concurrent requests with a key have one effect."""
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(lambda _: shop.sim.client().v1.customers.create({}, {"idempotency_key": "k"}).id, range(8))
        )
    assert len(set(made)) == 1


def test_reads_and_deletes_have_no_keys(shop: Shop) -> None:
    """A key on them does nothing."""
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    customer = shop.customer()
    assert shop.api.customers.retrieve(customer, {}, options).id == customer
    shop.api.customers.delete(customer, {}, options)
    assert shop.api.customers.retrieve(customer, {}, options).deleted
