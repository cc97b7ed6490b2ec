import gzip
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from tests.license.doubles import KEY
from tests.license.fault_server import Conversation, FaultServer, Script, response, says

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.errors import HubUnavailableError
from kuploy_saas_kit.license import HttpxTransport, http
from kuploy_saas_kit.license.ports import HubRequest, HubResponse

MIB = 1 << 20


def ask(url: str, deadline: float = 10) -> HubResponse:
    """One exchange with a transport of its own."""
    transport = HttpxTransport(deadline=timedelta(seconds=deadline))
    try:
        return transport.post(HubRequest(url + "/x", {"Authorization": f"Bearer {KEY}"}, b"{}"))
    finally:
        transport.close()


def fault(script: Script, deadline: float = 10) -> str:
    """The code of the error that *script* leads to."""
    with FaultServer(script) as server, pytest.raises(HubUnavailableError) as caught:
        ask(server.url, deadline)
    assert caught.value.__cause__ is not None or caught.value.code.startswith(("payload.", "transport.deadline"))
    assert_no_secret(caught.value)
    return caught.value.code


def assert_no_secret(error: BaseException) -> None:
    """Neither the text nor any local variable of the traceback has the key."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    inside = [line for line in told.format() if "tests/license" not in line]
    assert KEY not in "".join(inside)
    assert KEY not in repr(error)


def test_a_good_answer_comes_as_it_was_sent() -> None:
    """Status, lower-case headers and the body's bytes."""
    with FaultServer(says(response(b'{"a": 1}', "200 OK", "X-Thing: Y"))) as server:
        got = ask(server.url)
    assert (got.status, got.body, got.headers["x-thing"]) == (200, b'{"a": 1}', "Y")


def test_interim_answers_are_passed_over() -> None:
    """100 and 103 before the 200 are normal (F22)."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + response(b"ok")
    with FaultServer(says(raw)) as server:
        assert ask(server.url).body == b"ok"


@contextmanager
def nobody() -> Iterator[str]:
    """An address that is taken, so that no other process begins to listen there."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_nobody_listens() -> None:
    """A refused connection (F1)."""
    with nobody() as url, pytest.raises(HubUnavailableError) as caught:
        ask(url)
    assert caught.value.code == "transport.connect"


@pytest.mark.parametrize("reason", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_name_that_does_not_exist(reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """NXDOMAIN, or no name server at all (F2); the machine's own is not asked, which may take its time or lie."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(reason, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(HubUnavailableError) as caught:
        ask("https://no-such-host.invalid")
    assert caught.value.code == "transport.dns"


def test_how_long_anything_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 s for a connection, 5 s for each piece of an answer, 10 s for an exchange as a whole."""
    monkeypatch.undo()  # other tests are more patient
    with http._new_client() as client:
        assert client.timeout == httpx.Timeout(5.0, connect=3.0)
    transport = HttpxTransport()
    assert transport._deadline == timedelta(seconds=10)


def test_silence_ends_at_the_read_timeout() -> None:
    """Accepted, then nothing (F3): the watchdog and the read timeout both end it."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.fall_silent()

    assert fault(script, deadline=0.3) == "transport.deadline"


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_drip_ends_at_the_deadline(part: str) -> None:
    """A byte now and then resets every read timeout, and not the deadline (F4, F5)."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        raw = response(b"x" * 1000)
        if part == "body":
            conversation.send(raw[:-1000])
            raw = raw[-1000:]
        conversation.drip(raw, 0.02)

    clock = SystemClock()
    began = clock.elapsed()
    assert fault(script, deadline=0.5) == "transport.deadline"
    assert clock.elapsed() - began < timedelta(seconds=15)


def test_a_reset_connection() -> None:
    """RST after the request (F6)."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.reset()

    assert fault(script) == "transport.reset"


def test_a_connection_closed_without_an_answer() -> None:
    """FIN instead of an answer (F6)."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()

    assert fault(script) == "transport.reset"


@pytest.mark.parametrize(
    "raw",
    [response(b"x" * 100)[:-50], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"],
)
def test_a_body_that_breaks_off(raw: bytes) -> None:
    """Closed before all was there (F7)."""
    assert fault(says(raw)) == "transport.truncated"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
    ],
)
def test_what_is_not_http(raw: bytes) -> None:
    """Bad chunks, bad lengths, other protocols (F8)."""
    assert fault(says(raw)) == "transport.protocol"


def test_tls_that_cannot_be_verified(tmp_path: Path) -> None:
    """A self-signed certificate is refused, and nothing falls back to http (F9)."""
    certificate = tmp_path / "hub.pem"
    _self_signed(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def script(conversation: Conversation) -> None:
        with context.wrap_socket(conversation.connection, server_side=True):
            pass

    with FaultServer(script) as server, pytest.raises(HubUnavailableError) as caught:
        ask(server.url.replace("http:", "https:"))
    assert caught.value.code == "transport.tls"
    assert server.requests == 1


def test_a_plain_server_behind_https() -> None:
    """A server that speaks no TLS at all is a TLS failure too (F9)."""
    plain = FaultServer(lambda conversation: conversation.send(response(b"hi")))
    with plain as server, pytest.raises(HubUnavailableError) as caught:
        ask(server.url.replace("http:", "https:"))
    assert caught.value.code == "transport.tls"


def test_a_dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies come from the environment; one that is dead is no connection (F10)."""
    with nobody() as dead:
        monkeypatch.setenv("HTTPS_PROXY", dead)
        with pytest.raises(HubUnavailableError) as caught:
            ask("https://hub.invalid")
    assert caught.value.code == "transport.connect"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_plain_http_goes_through_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub on this machine is reached directly, so that no proxy sees the key in the clear."""
    with FaultServer(says(response(b"proxy"))) as proxy, FaultServer(says(response(b"hub"))) as server:
        monkeypatch.setenv(name, proxy.url)
        assert ask(server.url).body == b"hub"
    assert proxy.requests == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(status: str) -> None:
    """The license key is never carried to where a redirect points (F18)."""
    with FaultServer(says(response(b""))) as target:
        with FaultServer(says(response(b"", status, f"Location: {target.url}/y"))) as server:
            assert ask(server.url).status == int(status[:3])
        assert target.requests == 0
        assert server.requests == 1


@pytest.mark.parametrize("length", [MIB + 1, 200 * MIB, 10**18, 10**30])
def test_a_body_that_says_it_is_huge_is_not_read(length: int) -> None:
    """A declared length above the cap ends it before the body (F28)."""
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    assert fault(says(raw + b"x" * 100)) in {"payload.too_large", "transport.protocol"}


def test_a_body_that_grows_is_cut_at_the_cap() -> None:
    """Chunks without an end are read up to 1 MiB and a little (F28)."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(200):
            conversation.send(b"100000\r\n" + b"x" * MIB + b"\r\n")

    tracemalloc.start()
    try:
        assert fault(script) == "payload.too_large"
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip"])
def test_encoded_bodies_are_refused_unread(encoding: str) -> None:
    """Identity was asked for, so a bomb is never decompressed (F29)."""
    bomb = gzip.compress(b"\0" * (8 * MIB))
    assert fault(says(response(bomb, "200 OK", f"Content-Encoding: {encoding}"))) == "payload.encoding"


def test_the_transport_asks_again_after_close() -> None:
    """Closing lets go of connections only."""
    transport = HttpxTransport()
    with FaultServer(says(response(b"ok"))) as server:
        for _ in range(2):
            assert transport.post(HubRequest(server.url, {}, b"{}")).body == b"ok"
            transport.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children_get_their_own_answers() -> None:
    """A transport that was used before a fork answers nobody else's question in the children (F77)."""
    script = """
        import os, sys
        from kuploy_saas_kit.license import HttpxTransport, http
        from kuploy_saas_kit.license.ports import HubRequest
        from tests.license.fault_server import FaultServer, Conversation, response

        def echo(conversation: Conversation) -> None:
            head, body = conversation.read_request()
            conversation.send(response(body))

        url = sys.argv[1]
        transport = HttpxTransport()
        transport.post(HubRequest(url, {}, b"parent"))
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                said = [f"{number}-{turn}".encode() for turn in range(20)]
                wrong = sum(transport.post(HubRequest(url, {}, text)).body != text for text in said)
                os._exit(wrong)
            children.append(child)
        sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
    """

    def echo(conversation: Conversation) -> None:
        conversation.send(response(conversation.read_request()[1]))

    with FaultServer(echo) as server:
        command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), server.url]
        done = subprocess.run(command, check=False, timeout=100, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr


def _self_signed(path: Path) -> None:
    from cryptography import x509  # noqa: PLC0415 - only this test makes certificates
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
