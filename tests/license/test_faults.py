"""The fault matrix: each row's fault against a warm client, over a restart, and with a good hub again.

KEEP means: not ok, the row's code, rights and stored bytes as before, and ACTIVE again at the first good sync.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.license.doubles import CATALOG, HEADER, ROGUE, SIGNER, World, answer, payload, plan
from tests.license.fault_server import Conversation, FaultServer, Script, response, says

from kuploy_saas_kit._clock import to_timestamp
from kuploy_saas_kit.license import HttpxTransport, LicenseClient, LicenseStatus, Operation
from kuploy_saas_kit.license.ports import HubRequest, HubResponse

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)

Fault = Callable[[World, Mapping[str, Any]], HubResponse]


def plain(body: object, status: int = 200, **headers: str) -> Fault:
    """The same answer to everybody."""
    return lambda _, __: answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def signed(**fields: Any) -> Fault:
    """A well-signed payload in which *fields* are wrong; `...` leaves one out."""

    def fault(world: World, body: Mapping[str, Any]) -> HubResponse:
        said = good(world, body)
        said.update(fields)
        kept = {name: value for name, value in said.items() if value is not ...}
        return answer({"success": True, "license": SIGNER.sign(kept)})

    return fault


def good(world: World, body: Mapping[str, Any]) -> dict[str, Any]:
    """The payload that an honest hub would sign."""
    world.hub.revision += 1
    return payload(world.clock.now(), nonce=body["nonce"], revision=world.hub.revision)


def token(change: Callable[[str], object]) -> Fault:
    """A good token after *change*."""
    return lambda world, body: answer({"success": True, "license": change(SIGNER.sign(good(world, body)))})


def header(**fields: Any) -> Fault:
    """A good payload under another header."""
    return lambda world, body: answer(
        {"success": True, "license": SIGNER.sign(good(world, body), {**HEADER, **fields})}
    )


def raw_payload(change: Callable[[bytes], bytes]) -> Fault:
    """A payload whose bytes were changed before they were signed."""

    def fault(world: World, body: Mapping[str, Any]) -> HubResponse:
        text = change(json.dumps(good(world, body)).encode())
        return answer({"success": True, "license": SIGNER.sign(text)})

    return fault


def limit(text: str) -> Fault:
    """A payload in which maxProjects is written as *text*."""
    return raw_payload(lambda raw: raw.replace(b'"maxProjects": 20', b'"maxProjects": ' + text.encode()))


def flipped(value: str, part: int) -> str:
    """The token with one bit of one part flipped."""
    parts = value.split(".")
    swap = {"A": "B"}.get(parts[part][10], "A")
    parts[part] = parts[part][:10] + swap + parts[part][11:]
    return ".".join(parts)


def general_json(value: str) -> dict[str, Any]:
    """The token in JWS general JSON, without any signature."""
    return {"payload": value.split(".")[1], "signatures": []}


def flattened_json(value: str) -> dict[str, Any]:
    """The token in JWS flattened JSON."""
    protected, body, signature = value.split(".")
    return {"protected": protected, "payload": body, "signature": signature}


def rollback(world: World, body: Mapping[str, Any]) -> HubResponse:
    """An older payload, freshly signed for this very request."""
    return world.hub.license(body, revision=1)


def equivocation(world: World, body: Mapping[str, Any]) -> HubResponse:
    """The revision that is held, with other content."""
    return world.hub.license(body, revision=body["knownRevision"], plan="business")


ROWS: list[tuple[str, str, Fault]] = [
    *[(f"F11 {status}", "http.5xx", plain(b"<html>oops", status)) for status in (500, 502, 504)],
    ("F12 503 retry", "http.5xx", plain(b"", 503, retry_after="30")),
    ("F13 503 long", "http.5xx", plain(b"", 503, retry_after="99999999999999")),
    ("F14 503 odd", "http.5xx", plain(b"", 503, retry_after="abc")),
    ("F15 429", "http.429", plain(b"", 429)),
    ("F15 429 retry", "http.429", plain(b"", 429, retry_after="7")),
    *[(f"F16 {status}", "auth_rejected", plain({"success": False}, status)) for status in (401, 403)],
    *[(f"F17 {status}", "http.4xx", plain(b"no", status)) for status in (404, 410, 402, 451, 418)],
    *[(f"F18 {status}", "http.redirect", plain(b"", status, location="/x")) for status in (301, 302, 307, 308)],
    *[(f"F19 {status}", "http.unexpected_2xx", plain(b"", status)) for status in (204, 205, 206)],
    ("F20 304", "http.304", plain(b"", 304)),
    ("F23 portal", "payload.not_token", plain(b"\n<!DOCTYPE html><html>sign in</html>")),
    ("F24 empty", "payload.empty", plain(b"")),
    ("F24 blank", "payload.empty", plain(b" \n")),
    *[(f"F25 {body!r}", "payload.schema", plain(body)) for body in (b"{}", b"null", b"[]", b"1", b'"x"')],
    ("F25 no license", "payload.schema", plain({"success": True})),
    ("F25 null license", "sig.format", plain({"success": True, "license": None})),
    ("F26 json", "payload.malformed", plain(b'{"success": true, "lic')),
    ("F26 token", "sig.format", token(lambda value: value[: len(value) // 2])),
    ("F26 signature", "sig.invalid", token(lambda value: value[:-2])),
    ("F27 utf-8", "payload.malformed", plain(b'{"success": "\xff"}')),
    ("F27 utf-16", "payload.malformed", plain('{"success": true}'.encode("utf-16"))),
    ("F27 bom", "payload.malformed", plain(b"\xef\xbb\xbf{}")),
    ("F30 deep", "payload.malformed", plain(b"[" * 100_000)),
    ("F30 deep signed", "payload.malformed", raw_payload(lambda _: b'{"a":' * 50_000)),
    ("F31 features", "payload.bounds", signed(features={f"f{n}": True for n in range(30_000)})),
    ("F31 string", "payload.bounds", signed(tenantId="x" * 500_000)),
    ("F32 twice", "payload.duplicate_key", raw_payload(lambda raw: raw[:-1] + b',"plan":"enterprise"}')),
    ("F32 envelope", "payload.duplicate_key", plain(b'{"success":true,"success":true}')),
    *[
        (f"F33 {text}", "payload.schema", limit(text))
        for text in ("NaN", "Infinity", "1e400", "10.0", '"10"', "true", "-5", "-2", "9223372036854775808", "null")
    ],
    *[(f"F34 {value!r}", "payload.schema", signed(features={"aiAssistant": value})) for value in ("false", 1, None)],
    ("F35 nul", "payload.bounds", signed(tenantId="a\0b")),
    ("F35 control", "payload.bounds", signed(statusReason="a\x1b[2Jb")),
    ("F35 key", "payload.bounds", signed(features={"a\nb": True})),
    ("F35 surrogate", "payload.schema", signed(tenantId="\ud800")),
    *[
        (f"F37 {name}", "payload.schema", signed(**{name: ...}))
        for name in ("schema", "iss", "instanceId", "keyHash", "features", "limits", "plan", "status", "graceUntil")
    ],
    ("F37 revision", "payload.schema", signed(revision=...)),
    ("F37 L1 limit", "payload.schema", signed(limits={"maxProjects": 1})),
    ("F37 other status", "payload.schema", signed(status="paused")),
    ("F40 newer", "payload.schema_version", signed(schema=2)),
    ("F40 odd", "payload.schema", signed(schema=True)),
    ("F41 signature", "sig.invalid", token(lambda value: flipped(value, 2))),
    ("F42 payload", "sig.invalid", token(lambda value: flipped(value, 1))),
    ("F42 rogue", "sig.invalid", lambda w, b: answer({"success": True, "license": ROGUE.sign(good(w, b))})),
    *[(f"F43 {alg}", "sig.header", header(alg=alg)) for alg in ("none", "HS256", "RS256", "EdDSA", ["Ed25519"], None)],
    *[(f"F44 {name}", "sig.header", header(**{name: "x"})) for name in ("crit", "jwk", "jku", "x5u", "zip", "b64")],
    ("F45 kid", "sig.unknown_kid", header(kid="k2")),
    ("F46 general", "sig.format", token(general_json)),
    ("F46 flattened", "sig.format", token(flattened_json)),
    ("F46 unsigned", "sig.format", lambda w, b: answer({"success": True, "license": good(w, b)})),
    ("F47 padding", "sig.format", token(lambda value: value + "=")),
    ("F47 space", "sig.format", token(lambda value: value + " ")),
    ("F47 dot", "sig.format", token(lambda value: value + ".")),
    ("F47 not ascii", "sig.format", token(lambda value: value + "é")),
    ("F48 instance", "bind.instance", signed(instanceId="inst_b")),
    ("F48 product", "bind.product", signed(productType="leeram-business")),
    ("F48 license", "bind.license", signed(keyHash="sha256:" + "0" * 64)),
    ("F48 issuer", "bind.issuer", signed(iss="https://other.example")),
    ("F49 rollback", "replay.rollback", rollback),
    ("F49 epoch", "replay.rollback", signed(epoch=0, revision=999)),
    ("F50 equivocation", "replay.equivocation", equivocation),
    ("F51 wrong", "replay.nonce", signed(nonce="AAAAAAAAAAAAAAAAAAAAAA")),
    ("F51 missing", "replay.nonce", signed(nonce=...)),
    ("F54 order", "time.bad_window", signed(freshUntil=1)),
    ("F54 grace", "time.bad_window", signed(graceUntil=2)),
    ("F54 long", "time.bad_window", signed(graceUntil=4_000_000_000)),
    ("F54 beyond", "payload.schema", signed(graceUntil=10**15)),
]


def warm_world() -> tuple[World, LicenseClient]:
    """A client that has had two good syncs."""
    world = World()
    client = world.client()
    client.sync()
    world.clock.advance(MINUTE)
    assert client.sync().ok
    world.clock.advance(MINUTE)
    return world, client


def rights(client: LicenseClient) -> tuple[object, ...]:
    """What must not change."""
    snapshot = client.snapshot()
    permitted = frozenset(operation for operation in Operation if snapshot.permits(operation))
    return snapshot.grant, snapshot.catalog, snapshot.status, permitted, snapshot.revision, snapshot.grace_until


def assert_keeps(world: World, client: LicenseClient, code: str) -> None:
    """The fault that is on changes nothing, now and over a restart; and afterwards all is well."""
    before, record = rights(client), world.store.record
    result = client.sync()
    assert (result.ok, result.code) == (False, code)
    assert result.next_in is not None
    assert SECOND <= result.next_in <= 990 * SECOND
    assert rights(client) == before
    assert world.store.record == record
    restarted = world.client()
    restarted.load()
    assert rights(restarted) == before
    assert restarted.sync().code == code
    assert rights(restarted) == before
    assert world.store.record == record


def assert_recovers(world: World, client: LicenseClient) -> None:
    """With a good hub again the first sync brings ACTIVE."""
    world.hub.comes_back()
    world.hub.revision += 10
    world.clock.advance(MINUTE)
    assert client.sync().ok
    assert client.snapshot().status is LicenseStatus.ACTIVE


@pytest.mark.parametrize(("code", "fault"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_answers_that_change_nothing(code: str, fault: Fault) -> None:
    """Status codes, bodies, tokens and bindings: KEEP, with the matrix's word for it."""
    world, client = warm_world()
    world.hub.fault = lambda body: fault(world, body)
    assert_keeps(world, client, code)
    assert_recovers(world, client)


class Rerouted:
    """A transport that takes the client's requests to a socket server instead of the configured hub."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        # Only what waits for the deadline has a short one: a busy machine must not turn others into it.
        seconds = 0.4 if server.script in {silence, drip} else 30
        self._inner = HttpxTransport(deadline=timedelta(seconds=seconds))

    def post(self, request: HubRequest) -> HubResponse:
        return self._inner.post(replace(request, url=self._server.url + "/api/license/sync"))

    def close(self) -> None:
        self._inner.close()


def silence(conversation: Conversation) -> None:
    """Accepts and says nothing."""
    conversation.read_request()
    conversation.fall_silent()


def drip(conversation: Conversation) -> None:
    """A byte now and then."""
    conversation.read_request()
    conversation.drip(response(b"x" * 1000), 0.02)


def reset(conversation: Conversation) -> None:
    """RST."""
    conversation.read_request()
    conversation.reset()


NAMES = st.sampled_from(sorted(payload(World().clock.now()))) | st.text(max_size=4)
JSON_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def json_nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and objects, with the names of a payload among the keys."""
    return st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=8)


def in_envelope(body: object) -> bytes:
    """JSON as the license of an answer."""
    return json.dumps({"success": True, "license": body}).encode()


BOMB = gzip.compress(b"\0" * (4 << 20))
HUGE = b"HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n" + b"x" * 1000
WIRE_ROWS: list[tuple[str, str, Script]] = [
    ("F3 silence", "transport.deadline", silence),
    ("F4 F5 drip", "transport.deadline", drip),
    ("F6 reset", "transport.reset", reset),
    ("F7 truncated", "transport.truncated", says(response(b"x" * 100)[:-50])),
    ("F8 chunks", "transport.protocol", says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")),
    ("F11 500", "http.5xx", says(response(b"<html>", "500 Oops"))),
    ("F18 redirect", "http.redirect", says(response(b"", "302 Found", "Location: https://evil.example/"))),
    ("F23 portal", "payload.not_token", says(response(b"<html>sign in</html>"))),
    ("F28 huge", "payload.too_large", says(HUGE)),
    ("F29 bomb", "payload.encoding", says(response(BOMB, "200 OK", "Content-Encoding: gzip"))),
]


@pytest.mark.parametrize(("code", "script"), [row[1:] for row in WIRE_ROWS], ids=[row[0] for row in WIRE_ROWS])
def test_wires_that_change_nothing(code: str, script: Script) -> None:
    """The same on a real socket, for what an answer in memory cannot do."""
    world, client = warm_world()
    with FaultServer(script) as server:
        transport = Rerouted(server)

        def through_the_wire(_: Mapping[str, Any]) -> HubResponse:
            return transport.post(world.hub.requests[-1])

        world.hub.fault = through_the_wire
        assert_keeps(world, client, code)
        assert server.await_requests(2) == 2
    assert_recovers(world, client)


def test_not_modified_before_any_license() -> None:
    """F21: nothing conditional was asked, so a 304 is no answer; the instance stays PENDING and asks again."""
    world = World()
    client = world.client()
    world.hub.answers(b"", 304)
    assert client.sync().code == "http.304"
    assert client.snapshot().status is LicenseStatus.PENDING
    assert_recovers(world, client)


@given(st.one_of(st.binary(max_size=300), st.recursive(JSON_LEAVES, json_nodes, max_leaves=8).map(in_envelope)))
def test_no_bytes_of_a_hub_take_anything_away(body: bytes) -> None:
    """Whatever a 200 says, short of what the hub signed for this request, changes nothing and raises nothing."""
    world, client = warm_world()
    before = rights(client)
    world.hub.answers(body)
    assert not client.sync().ok
    assert rights(client) == before


@pytest.mark.parametrize(
    ("row", "code"),
    [("F1", "transport.connect"), ("F2", "transport.dns"), ("F9", "transport.tls"), ("F10", "transport.connect")],
)
def test_transports_that_fail(row: str, code: str) -> None:
    """What `test_http` proves of the transport, seen by the client."""
    world, client = warm_world()
    world.hub.goes_down(code)
    assert_keeps(world, client, code)
    assert_recovers(world, client)


def test_a_transport_that_raises_anything_is_survived() -> None:
    """A host's own transport may be wrong; the loop goes on."""
    world, client = warm_world()

    def broken(_: Mapping[str, Any]) -> NoReturn:
        raise RuntimeError("bug")

    world.hub.fault = broken
    assert_keeps(world, client, "transport.failed")
    assert_recovers(world, client)


@pytest.mark.parametrize(("retry_after", "least", "most"), [("30", 30, 33), ("3600", 900, 990), ("-1", 5, 300)])
def test_retry_after_is_obeyed_within_bounds(retry_after: str, least: int, most: int) -> None:
    """F12, F13, F14: the next attempt comes when the hub asked, never later than 990 s."""
    world, client = warm_world()
    world.hub.answers(b"", 503, {"retry-after": retry_after})
    wait = client.sync().next_in
    assert wait is not None
    assert least * SECOND <= wait <= most * SECOND
    asked = len(world.hub.requests)
    world.pass_time(client, least * SECOND - SECOND, step=SECOND)
    assert len(world.hub.requests) == asked
    world.pass_time(client, (most - least + 2) * SECOND, step=SECOND)
    assert len(world.hub.requests) > asked


def test_refused_for_ever_never_stops_polling() -> None:
    """F16: thousands of 401 and 403 change nothing, and the first 200 brings ACTIVE."""
    world, client = warm_world()
    for status in [401, 403, 404, 429, 500] * 200:
        world.hub.answers(b"", status)
        world.clock.advance(5 * SECOND)
        client.sync()
    assert client.snapshot().permits(Operation.CREATE)
    assert_recovers(world, client)


def test_the_hubs_code_is_reported() -> None:
    """What the hub says beside an error is in the result, if it is a code and nothing else."""
    world, client = warm_world()
    world.hub.answers({"success": False, "error": "over", "code": "instance_limit_reached"}, 409)
    result = client.sync()
    assert (result.code, result.hub_code) == ("http.4xx", "instance_limit_reached")
    world.clock.advance(MINUTE)
    world.hub.answers({"success": False, "error": "x", "code": "<script>"}, 409)
    assert client.sync().hub_code is None


def test_unknown_names_are_kept_and_grant_nothing_today() -> None:
    """F36: fields, features and limits newer than this kit are accepted and listed."""
    world, client = warm_world()
    said = payload(world.clock.now())
    world.hub.says = {
        "somethingNew": {"a": [1]},
        "features": {**said["features"], "teleport": True},
        "limits": {**said["limits"], "maxPortals": 3},
    }
    assert client.sync().ok
    snapshot = client.snapshot()
    assert [key.key for key in snapshot.unknown_keys] == ["teleport", "maxPortals"]
    assert snapshot.grant is not None
    assert "teleport" in snapshot.grant.features


@pytest.mark.parametrize(
    "loss",
    [{"features": {}}, {"limits": dict.fromkeys(payload(World().clock.now())["limits"], 0)}],
    ids=["features", "limits"],
)
def test_a_payload_that_takes_all_is_asked_for_again(loss: dict[str, Any]) -> None:
    """F38: held back, asked again after 30 to 90 s, applied when the second agrees."""
    world, client = warm_world()
    before, record = rights(client), world.store.record
    world.hub.says = loss
    result = client.sync()
    assert (result.ok, result.code) == (False, "payload.held")
    assert result.next_in is not None
    assert 30 * SECOND <= result.next_in <= 90 * SECOND
    assert client.snapshot().held_payload
    assert (rights(client), world.store.record) == (before, record)
    world.pass_time(client, 91 * SECOND, step=SECOND)
    assert not client.snapshot().held_payload
    assert rights(client) != before
    assert client.snapshot().last_sync_code == "ok"


def test_a_mistake_of_the_hub_passes_by() -> None:
    """F38: when the second payload is good again, nothing was ever lost."""
    world, client = warm_world()
    world.hub.says = {"features": {}}
    client.sync()
    world.hub.says = {}
    world.pass_time(client, 91 * SECOND, step=SECOND)
    snapshot = client.snapshot()
    assert snapshot.grant is not None
    assert snapshot.grant.features
    assert not snapshot.held_payload


def test_agreeing_too_soon_is_not_agreeing() -> None:
    """F38: a second look within thirty seconds proves nothing."""
    world, client = warm_world()
    world.hub.says = {"features": {}}
    client.sync()
    world.clock.advance(29 * SECOND)
    assert client.sync().code == "payload.held"
    world.clock.advance(6 * SECOND)
    assert client.sync().ok


def test_an_emptied_catalog_is_asked_for_again() -> None:
    """F39: no plans while some are held, whatever the plan says; agreed upon, the license part applies."""
    world, client = warm_world()
    world.hub.says = {"catalog": {"revision": 8, "plans": []}, "plan": "business"}
    assert client.sync().code == "payload.held"
    assert client.snapshot().catalog is not None
    world.clock.advance(40 * SECOND)
    assert client.sync().ok
    assert (client.snapshot().catalog, client.snapshot().plan) == (None, "business")
    assert client.snapshot().catalog_error == "the catalog has no plans"


@pytest.mark.parametrize("change", [{"plan": "hobby"}, {"status": "suspended"}])
def test_what_says_why_is_applied_at_once(change: dict[str, Any]) -> None:
    """F38: another plan or status is explicit and never held back."""
    world, client = warm_world()
    world.hub.says = {"features": {}, **change}
    assert client.sync().ok


@pytest.mark.parametrize(
    "catalog",
    [
        [],
        "x",
        {"revision": 8},
        {"revision": -1, "plans": [plan("a", isDefault=True)]},
        {"revision": 8, "plans": [plan("a")]},
        {"revision": 8, "plans": [plan("a", isDefault=True), plan("a")]},
        {"revision": 8, "plans": [plan("a", isDefault=True), plan("b", priceCents=5)]},
        {"revision": 8, "plans": [plan("a", isDefault=True), plan("b", priceCents=5, currency="zzz")]},
        {"revision": 8, "plans": [plan("a", isDefault=True, features={"login": True})]},
        {"revision": 8, "plans": [plan("internal", isDefault=True)]},
        {"revision": 8, "plans": [plan(f"p{n}", isDefault=n == 0) for n in range(4000)]},
        {"revision": 8, "plans": [plan("a", isDefault=True, name="\x07")]},
    ],
)
def test_a_malformed_catalog_keeps_the_held_one(catalog: object) -> None:
    """F31: the catalog is judged on its own; the license part is applied."""
    world, client = warm_world()
    before = client.snapshot().catalog
    world.hub.says = {"catalog": catalog, "plan": "business"}
    assert client.sync().ok
    snapshot = client.snapshot()
    assert (snapshot.catalog, snapshot.catalog_revision, snapshot.plan) == (before, CATALOG["revision"], "business")
    assert snapshot.catalog_error
    assert len(snapshot.catalog_error) < 500


@pytest.mark.parametrize("skew", [timedelta(hours=1), timedelta(days=-400), timedelta(days=3000)])
def test_a_wrong_clock_moves_nothing_while_both_talk(skew: timedelta) -> None:
    """F52: whichever clock is wrong, the license is ACTIVE, and the flag says that something is off."""
    world, client = warm_world()
    world.hub.skew = skew
    assert client.sync().ok
    assert client.snapshot().status is LicenseStatus.ACTIVE
    assert client.snapshot().clock_suspect
    world.clock.advance(4 * MINUTE)
    assert client.snapshot().status is LicenseStatus.STALE


@pytest.mark.parametrize(("apart", "is_suspect"), [(300, False), (301, True), (-300, False), (-301, True)])
def test_five_minutes_are_the_limit_of_trust_in_a_clock(apart: int, *, is_suspect: bool) -> None:
    """F52: the flag goes up above 300 s in either direction, when an answer comes and while time passes."""
    world = World()
    world.hub.skew = timedelta(seconds=apart)
    client = world.client()
    client.sync()
    assert client.snapshot().clock_suspect is is_suspect
    world.hub.skew = timedelta()
    world.clock.advance(MINUTE)
    client.sync()
    assert not client.snapshot().clock_suspect
    world.clock.jump(timedelta(seconds=apart))
    client.tick()
    assert client.snapshot().clock_suspect is is_suspect


def test_a_payload_without_any_time_left_is_expired_on_arrival() -> None:
    """F53: accepted for the order of answers, and EXPIRED."""
    world, client = warm_world()
    now = payload(world.clock.now())["issuedAt"]
    world.hub.says = {"freshUntil": now, "graceUntil": now}
    assert client.sync().ok
    assert client.snapshot().status is LicenseStatus.EXPIRED
    assert client.snapshot().permits(Operation.USE)


@pytest.mark.parametrize(("beyond", "code"), [(0, "ok"), (1, "time.bad_window")])
def test_a_window_is_45_days_at_most(beyond: int, code: str) -> None:
    """F54: to the second; not even the hub's own key makes a license for longer."""
    world = World()
    world.hub.says = {"graceUntil": to_timestamp(world.clock.now()) + 45 * 86_400 + beyond}
    assert world.client().sync().code == code


def test_suspended_is_suspended_at_once() -> None:
    """F55: a signed status counts without delay; what runs goes on."""
    world, client = warm_world()
    world.hub.says = {"status": "suspended", "statusReason": "payment failed"}
    assert client.sync().status is LicenseStatus.SUSPENDED
    snapshot = client.snapshot()
    assert snapshot.status_reason == "payment failed"
    assert [operation.value for operation in Operation if snapshot.permits(operation)] == ["use", "run"]


def test_revoked_stays_revoked_against_a_replay() -> None:
    """F56: an older active payload is a rollback, also after a restart; a newer one lifts it."""
    world, client = warm_world()
    world.hub.says = {"status": "revoked"}
    client.sync()
    assert (client.snapshot().status, client.snapshot().grant) == (LicenseStatus.REVOKED, None)
    world.hub.says = {}
    world.hub.fault = lambda body: world.hub.license(body, revision=2)
    for process in (client, world.client()):
        world.clock.advance(MINUTE)
        assert process.sync().code == "replay.rollback"
        assert process.snapshot().status is LicenseStatus.REVOKED
    world.hub.comes_back()
    world.hub.revision = 50
    world.clock.advance(MINUTE)
    assert client.sync().status is LicenseStatus.ACTIVE


def test_an_outage_within_the_grace_blocks_nothing() -> None:
    """F57, F58, F59: CREATE holds for 6 d 23 h, ends at 7 d, and is back with the hub, without a restart."""
    world = World()
    client = world.client()
    client.sync()
    world.hub.goes_down()
    for _ in range(167):
        world.pass_time(client, timedelta(hours=1), step=timedelta(minutes=20))
        assert client.snapshot().permits(Operation.CREATE)
    assert client.snapshot().status is LicenseStatus.GRACE
    world.pass_time(client, timedelta(hours=1, seconds=1), step=timedelta(minutes=20))
    snapshot = client.snapshot()
    assert (snapshot.status, snapshot.status_reason) == (LicenseStatus.EXPIRED, "offline")
    assert not snapshot.permits(Operation.CREATE)
    world.hub.comes_back()
    world.pass_time(client, timedelta(minutes=6), step=SECOND)
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_flapping_hub_never_costs_more_than_freshness() -> None:
    """F60: every second exchange fails for a day; it is ACTIVE or STALE all the time."""
    world = World()
    client = world.client()
    client.sync()
    for number in range(24 * 60):
        world.hub.comes_back()
        if number % 2:
            world.hub.goes_down()
        world.pass_time(client, MINUTE)
        assert client.snapshot().status in {LicenseStatus.ACTIVE, LicenseStatus.STALE}


@pytest.mark.parametrize("back", [timedelta(hours=-1), timedelta(days=-400)])
@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_set_back_extends_nothing(back: timedelta, *, restart: bool) -> None:
    """F62: the grace ends when it ends, the loop keeps its rhythm, the flag is up."""
    world = World()
    client = world.client()
    client.sync()
    world.hub.goes_down()
    world.pass_time(client, 2 * DAY, step=timedelta(minutes=10))
    world.clock.jump(back)
    if restart:
        client = world.client()
    client.tick()
    assert client.snapshot().clock_suspect
    assert client.snapshot().status is LicenseStatus.GRACE
    asked = len(world.hub.requests)
    world.pass_time(client, timedelta(minutes=10), step=SECOND)
    assert len(world.hub.requests) > asked
    if not restart:
        world.pass_time(client, 6 * DAY, step=timedelta(minutes=10))
        assert client.snapshot().status is LicenseStatus.EXPIRED


def test_a_clock_that_jumps_ahead_and_is_mended_costs_nothing() -> None:
    """F63: ten years ahead over a restart is EXPIRED; right again, the next sync is ACTIVE."""
    world, client = warm_world()
    world.clock.jump(timedelta(days=3650))
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.EXPIRED
    world.pass_time(client, timedelta(hours=2), step=timedelta(minutes=30))
    world.clock.jump(timedelta(days=-3650))
    world.hub.comes_back()
    world.clock.advance(MINUTE)
    assert client.sync().status is LicenseStatus.ACTIVE
    again = world.client()
    again.load()
    assert again.snapshot().status is LicenseStatus.ACTIVE


def test_after_three_days_of_sleep_one_tick_is_enough() -> None:
    """F64: suspended for three days, the first tick syncs."""
    world, client = warm_world()
    client.tick()
    world.clock.advance(3 * DAY)
    assert client.snapshot().status is LicenseStatus.GRACE
    client.tick()
    assert client.snapshot().status is LicenseStatus.ACTIVE


@pytest.mark.parametrize("seconds", [1_709_164_800, 2_147_483_647, 2_147_483_648, 4_102_444_800, 221_845_000_000])
def test_dates_have_no_corners(seconds: int) -> None:
    """F65: leap day, 2038, 2100 and the year 8999 are seconds like others."""
    world, client = warm_world()
    world.hub.says = {"issuedAt": seconds, "freshUntil": seconds + 180, "graceUntil": seconds + 86_400}
    assert client.sync().ok
    assert client.snapshot().status is LicenseStatus.ACTIVE


@pytest.mark.parametrize("body", [b"", b"\0" * 100, b"cposix\nsystem\n(S'false'\ntR.", b"a.b.c", b"{}", b"\xff" * 5000])
def test_a_cache_that_is_no_token_is_absent(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """F67, F68: damaged or malicious bytes are an event, an absent cache and replaced by the next sync."""
    world, _ = warm_world()
    assert world.store.record is not None
    world.store.record = replace(world.store.record, body=body)
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.PENDING
    assert "treated as absent" in caplog.text
    assert client.sync().ok
    assert world.store.record.body != body


def test_no_single_changed_byte_of_the_cache_is_believed() -> None:
    """Invariant 13: any flip in the stored token is an absent cache."""
    world, _ = warm_world()
    assert world.store.record is not None
    good_record = world.store.record
    for place in range(0, len(good_record.body), 7):
        body = bytearray(good_record.body)
        body[place] ^= 1
        world.store.record = replace(good_record, body=bytes(body))
        client = world.client()
        client.load()
        assert client.snapshot().status is LicenseStatus.PENDING


def test_a_cache_of_another_trust_mode_is_absent() -> None:
    """F70: what a newer or differently trusting kit stored is not read as ours."""
    world, _ = warm_world()
    assert world.store.record is not None
    world.store.record = replace(world.store.record, trust="something-new")
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.PENDING


def test_a_poisoned_cache_of_another_tenant_is_absent() -> None:
    """F73: a genuine token of another instance does not bind."""
    world, _ = warm_world()
    assert world.store.record is not None
    foreign = SIGNER.sign(payload(world.clock.now(), instanceId="inst_b", plan="enterprise", nonce="x")).encode()
    world.store.record = replace(world.store.record, body=foreign, revision=99)
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.PENDING


def test_disk_trouble_costs_the_cache_only() -> None:
    """F69: a store that cannot write leaves rights in memory, and is tried again."""
    world, client = warm_world()
    world.store.is_broken = True
    assert client.sync().ok
    assert client.snapshot().revision == 3
    world.store.is_broken = False
    client.tick()
    assert world.store.record is not None
    assert world.store.record.revision == 3


def test_store_and_hub_down_at_start() -> None:
    """F71, F72: PENDING without an exception; with the hub back it works from memory."""
    world = World()
    world.store.is_broken = True
    world.hub.goes_down()
    client = world.client()
    assert client.sync().status is LicenseStatus.PENDING
    world.hub.comes_back()
    world.clock.advance(5 * SECOND)
    assert client.sync().status is LicenseStatus.ACTIVE


def test_a_stuck_lease_is_taken_over_and_followers_serve() -> None:
    """F74, F75: a crashed holder costs a lease's time; meanwhile the store's license is served."""
    world = World()
    world.client().sync()
    world.store.leases["license-sync"] = "crashed", world.clock.now() + 80 * SECOND
    client = world.client()
    client.load()
    assert client.snapshot().status is LicenseStatus.ACTIVE
    asked = len(world.hub.requests)
    world.pass_time(client, 79 * SECOND, step=SECOND)
    assert len(world.hub.requests) == asked
    world.pass_time(client, 10 * SECOND, step=SECOND)
    assert len(world.hub.requests) > asked


def test_a_late_replica_overwrites_nothing() -> None:
    """F76: the store refuses the older answer; the late replica publishes the stored one instead."""
    world = World()
    late, other = world.client(), world.client()
    late.load()
    other.load()

    def overtaken(body: Mapping[str, Any]) -> HubResponse:
        world.hub.comes_back()
        mine = world.hub.license(body)
        assert other.sync().ok
        return mine

    world.hub.fault = overtaken
    late.sync()
    assert world.store.record is not None
    assert world.store.record.revision == 2
    assert late.snapshot().revision == 2


def test_usage_is_reported_as_totals_in_order() -> None:
    """F90: absolute counts with a rising number, also over failures and restarts."""
    world, client = warm_world()
    numbers = [body["reportSeq"] for body in world.hub.bodies]
    for _ in range(3):
        world.hub.goes_down()
        world.clock.advance(MINUTE)
        client.sync()
        world.hub.comes_back()
        world.clock.advance(MINUTE)
        client.sync()
        world.clock.advance(MINUTE)
        client = world.client()
        client.sync()
    numbers = [body["reportSeq"] for body in world.hub.bodies]
    assert numbers == sorted(set(numbers))
    assert all(0 < number < 2**63 for number in numbers)
