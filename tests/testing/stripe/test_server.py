"""The simulator over HTTP on loopback is the same simulator."""

from __future__ import annotations

import http.client
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import stripe
from tests.testing.stripe.shop import Shop, refused

from kuploy_saas_kit.testing.stripe import StripeSimulator


def over_http(url: str, key: str = "sk_test_sim", *, timeout: float = 20) -> stripe.StripeClient:
    """A client with the SDK's own HTTP layer, and a connection pool of its own."""
    http_client = stripe.RequestsClient(timeout=timeout)
    return stripe.StripeClient(key, base_addresses={"api": url}, http_client=http_client)


def test_the_same_data_in_process_and_over_http() -> None:
    """All verbs, parameters in bodies and in addresses, errors and headers."""
    shop = Shop()
    with shop.sim.serve() as url:
        client = over_http(url)
        found = client.v1.products.list({"ids": ["kuploy_pro"], "limit": 1})
        assert [row.name for row in found] == ["Pro"]
        made = client.v1.customers.create({"email": "ü@acme.test", "metadata": {"org_id": "acme"}})
        assert shop.api.customers.retrieve(made.id).email == "ü@acme.test"
        assert client.v1.customers.delete(made.id).deleted
        assert refused(client.v1.products.retrieve, "nobody")["status"] == 404
        assert client.v1.products.list().last_response.headers["Stripe-Version"] == stripe.api_version  # type: ignore[union-attr]


def test_threads_may_ask_at_once() -> None:
    """Eight threads with connections of their own make eight objects and lose none."""
    sim = StripeSimulator()
    with sim.serve() as url, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: over_http(url).v1.products.create({"name": f"p{index}"}), range(8)))
    assert len(sim.client().v1.products.list().data) == 8


@pytest.mark.parametrize("kind", ["lost_before", "lost_after", "timeout"])
def test_broken_connections_are_real_ones(kind: str) -> None:
    """The SDK sees a connection error, and a hung request ends with the client's patience."""
    shop = Shop()
    shop.sim.fault(kind, match="POST /v1/customers")  # type: ignore[arg-type]
    with shop.sim.serve() as url, pytest.raises(stripe.APIConnectionError):
        over_http(url, timeout=0.2 if kind == "timeout" else 20).v1.customers.create({})
    assert len(shop.api.customers.list().data) == (kind == "lost_after")


def test_a_bad_gateway_is_html_on_the_wire() -> None:
    """With the content type that proxies give it."""
    sim = StripeSimulator()
    sim.fault("html_502")
    with sim.serve() as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("GET", "/v1/products")
        response = connection.getresponse()
        assert (response.status, response.getheader("Content-Type")) == (502, "text/html")
        connection.close()


def test_what_is_not_simulated_is_a_501() -> None:
    """Over HTTP too nothing is invented."""
    shop = Shop()
    with shop.sim.serve() as url:
        error = refused(over_http(url).v1.products.search, {"query": "x"})
    assert error["status"] == 501
    assert "lags behind" in error["message"]


def test_stopping_does_not_wait_for_idle_clients() -> None:
    """A client that keeps its connection open, or hangs in a timeout, does not keep the server up."""
    sim = StripeSimulator()
    with sim.serve() as url:
        idle = http.client.HTTPConnection(urlsplit(url).netloc)
        idle.request("GET", "/v1/products")
        idle.getresponse().read()
        hung = http.client.HTTPConnection(urlsplit(url).netloc)
        sim.fault("timeout")
        hung.request("GET", "/v1/products")
    with pytest.raises((http.client.HTTPException, OSError)):
        hung.getresponse()
    idle.close()
    hung.close()


def test_the_sdk_is_loaded_by_this_package_only() -> None:
    """`kuploy_saas_kit.testing` costs no import of stripe until its simulator is asked for."""
    code = (
        "import sys, kuploy_saas_kit.testing; assert 'stripe' not in sys.modules; import kuploy_saas_kit.testing.stripe"
    )
    subprocess.run(  # noqa: S603 - this interpreter and our own code
        [sys.executable, "-c", code + "; assert 'stripe' in sys.modules"], check=True
    )
