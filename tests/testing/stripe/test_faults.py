"""Faults happen once, where they were asked for, and as Stripe's own would."""

from __future__ import annotations

import pytest
import stripe
from tests.testing.stripe.shop import Shop, refused

from kuploy_saas_kit.testing.stripe import FaultKind


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


@pytest.mark.parametrize(
    ("kind", "status", "type_", "code", "error"),
    [
        ("429", 429, "invalid_request_error", "rate_limit", stripe.RateLimitError),
        ("lock_timeout_429", 429, "invalid_request_error", "lock_timeout", stripe.RateLimitError),
        ("lock_timeout_409", 409, "invalid_request_error", "lock_timeout", stripe.APIError),
        ("idempotency_in_use", 409, "idempotency_error", "idempotency_key_in_use", stripe.APIError),
        ("500", 500, "api_error", None, stripe.APIError),
        ("403", 403, "invalid_request_error", "more_permissions_required", stripe.PermissionError),
        ("401", 401, "invalid_request_error", None, stripe.AuthenticationError),
    ],
)
def test_a_fault_is_the_error_that_the_sdk_knows(
    shop: Shop, kind: FaultKind, status: int, type_: str, code: str | None, error: type[stripe.StripeError]
) -> None:
    """Status, wire type, code and exception are Stripe's, nothing is done, and the next request is well."""
    shop.sim.fault(kind)
    with pytest.raises(error) as caught:
        shop.api.customers.create({})
    fault = caught.value.error
    assert fault is not None
    assert (caught.value.http_status, fault.type, fault.code) == (status, type_, code)
    assert shop.api.customers.list().data == []
    assert shop.sim.requests[-2].fault == kind


def test_a_bad_gateway_speaks_html(shop: Shop) -> None:
    """What no JSON parser reads."""
    shop.sim.fault("html_502")
    with pytest.raises(stripe.APIError, match="502"):
        shop.api.customers.list()


@pytest.mark.parametrize(("kind", "made"), [("lost_before", 0), ("timeout", 0), ("lost_after", 1)])
def test_a_lost_request_or_answer_breaks_the_connection(shop: Shop, kind: FaultKind, made: int) -> None:
    """The caller cannot tell them apart, and only the lost answer has had an effect."""
    shop.sim.fault(kind, match="POST /v1/customers")
    with pytest.raises(stripe.APIConnectionError):
        shop.api.customers.create({})
    assert len(shop.api.customers.list().data) == made
    assert shop.sim.writes[-1].status == (200 if made else None)


def test_a_lost_answer_can_be_fetched_by_its_key(shop: Shop) -> None:
    """The SDK's own retry gets what the first attempt made, without waiting."""
    shop.sim.fault("lost_after", match="POST /v1/customers")
    client = stripe.StripeClient("sk_test_sim", http_client=shop.sim.http_client(), max_network_retries=2)
    made = client.v1.customers.create({})
    assert [row.id for row in shop.api.customers.list()] == [made.id]
    assert shop.sim.requests[-2].replayed


def test_faults_know_whom_they_meet(shop: Shop) -> None:
    """By path with stars, by verb and path, by predicate; as often as asked; until they are cleared."""
    shop.sim.fault("500", match="/v1/products/*")
    shop.sim.fault("429", match="GET /v1/prices", times=2)
    shop.sim.fault("401", match=lambda inquiry: inquiry.params.get("name") == "bad", times=None)
    assert shop.api.products.list().data
    assert refused(lambda: shop.api.products.retrieve("kuploy_pro"))["status"] == 500
    assert [refused(shop.api.prices.list)["status"] for _ in range(2)] == [429, 429]
    assert shop.api.prices.list().data
    for _ in range(3):
        assert refused(lambda: shop.api.products.create({"name": "bad"}))["status"] == 401
    shop.sim.clear_faults()
    assert shop.api.products.create({"name": "bad"}).id
    with pytest.raises(ValueError, match="no such fault: flood"):
        shop.sim.fault("flood")  # type: ignore[arg-type]
