"""Events, and what becomes of them on their way."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import stripe
from tests.testing.stripe.shop import Row, Shop, refused

from kuploy_saas_kit.testing.stripe import StripeSimulator

SECRET = "whsec_test"


class Host:
    """A webhook handler that checks signatures and answers as it is told."""

    def __init__(self, *secrets: str) -> None:
        self.secrets = secrets or (SECRET,)
        self.got: list[Row] = []
        self.status = 200

    def __call__(self, payload: bytes, signature: str) -> int:
        for secret in self.secrets:
            stripe.WebhookSignature.verify_header(payload, signature, secret, None)
        self.got.append(json.loads(payload))
        return self.status

    @property
    def types(self) -> list[str]:
        """The types of what arrived, in order."""
        return [event["type"] for event in self.got]


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


@pytest.fixture
def host(shop: Shop) -> Host:
    """A host that hears of everything."""
    host = Host()
    shop.sim.endpoint(host, secret=SECRET)
    return host


def test_events_are_signed_and_delivered_in_order(shop: Shop, host: Host) -> None:
    """The SDK accepts the signature; what was delivered is pending no more."""
    shop.subscribed()
    pending = [event["id"] for event in shop.sim.pending]
    made = shop.sim.deliver()
    assert [event["id"] for event in host.got] == pending == [delivery.event_id for delivery in made]
    assert {(delivery.status, delivery.ok, delivery.attempt) for delivery in made} == {(200, True, 1)}
    assert shop.sim.pending == [] == shop.sim.deliver()
    assert shop.sim.deliveries == made
    event = stripe.Webhook.construct_event(made[0].payload, made[0].signature, SECRET, tolerance=0)
    assert (event.type, event.api_version) == ("customer.created", stripe.api_version)


def test_an_endpoint_hears_what_it_asked_for_from_then_on(shop: Shop) -> None:
    """By type, with stars, in its own mode, and nothing from before."""
    few, live = Host(), Host()
    shop.sim.endpoint(few, secret=SECRET, events=["invoice.*", "customer.created"])
    shop.sim.endpoint(live, secret=SECRET, livemode=True)
    shop.subscribed()
    shop.sim.client("sk_live_1").v1.products.create({"name": "Pro"})
    shop.sim.deliver()
    assert set(few.types) == {
        "customer.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
    }
    assert live.types == ["product.created"]
    assert live.got[0]["livemode"]


def test_order_and_duplicates_are_chosen(shop: Shop, host: Host) -> None:
    """Reversed, shuffled, or picked by place; each as often as asked."""
    for order in ("reversed", random.Random(7)):  # noqa: S311 - a test wants the same order each time
        host.got.clear()
        shop.subscribed()
        ids = [event["id"] for event in shop.sim.pending]
        shop.sim.deliver(order=order, duplicates=2)
        got = [event["id"] for event in host.got]
        assert sorted(got) == sorted(ids * 2)
        assert (got == [id_ for id_ in reversed(ids) for _ in range(2)]) == (order == "reversed")
    host.got.clear()
    shop.subscribed()
    ids = [event["id"] for event in shop.sim.pending]
    shop.sim.deliver(order=[3, 1])
    assert [event["id"] for event in host.got] == [ids[3], ids[1]]
    assert [event["id"] for event in shop.sim.pending] == [id_ for id_ in ids if id_ not in (ids[3], ids[1])]


def test_what_is_refused_comes_again(shop: Shop, host: Host) -> None:
    """Also after a redirection; the attempts are counted."""
    shop.customer()
    for status in (500, 302, 400):
        host.status = status
        assert [delivery.status for delivery in shop.sim.deliver()] == [status]
    host.status = 204
    assert [(delivery.attempt, delivery.ok) for delivery in shop.sim.deliver()] == [(4, True)]


def test_a_crash_of_the_handler_leaves_its_event_pending(shop: Shop) -> None:
    """The exception passes through, and the event comes again."""

    def crashes(payload: bytes, signature: str) -> int:
        raise RuntimeError("power cut")

    shop.sim.endpoint(crashes, secret=SECRET)
    shop.customer()
    with pytest.raises(RuntimeError, match="power cut"):
        shop.sim.deliver()
    assert len(shop.sim.pending) == 1


def test_dropped_events_are_lost_and_can_be_listed(shop: Shop, host: Host) -> None:
    """By type or id; `delivery_success` finds them afterwards."""
    shop.subscribed()
    by_id = shop.sim.pending[1]["id"]
    shop.sim.deliver(drop=["invoice.paid", by_id])
    assert "invoice.paid" not in host.types
    assert shop.sim.pending == []
    lost = shop.api.events.list({"delivery_success": False})
    assert {row.id for row in lost} == {by_id, *(e["id"] for e in shop.sim.events if e["type"] == "invoice.paid")}
    assert len(shop.api.events.list({"delivery_success": True, "limit": 100}).data) == len(shop.sim.events) - 2
    shop.customer()
    assert shop.sim.deliver(drop="customer.created") == []


def test_a_handler_may_ask_the_simulator(shop: Shop) -> None:
    """A refetch inside a delivery finds the present state, over HTTP too."""
    found: list[str] = []

    def refetch(payload: bytes, _: str) -> int:
        subscription = json.loads(payload)["data"]["object"]["id"]
        client = stripe.StripeClient("sk_test_sim", base_addresses={"api": url})
        found.append(client.v1.subscriptions.retrieve(subscription).status)
        return 200

    shop.sim.endpoint(refetch, secret=SECRET, events=["customer.subscription.created"])
    with shop.sim.serve() as url:
        shop.subscribed()
        shop.sim.deliver()
    assert found == ["active"]


def test_secrets_are_rolled(shop: Shop) -> None:
    """While the old secret is in force there is a signature by each, and then only by the new one."""
    both, new = Host("whsec_new", SECRET), Host("whsec_new")
    endpoint = shop.sim.endpoint(both, secret=SECRET)
    shop.sim.roll_secret(endpoint, "whsec_new")
    shop.customer()
    (delivery,) = shop.sim.deliver()
    assert delivery.signature.count("v1=") == 2
    shop.sim.endpoint(new, secret="whsec_newer")
    shop.sim.roll_secret(endpoint, "whsec_new", keep_old=False)
    shop.customer()
    with pytest.raises(stripe.SignatureVerificationError):
        shop.sim.deliver()


def test_an_endpoint_of_an_old_version_gets_old_shapes(shop: Shop) -> None:
    """Periods on the subscription, `invoice.subscription`; the version says so."""
    host = Host()
    shop.sim.endpoint(host, secret=SECRET, api_version="2020-08-27")
    made = shop.subscribed()
    shop.sim.deliver()
    by_type = {event["type"]: event for event in host.got}
    subscription = by_type["customer.subscription.updated"]
    assert subscription["api_version"] == "2020-08-27"
    assert subscription["data"]["object"]["current_period_end"] > subscription["data"]["object"]["created"]
    assert subscription["data"]["object"]["plan"]["id"] == shop.price
    invoice = by_type["invoice.paid"]["data"]["object"]
    assert (invoice["subscription"], invoice["paid"], "parent" in invoice) == (made, True, False)


def test_the_same_change_may_have_two_events(shop: Shop, host: Host) -> None:
    """Another id, the same content."""
    shop.customer()
    again = shop.sim.repeat(shop.sim.events[-1]["id"])
    shop.sim.deliver()
    assert host.got[0]["data"] == host.got[1]["data"]
    assert host.got[1]["id"] == again["id"] != host.got[0]["id"]


def test_events_say_which_request_they_come_from(shop: Shop) -> None:
    """The id and key of the request, and none for what happens by itself."""
    shop.api.customers.create({}, {"idempotency_key": "k"})
    event = shop.sim.events[-1]
    assert event["request"] == {"id": shop.sim.requests[-1].request_id, "idempotency_key": "k"}


def test_events_are_kept_for_thirty_days(shop: Shop) -> None:
    """Listed by type, with stars, by time; then gone."""
    shop.subscribed()
    events = shop.api.events
    assert [row.type for row in events.list({"type": "customer.subscription.*"})] == [
        "customer.subscription.updated",
        "customer.subscription.created",
    ]
    assert [row.type for row in events.list({"types": ["product.created", "price.created"]})] == [
        "price.created",
        "product.created",
    ]
    first = shop.sim.events[0]
    assert events.retrieve(first["id"]).data.object.id == "kuploy_pro"
    assert events.list({"created": {"gt": first["created"]}}).data == []
    assert refused(events.list, {"type": "a", "types": ["b"]})["param"] == "type"
    assert refused(events.list, {"types": ["a"] * 21})["param"] == "types"
    shop.sim.advance(timedelta(days=30, seconds=1))
    assert refused(events.retrieve, first["id"])["status"] == 404
    assert first["id"] not in {row.id for row in events.list({"limit": 100})}


def test_endpoints_are_made_through_the_api(shop: Shop) -> None:
    """The secret is shown once; a disabled endpoint hears nothing; a public address is never called."""
    api = shop.api.webhook_endpoints
    made = api.create({"url": "https://host.test/hook", "enabled_events": ["customer.created"], "metadata": {"a": "b"}})
    assert made.secret.startswith("whsec_")
    assert "secret" not in api.retrieve(made.id)
    shop.customer()
    (delivery,) = shop.sim.deliver()
    assert (delivery.status, delivery.ok) == (None, False)
    changed = api.update(made.id, {"disabled": True, "url": "https://host.test/other", "metadata": {"a": ""}})
    assert (changed.status, changed.url, changed.metadata.to_dict()) == ("disabled", "https://host.test/other", {})
    shop.customer()
    assert len(shop.sim.pending) == 1
    assert [row.id for row in api.list()] == [made.id]
    assert api.delete(made.id).deleted
    assert refused(api.create, {"url": "host.test", "enabled_events": ["*"]})["param"] == "url"
    live = shop.sim.client("sk_live_1").v1.webhook_endpoints
    assert refused(live.create, {"url": "http://host.test", "enabled_events": ["*"]})["code"] == "url_invalid"


@contextmanager
def listening(status: int) -> Iterator[tuple[str, list[str]]]:
    """A host on loopback that answers with *status*; its address, and the signatures that came."""
    got: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            stripe.WebhookSignature.verify_header(body, self.headers["Stripe-Signature"], SECRET, None)
            got.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", got
        finally:
            server.shutdown()
            thread.join()


def test_events_are_posted_to_loopback() -> None:
    """A URL gets a real POST; where nobody listens there is no status, and the event waits."""
    sim = StripeSimulator()
    with listening(503) as (url, got):
        sim.endpoint(url, secret=SECRET)
        sim.client().v1.customers.create({})
        assert [delivery.status for delivery in sim.deliver()] == [503]
    assert got == ["/hook"]
    assert [delivery.status for delivery in sim.deliver()] == [None]
    assert len(sim.pending) == 1
