"""A small HTTP server on loopback that can also fail as sockets do. Standard library only."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias

from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.testing.faults import Outage

_HOST: Final = "127.0.0.1"
_MAX_BODY: Final = 1 << 20
_IDLE_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.02
_DRIP_SECONDS: Final = 1.0
# SO_LINGER with a time of 0: closing resets the connection.
_RESET: Final = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SocketFault:
    """An outage that happens on the socket, and the response that it spoils, if the hub made one."""

    outage: Outage
    response: HubResponse | None = None


Answer: TypeAlias = HubResponse | SocketFault


class LoopbackServer:
    """Serves POST requests out of *answer* in threads of its own, on one port from `open` to `close`.

    While *is_refusing* says so the port is held and nobody listens on it; `settle` looks again.
    """

    def __init__(self, answer: Callable[[HubRequest], Answer], is_refusing: Callable[[], bool]) -> None:
        self.answer = answer
        self.is_refusing = is_refusing
        self._lock = threading.Lock()
        self._port = 0
        self._held: socket.socket | None = None
        self._listening: _Server | None = None
        self._servers: list[_Server] = []

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{_HOST}:{self._port}"

    def open(self) -> None:
        """Take a free port and serve on it."""
        with self._lock:
            self._held = self._bound()
        self.settle()

    def settle(self) -> None:
        """Listen or refuse, as *is_refusing* has it now, and let go of hung connections."""
        with self._lock:
            if self._listening is not None and self.is_refusing():
                self._listening.stop_listening()
                self._listening, self._held = None, self._bound()
            elif self._held is not None and not self.is_refusing():
                self._listening, self._held = _Server(self, self._held), None
                self._servers.append(self._listening)
            for server in self._servers:
                server.let_go()

    def close(self) -> None:
        """Stop, and join all threads."""
        with self._lock:
            servers, self._servers = self._servers, []
            if self._listening is not None:
                self._listening.stop_listening()
            if self._held is not None:
                self._held.close()
            self._listening = self._held = None
        # Outside the lock, which a request that is being answered may want.
        for server in servers:
            server.finish()

    def _bound(self) -> socket.socket:
        """A socket that has our port and does not listen: connecting to it is refused."""
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_HOST, self._port))
        self._port = bound.getsockname()[1]
        return bound


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, loopback: LoopbackServer, listener: socket.socket) -> None:
        super().__init__((_HOST, 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self.loopback = loopback
        self.released = threading.Event()
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self.server_activate()
        self._loop = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="loopback-hub", daemon=True
        )
        self._loop.start()

    def stop_listening(self) -> None:
        """Accept nothing more; what is being answered goes on."""
        self.shutdown()
        self._loop.join()
        self.socket.close()

    def let_go(self) -> None:
        """End the hung connections; later ones may hang again."""
        self.released.set()
        self.released = threading.Event()

    def finish(self) -> None:
        """End all connections and join their threads."""
        self.released.set()
        with self._guard:
            for connection in self._open:
                _hang_up(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a client of the loopback hub went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _IDLE_SECONDS
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.close_connection = True
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _MAX_BODY:
            self.send_error(413)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = f"http://{headers.get('host', _HOST)}{self.path}"
        request = HubRequest(url, headers, self.rfile.read(int(length)))
        released = self.server.released
        answer = self.server.loopback.answer(request)
        if self.server.loopback.is_refusing():
            # Before this answer is out, so that the client's next connection is refused for sure.
            self.server.loopback.settle()
        if isinstance(answer, HubResponse):
            self._send(answer)
        else:
            self._fail(answer, released)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Say nothing: what was asked stands in the simulator's `requests`."""

    def _send(self, response: HubResponse, *, cut: int | None = None) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(response.body[:cut])

    def _fail(self, fault: SocketFault, released: threading.Event) -> None:
        response = fault.response or HubResponse(200, {}, b"")
        match fault.outage:
            case Outage.TRUNCATED:
                self._send(response, cut=len(response.body) // 2)
            case Outage.DRIP:
                self._send(response, cut=0)
                self._drip(response.body, released)
            case Outage.TIMEOUT:
                released.wait()
            case _:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.connection.close()

    def _drip(self, body: bytes, released: threading.Event) -> None:
        for byte in body:
            if released.wait(_DRIP_SECONDS):
                return
            self.wfile.write(bytes([byte]))


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        _log.debug("the client was gone already")
