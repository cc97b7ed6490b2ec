"""`HubSimulator`: the hub's story in process and over a socket, and its outages."""

import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from tests.hub.talk import NONCE, SECRET, URL, content, post, read_token, request, sync_request, until

from kuploy_saas_kit.errors import (
    CeilingExceededError,
    ClaimError,
    ConfigurationError,
    HubUnavailableError,
    InvalidValueError,
)
from kuploy_saas_kit.hub.records import HubPolicy, secret_hash
from kuploy_saas_kit.license.ports import HubTransport
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.faults import HOLDS_THE_SOCKET, Outage
from kuploy_saas_kit.testing.hub import HubSimulator

FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan("pro", "Pro", Price(2000, "cad"), {"customDomains"}, {"maxProjects": 10, "maxApps": UNLIMITED})
CLAIM = {
    "instanceId": "inst_one",
    "productType": "kuploy-cloud",
    "code": "KPXY-4829",
    "secretHash": secret_hash(SECRET),
    "hostname": "node-1",
    "publicUrl": "https://cloud.acme.example",
}
POLL = {"instanceId": "inst_one", "secret": SECRET}


@pytest.fixture
def clock() -> ManualClock:
    """The hub's time."""
    return ManualClock()


@pytest.fixture
def hub(clock: ManualClock) -> HubSimulator:
    """A hub with keys."""
    return HubSimulator(clock=clock)


@pytest.fixture
def tenant(hub: HubSimulator) -> str:
    """A tenant's id."""
    return hub.add_tenant("Acme Hosting")


@pytest.fixture
def key(hub: HubSimulator, tenant: str) -> str:
    """The key of the tenant's Growth license."""
    return hub.issue_license(tenant, tier="growth")


@pytest.fixture
def url(hub: HubSimulator) -> Iterator[str]:
    """Where the hub serves during the test."""
    with hub.serve() as served:
        yield served


def payload(hub: HubSimulator, key: str, **changes: Any) -> dict[str, Any]:
    """The verified payload of a sync in process."""
    response = hub.transport().post(sync_request(key, **changes))
    assert response.status == 200, response.body
    return read_token(content(response)["license"], hub.trusted_keys)


def test_a_sync_is_answered_with_a_signed_payload(hub: HubSimulator, tenant: str, key: str) -> None:
    """The payload has the tier's rights, the binding, the times and the plans, as the protocol names them."""
    revision = hub.set_catalog(tenant, [FREE, PRO])
    got = payload(hub, key)
    issued = int(ManualClock().now().timestamp())
    assert key.startswith("lic_")
    assert len(key) == 20
    assert got.pop("licenseId").startswith("license_")
    assert got == {
        "schema": 1,
        "iss": "http://hub.invalid",
        "productType": "kuploy-cloud",
        "tenantId": tenant,
        "instanceId": "inst_one",
        "keyHash": secret_hash(key),
        "epoch": 1,
        "revision": 1,
        "issuedAt": issued,
        "freshUntil": issued + 180,
        "graceUntil": issued + 7 * 86400,
        "status": "active",
        "statusReason": "",
        "plan": "growth",
        "features": {
            key: key in {"customDomains", "aiAssistant", "multiServer"} for key in sorted(KUPLOY_CLOUD.features)
        },
        "limits": KUPLOY_CLOUD.tiers["growth"].limits.to_wire() | {"maxPurchasableDomains": 0},
        "periods": {"buildMinutesPerMonth": [1793491200, 1796083200]},
        "usageElsewhere": {},
        "nonce": NONCE,
        "catalog": {
            "revision": revision,
            "plans": [
                {
                    "slug": "free",
                    "name": "Free",
                    "limits": {"maxProjects": 1},
                    "features": {},
                    "isDefault": True,
                    "isActive": True,
                    "description": "",
                },
                {
                    "slug": "pro",
                    "name": "Pro",
                    "priceCents": 2000,
                    "currency": "cad",
                    "billingCycle": "monthly",
                    "limits": {"maxApps": -1, "maxProjects": 10},
                    "features": {"customDomains": True},
                    "isDefault": False,
                    "isActive": True,
                    "description": "",
                },
            ],
        },
    }


def test_unlimited_is_minus_one_and_named(hub: HubSimulator, tenant: str, key: str) -> None:
    """Every limit that a payload must name is named, also the unlimited ones."""
    hub.change_tier(key, "enterprise")
    limits = payload(hub, key)["limits"]
    assert limits.keys() >= KUPLOY_CLOUD.required_limits
    assert limits["maxProjects"] == limits["maxInstances"] == -1
    assert limits["buildMinutesPerMonth"] == 10_000


def test_a_claim_over_a_socket(hub: HubSimulator, key: str, url: str) -> None:
    """A code is registered, approved at the hub, and fetched by the secret; a repeated poll has the same answer."""
    registered = post(request("/api/license/claims", CLAIM, url=url))
    assert (registered.status, content(registered)["interval"]) == (201, 5)
    assert content(post(request("/api/license/claims/poll", POLL, url=url)))["status"] == "pending"
    assert [claim.hostname for claim in hub.pending_claims] == ["node-1"]
    hub.approve_claim("kpxy 4829", key)
    approved = {"success": True, "status": "approved", "licenseKey": key, "tenantName": "Acme Hosting"}
    for _ in range(3):
        assert content(post(request("/api/license/claims/poll", POLL, url=url))) == approved
    assert hub.pending_claims == ()
    with pytest.raises(ClaimError) as refused:
        hub.approve_claim("KPXY-4829", key)
    assert refused.value.code == "claim.wrong_code"


def test_a_claim_is_denied(hub: HubSimulator) -> None:
    """A denied claim says so, as often as it is asked."""
    hub.transport().post(request("/api/license/claims", CLAIM))
    hub.deny_claim("KPXY-4829")
    for _ in range(2):
        assert content(hub.transport().post(request("/api/license/claims/poll", POLL)))["status"] == "denied"


def test_status_tier_and_payment_travel_in_the_payload(
    hub: HubSimulator, tenant: str, key: str, clock: ManualClock
) -> None:
    """What happens to the license at the hub is in the next payload, with a higher revision each time."""
    seen = [payload(hub, key)["revision"]]
    hub.suspend(key, "unpaid")
    suspended = payload(hub, key)
    hub.revoke(key, "fraud")
    revoked = payload(hub, key)
    hub.reinstate(key)
    hub.change_tier(key, "hobby")
    hub.pay_until(key, clock.now() + timedelta(days=7))
    hobby = payload(hub, key)
    hub.pay_until(key, None)
    seen += [suspended["revision"], revoked["revision"], hobby["revision"], payload(hub, key)["revision"]]
    assert seen == [1, 2, 3, 4, 5]
    assert (suspended["status"], suspended["statusReason"]) == ("suspended", "unpaid")
    assert (revoked["status"], revoked["statusReason"]) == ("revoked", "fraud")
    assert (hobby["status"], hobby["plan"], hobby["limits"]["maxProjects"]) == ("active", "hobby", 1)
    assert hobby["paidUntil"] == hobby["issuedAt"] + 7 * 86400
    assert "paidUntil" not in payload(hub, key)


def test_a_plan_above_the_tier_is_refused_and_changes_nothing(hub: HubSimulator, tenant: str, key: str) -> None:
    """A feature that the tier lacks is refused when the plan is edited; the catalog stays as it was."""
    assert hub.set_catalog(tenant, [FREE, PRO]) == 1
    with pytest.raises(CeilingExceededError, match="whiteLabel"):
        hub.put_plan(tenant, Plan("vip", "VIP", features={"whiteLabel"}))
    assert hub.put_plan(tenant, PRO) == 1
    assert hub.put_plan(tenant, Plan("pro", "Pro", Price(2500, "cad"))) == 2
    assert [plan["slug"] for plan in payload(hub, key)["catalog"]["plans"]] == ["free", "pro"]


def test_requests_are_recorded_without_secrets(hub: HubSimulator, key: str) -> None:
    """What was asked can be looked at; neither key nor secret nor its hash is in it."""
    payload(hub, key, usage={"maxProjects": 3})
    hub.transport().post(request("/api/license/claims", CLAIM))
    hub.transport().post(request("/api/license/claims/poll", POLL))
    hub.transport().post(request("/api/license/claims/poll", b"\xff"))
    paths = [recorded.path.removeprefix("/api/license/") for recorded in hub.requests]
    assert paths == ["sync", "claims", "claims/poll", "claims/poll"]
    assert hub.requests[0].body["usage"] == {"maxProjects": 3}
    assert not any(secret in repr(hub.requests) for secret in (key, SECRET, secret_hash(SECRET)))


def test_usage_adds_up_over_instances(hub: HubSimulator, tenant: str, key: str) -> None:
    """Each instance is told what the others use, and its own allowance."""
    hub.change_tier(key, "business")
    period = "2026-11-01T00:00:00Z"
    meters = [{"key": "buildMinutesPerMonth", "period": period, "total": 61}]
    payload(hub, key, usage={"maxProjects": 3}, meters=meters)
    two = payload(hub, key, instanceId="inst_two", usage={"maxProjects": 4})
    assert two["usageElsewhere"] == {"buildMinutesPerMonth": 2, "maxProjects": 3}
    hub.set_allowances(key, "inst_one", {"maxProjects": 14})
    one = payload(hub, key, reportSeq=2)
    assert (one["usageElsewhere"], one["allowances"]) == ({"maxProjects": 4}, {"maxProjects": 14})
    assert hub.usage_of(key).gauges == {"maxProjects": 7}
    assert list(hub.usage_of(key).meters.values()) == [61]


def test_keys_rotate_to_one_that_was_pinned_before(hub: HubSimulator, key: str) -> None:
    """A token of the next key verifies under the keys pinned before the rotation; a compromised key is dropped."""
    pinned = hub.trusted_keys
    hub.rotate_key()
    response = content(hub.transport().post(sync_request(key)))
    assert read_token(response["license"], pinned)["epoch"] == 1
    assert pinned.items() <= hub.trusted_keys.items()
    hub.rotate_key(compromised=True)
    assert payload(hub, key)["epoch"] == 2
    assert len(pinned.keys() & hub.trusted_keys.keys()) == 1


def test_a_hub_without_keys_sends_the_payload_itself(clock: ManualClock) -> None:
    """`signed=False` answers with the bare payload and trusts nobody."""
    hub = HubSimulator(clock=clock, signed=False)
    key = hub.issue_license(hub.add_tenant("Acme"), tier="hobby")
    bare = content(hub.transport().post(sync_request(key)))["license"]
    assert (bare["plan"], bare["revision"], hub.trusted_keys) == ("hobby", 1, {})
    hub.outage("forged")
    assert content(hub.transport().post(sync_request(key)))["license"]["keyHash"] != bare["keyHash"]
    with pytest.raises(ConfigurationError):
        hub.rotate_key()


# --- outages ---------------------------------------------------------------------------------------------------------


def test_the_transport_fits_the_port(hub: HubSimulator, key: str) -> None:
    """The in-process transport is a `HubTransport`, which answers again after it was closed."""
    transport: HubTransport = hub.transport()
    transport.close()
    assert transport.post(sync_request(key)).status == 200


@pytest.mark.parametrize("outage", sorted(HOLDS_THE_SOCKET))
def test_socket_outages_raise_in_process(hub: HubSimulator, key: str, outage: Outage) -> None:
    """What fails on a socket raises the code that a transport gives it, until the outage ends."""
    hub.outage(outage.value)
    with pytest.raises(HubUnavailableError) as failed:
        hub.transport().post(sync_request(key))
    assert failed.value.code == HOLDS_THE_SOCKET[outage]
    hub.outage(None)
    assert payload(hub, key)["status"] == "active"


def test_an_outage_may_begin_later(hub: HubSimulator, key: str) -> None:
    """`after` requests are answered well before the outage begins."""
    hub.outage("timeout", after=2)
    assert [payload(hub, key)["revision"], payload(hub, key)["revision"]] == [1, 2]
    with pytest.raises(HubUnavailableError):
        hub.transport().post(sync_request(key))


def test_an_unknown_outage_is_refused(hub: HubSimulator) -> None:
    """A misspelt outage is an error that lists them all."""
    with pytest.raises(InvalidValueError, match="captive"):
        hub.outage("flood")
    with pytest.raises(InvalidValueError, match="-1"):
        hub.outage("5xx", after=-1)


@pytest.mark.parametrize(
    ("outage", "status", "headers"),
    [
        ("5xx", 502, {"content-type": "text/html; charset=utf-8"}),
        ("429", 429, {"retry-after": "30"}),
        ("html", 200, {"content-type": "text/html; charset=utf-8"}),
        ("captive", 302, {"location": "http://portal.invalid/login"}),
        ("bad-json", 200, {"content-type": "application/json"}),
        ("deep", 200, {"content-type": "application/json"}),
        ("bomb", 200, {"content-encoding": "gzip"}),
    ],
)
def test_bad_responses_over_a_socket(
    hub: HubSimulator, key: str, url: str, outage: str, status: int, headers: dict[str, str]
) -> None:
    """Outages with a response send exactly that, and the hub does not see the request."""
    hub.outage(outage)
    response = post(sync_request(key, url=url))
    assert response.status == status
    assert headers.items() <= response.headers.items()
    hub.outage(None)
    assert payload(hub, key)["revision"] == 1


def test_the_bomb_is_small_and_unpacks_large(hub: HubSimulator, key: str, url: str) -> None:
    """The bomb is under the body cap of 1 MiB and over it once unpacked; a transport refuses it unread."""
    hub.outage("bomb")
    body = post(sync_request(key, url=url)).body
    assert len(body) < 1 << 20
    assert len(zlib.decompressobj(wbits=31).decompress(body, 2 << 20)) > 1 << 20
    with pytest.raises(HubUnavailableError) as refused:
        hub.transport().post(sync_request(key))
    assert refused.value.code == "payload.encoding"


def test_deep_json_is_too_deep_for_a_naive_parser(hub: HubSimulator, key: str) -> None:
    """The deep answer is within the body cap, and nested so that a recursive parser gives up."""
    hub.outage("deep")
    body = hub.transport().post(sync_request(key)).body
    assert len(body) < 1 << 20
    with pytest.raises(RecursionError):
        json.loads(body)


def test_the_issuer_is_the_origin_that_was_asked(hub: HubSimulator, key: str, url: str, clock: ManualClock) -> None:
    """A payload names the URL at which the hub was reached, or what a policy says."""
    asked = url.replace("127.0.0.1", "localhost")
    answer = content(post(sync_request(key, url=asked)))
    assert read_token(answer["license"], hub.trusted_keys)["iss"] == asked
    other = HubSimulator(clock=clock, policy=HubPolicy(issuer="https://kuploy.app"))
    licensed = other.issue_license(other.add_tenant("Acme"))
    assert payload(other, licensed)["iss"] == "https://kuploy.app"


def test_spoilt_payloads(hub: HubSimulator, tenant: str, key: str, clock: ManualClock) -> None:
    """Skewed, stale, older and empty answers are signed well and wrong in the one way that they are named for."""
    hub.set_catalog(tenant, [FREE, PRO])
    hub.outage("stale")
    assert payload(hub, key)["nonce"] != NONCE
    hub.outage(None)
    good = payload(hub, key)
    known = {"knownEpoch": 1, "knownRevision": good["revision"]}
    hub.outage("skew")
    assert payload(hub, key, **known)["issuedAt"] == good["issuedAt"] + 3600
    hub.outage("stale")
    assert payload(hub, key, nonce="B" * 22) == good
    hub.outage("older")
    held = payload(hub, key, knownEpoch=1, knownRevision=10)
    assert (held["revision"], held["nonce"]) == (9, NONCE)
    hub.outage("empty")
    empty = payload(hub, key)
    assert not any(empty["features"].values())
    assert not any(empty["limits"].values())
    assert empty["catalog"]["plans"] == []
    assert empty["plan"] == good["plan"]


def test_a_forged_answer_does_not_verify(hub: HubSimulator, key: str) -> None:
    """A forged token names a pinned key and was not signed by it."""
    hub.outage("forged")
    with pytest.raises(InvalidSignature):
        payload(hub, key)


def test_refused_is_refused_on_the_socket_and_the_port_stays(hub: HubSimulator, key: str, url: str) -> None:
    """While nobody listens connections are refused; afterwards the same URL serves again."""
    for _ in range(3):
        assert post(sync_request(key, url=url)).status == 200
        hub.outage("refused")
        with pytest.raises(ConnectionRefusedError):
            post(sync_request(key, url=url))
        hub.outage(None)
    assert len(hub.requests) == 3


def test_refused_after_some_answers(hub: HubSimulator, key: str, url: str) -> None:
    """The last good answer arrives whole, and the next connection is refused."""
    hub.outage("refused", after=2)
    assert [post(sync_request(key, url=url)).status for _ in range(2)] == [200, 200]
    with pytest.raises(ConnectionRefusedError):
        post(sync_request(key, url=url))


def test_reset_and_truncated_on_the_socket(hub: HubSimulator, key: str, url: str) -> None:
    """A reset connection and a cut body are what the client's socket sees."""
    hub.outage("reset")
    with pytest.raises(ConnectionResetError):
        post(sync_request(key, url=url))
    hub.outage("truncated")
    with pytest.raises(http.client.IncompleteRead):
        post(sync_request(key, url=url))
    hub.outage(None)
    assert payload(hub, key)["revision"] == 2


@pytest.mark.parametrize("outage", ["timeout", "drip"])
def test_hung_connections_time_out_and_end_with_the_outage(hub: HubSimulator, key: str, url: str, outage: str) -> None:
    """A silent hub runs into the client's timeout; the end of the outage lets the connection go."""
    hub.outage(outage)
    with pytest.raises((TimeoutError, http.client.IncompleteRead)):
        post(sync_request(key, url=url), timeout=0.05)
    hub.outage(None)
    assert post(sync_request(key, url=url)).status == 200


def test_serve_leaves_nothing_behind(hub: HubSimulator, key: str) -> None:
    """At the end of the block no thread is left, an idle connection is closed, and it may serve again."""
    before = set(threading.enumerate())
    with hub.serve() as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as idle:
            assert post(sync_request(key, url=url)).status == 200
            with pytest.raises(ConfigurationError), hub.serve():
                pass
            hub.outage("timeout")
            hung = threading.Thread(target=_expect_nothing, args=(sync_request(key, url=url),))
            hung.start()
            until(lambda: len(hub.requests) == 2)
            assert idle.fileno() > 0
    hung.join()
    assert set(threading.enumerate()) <= before
    hub.outage(None)
    with hub.serve() as url:
        assert post(sync_request(key, url=url)).status == 200


def test_odd_requests_over_a_socket(url: str) -> None:
    """A GET, an absurd length and another path are answered, and the server lives on."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", "/")
    assert connection.getresponse().status == 501
    connection.close()
    connection.request("POST", "/api/license/sync", headers={"Content-Length": "99999999999"})
    assert connection.getresponse().status == 413
    connection.close()
    assert post(request("/elsewhere", {}, url=url)).status == 404


def test_in_process_urls_may_be_anything(hub: HubSimulator, key: str) -> None:
    """The in-process transport looks only at the path."""
    assert hub.transport().post(sync_request(key, url=URL)).status == 200


def _expect_nothing(wanted: Any) -> None:
    with pytest.raises(http.client.RemoteDisconnected):
        post(wanted)
