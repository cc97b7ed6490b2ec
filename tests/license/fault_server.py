"""A raw socket server that misbehaves on purpose; it knows nothing of HTTP libraries."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_END_OF_HEADERS = b"\r\n\r\n"


class Conversation:
    """One connection: the request that came, and the raw bytes of the answer."""

    def __init__(self, connection: socket.socket, stop: threading.Event) -> None:
        self.connection = connection
        self.stop = stop

    def read_request(self) -> tuple[bytes, bytes]:
        """Head and body of the request."""
        received = b""
        while _END_OF_HEADERS not in received:
            received += self._receive()
        head, _, body = received.partition(_END_OF_HEADERS)
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self._receive()
        return head, body

    def _receive(self) -> bytes:
        chunk = self.connection.recv(65536)
        if not chunk:
            raise ConnectionError("the client left")
        return chunk

    def send(self, raw: bytes) -> None:
        """Bytes as they are."""
        self.connection.sendall(raw)

    def drip(self, raw: bytes, seconds: float) -> None:
        """One byte each *seconds*, until all is sent or the test ends."""
        for byte in raw:
            if self.stop.wait(seconds):
                return
            self.send(bytes([byte]))

    def fall_silent(self) -> None:
        """Say nothing more, and hold the connection until the client leaves."""
        while self.connection.recv(65536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Script = Callable[[Conversation], None]


class FaultServer:
    """Serves every connection with *script*, on a port of its own."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests = 0
        self._came = threading.Condition()
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def await_requests(self, count: int) -> int:
        """How many came, once there were *count*: one that the client has given up may be accepted after that."""
        with self._came:
            self._came.wait_for(lambda: self.requests >= count, timeout=60)
            return self.requests

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._came:
                self.requests += 1
                self._came.notify_all()
            with connection, contextlib.suppress(OSError, StopIteration):
                self.script(Conversation(connection, self._stop))


def response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A complete HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + _END_OF_HEADERS + body


def says(raw: bytes) -> Script:
    """Reads the request and answers with these bytes."""

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(raw)

    return script


def nonce_of(body: bytes) -> str:
    """The nonce in a sync request."""
    nonce = json.loads(body)["nonce"]
    assert isinstance(nonce, str)
    return nonce
