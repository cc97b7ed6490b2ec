"""A hub that misbehaves in every way that a socket allows: is the license kept, also over a restart?

Published comparisons of feature flag clients count the same two things: the value while the process runs, and the
value right after a restart during the fault.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.license.doubles import CATALOG, ROGUE, SIGNER, World, payload
from tests.license.fault_server import Conversation, FaultServer, Script, nonce_of, response, says
from tests.license.test_faults import Rerouted, assert_recovers, drip, reset, rights, silence, warm_world

from kuploy_saas_kit.license.ports import HubResponse


def says_json(body: object) -> Script:
    """A 200 with this JSON."""
    return says(response(json.dumps(body).encode()))


def refuses(status: str, *headers: str) -> Script:
    """An error status with a web page."""
    return says(response(b"<html>oops", status, *headers))


def signs(make: Callable[[str], str]) -> Script:
    """A 200 whose token is made for the nonce of the request."""

    def script(conversation: Conversation) -> None:
        _, body = conversation.read_request()
        conversation.send(response(json.dumps({"success": True, "license": make(nonce_of(body))}).encode()))

    return script


def said(nonce: str, **fields: Any) -> dict[str, Any]:
    """A payload above what is held, with *fields* in place of its own."""
    return payload(World().clock.now(), nonce=nonce, **{"revision": 50, **fields})


def hangs_up(conversation: Conversation) -> None:
    """Closes without a word."""


NOTHING = {"features": {}, "limits": dict.fromkeys(said("")["limits"], 0)}
EMPTIED = {"catalog": {**CATALOG, "plans": []}}

MODES: dict[str, Script] = {
    "hangs up": hangs_up,
    "silence": silence,
    "a byte now and then": drip,
    "reset": reset,
    "body cut off": says(response(b"x" * 100)[:-50]),
    "no HTTP": says(b"\x00\x01\x02 hello\r\n\r\n"),
    "bad chunks": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"),
    "200 MB announced": says(b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n" + b"x" * 1000),
    "bomb": says(response(gzip.compress(bytes(8 << 20)), "200 OK", "Content-Encoding: gzip")),
    "redirect": refuses("302 Found", "Location: https://evil.example/"),
    "not modified": refuses("304 Not Modified"),
    "unauthorized": refuses("401 Unauthorized"),
    "payment required": refuses("402 Payment Required"),
    "forbidden": refuses("403 Forbidden"),
    "not found": refuses("404 Not Found"),
    "too many requests": refuses("429 Too Many Requests", "Retry-After: 3600"),
    "internal error": refuses("500 Internal Server Error"),
    "bad gateway": refuses("502 Bad Gateway"),
    "unavailable": refuses("503 Service Unavailable", "Retry-After: 3600"),
    "no content": says(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "portal": says(response(b"<html>sign in</html>")),
    "empty body": says(response(b"")),
    "{}": says_json({}),
    "null": says_json(None),
    "[]": says_json([]),
    "a number": says_json(1),
    "success false": says_json({"success": False}),
    "wrong types": says_json({"success": True, "license": [1, 2]}),
    "half of the JSON": says(response(b'{"success": true, "license": "abc')),
    "bad UTF-8": says(response(b'{"success": true, "license": "\xff\xfe"}')),
    "deep JSON": says(response(b"[" * 100_000)),
    "unsigned": says_json({"success": True, "license": said("")}),
    "forged": signs(lambda nonce: ROGUE.sign(said(nonce))),
    "replayed": signs(lambda _: SIGNER.sign(said("of another request"))),
    "older": signs(lambda nonce: SIGNER.sign(said(nonce, revision=0))),
    "of somebody else": signs(lambda nonce: SIGNER.sign(said(nonce, instanceId="inst_b"))),
    "wrong shape": signs(lambda nonce: SIGNER.sign(said(nonce, features=["customDomains"]))),
    "valid but empty": signs(lambda nonce: SIGNER.sign(said(nonce, **NOTHING))),
    "without plans": signs(lambda nonce: SIGNER.sign(said(nonce, **EMPTIED))),
}


def warm_and_restarted(script: Script) -> tuple[bool, bool]:
    """Whether the rights are as before while the fault lasts, and right after a restart in it."""
    world, client = warm_world()
    before = rights(client)
    with FaultServer(script) as server:
        transport = Rerouted(server)

        def through_the_wire(_: Mapping[str, Any]) -> HubResponse:
            return transport.post(world.hub.requests[-1])

        world.hub.fault = through_the_wire
        assert not client.sync().ok
        is_kept = rights(client) == before
        restarted = world.client()
        restarted.load()
        assert not restarted.sync().ok
        is_kept_over_restart = rights(restarted) == before
        assert server.await_requests(2) == 2
        transport.close()
    assert_recovers(world, client)
    return is_kept, is_kept_over_restart


@pytest.mark.parametrize("mode", MODES)
def test_the_license_is_kept_in_every_mode(mode: str) -> None:
    """Rights and status stay while the fault lasts and right after a restart in it; the next good sync is taken."""
    assert warm_and_restarted(MODES[mode]) == (True, True)


def test_there_are_more_modes_than_in_published_comparisons() -> None:
    """Which count 27; the best of those clients has kept its value over a restart in 12."""
    assert len(MODES) >= 27
