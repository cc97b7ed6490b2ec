"""How the tests of the hub talk to it: requests as an instance sends them, tokens read with bare cryptography."""

import base64
import http.client
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kuploy_saas_kit.license.ports import HubRequest, HubResponse

NONCE = base64.urlsafe_b64encode(bytes(range(16))).rstrip(b"=").decode()
SECRET = "s" * 32
URL = "http://hub.invalid"


def sync_body(**changes: Any) -> dict[str, Any]:
    """The body of a sync of `inst_one`, with *changes*."""
    return {
        "schema": 1,
        "instanceId": "inst_one",
        "productType": "kuploy-cloud",
        "kitVersion": "0.1.0",
        "nonce": NONCE,
        "knownEpoch": 0,
        "knownRevision": 0,
        "reportSeq": 1,
        "usage": {},
        "meters": [],
        **changes,
    }


def sync_request(license_key: str, *, url: str = URL, **changes: Any) -> HubRequest:
    """A sync with this license key."""
    headers = {"Authorization": f"Bearer {license_key}", "Accept-Encoding": "identity"}
    return HubRequest(f"{url}/api/license/sync", headers, json.dumps(sync_body(**changes)).encode())


def request(path: str, body: Mapping[str, Any] | bytes, *, url: str = URL) -> HubRequest:
    """A POST without a license key."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HubRequest(url + path, {}, raw)


def content(response: HubResponse) -> dict[str, Any]:
    """The response's JSON."""
    parsed: dict[str, Any] = json.loads(response.body)
    return parsed


def read_token(token: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """The payload of a token whose signature holds under the pinned *keys*."""
    header, payload, signature = token.split(".")
    fields = json.loads(decode(header))
    assert fields == {"alg": "Ed25519", "kid": fields["kid"], "typ": "kuploy-license+jws"}
    key = Ed25519PublicKey.from_public_bytes(decode(keys[fields["kid"]]))
    key.verify(decode(signature), f"{header}.{payload}".encode())
    parsed: dict[str, Any] = json.loads(decode(payload))
    return parsed


def decode(part: str) -> bytes:
    """Canonical base64url without padding."""
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == part
    return raw


def post(wanted: HubRequest, *, timeout: float = 60) -> HubResponse:
    """The response over a real socket."""
    target = urlsplit(wanted.url)
    assert target.hostname
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=timeout)
    try:
        connection.request("POST", target.path, wanted.body, dict(wanted.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return HubResponse(response.status, headers, response.read())
    finally:
        connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in another thread."""
    waiting = threading.Event()
    for _ in range(6000):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came")
