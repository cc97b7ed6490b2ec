"""The simulator on loopback, for whoever speaks HTTP to it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from kuploy_saas_kit.testing.stripe.engine import Engine, LostError
from kuploy_saas_kit.testing.stripe.wire import Answer, Inquiry

_MAX_BODY = 1_000_000
_log = logging.getLogger(__name__)


@contextmanager
def serve(engine: Engine) -> Iterator[str]:
    """Listen on a free loopback port while the block runs, and give its address."""
    with _Server(engine) as server:
        thread = Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="stripe-simulator", daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.hang_up()


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._open: set[socket.socket] = set()
        self._guard = Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Break the connections that clients still hold open, so that their threads end."""
        with self._guard:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a client of the simulator went away, or what it asked could not be answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small unbuffered writes run into Nagle's algorithm and delayed acknowledgements: 44 ms a request.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = min(int(self.headers.get("Content-Length") or 0), _MAX_BODY)
        body = self.rfile.read(length).decode()
        try:
            answer = self.server.engine.answer(Inquiry.parse(self.command, self.path, dict(self.headers.items()), body))
        except LostError as lost:
            self._break(lost)
        except Exception as error:
            self._send(Answer.of(501, {"error": {"type": "api_error", "message": f"the simulator: {error!r}"}}, {}))
            raise
        else:
            self._send(answer)

    def _break(self, lost: LostError) -> None:
        self.close_connection = True
        if lost.kind == "timeout":
            # Silent until the client gives up.
            self.connection.recv(1)

    def _send(self, answer: Answer) -> None:
        content = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the base class gives it
        """Keep quiet."""
