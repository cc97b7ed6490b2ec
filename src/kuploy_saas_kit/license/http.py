"""The only place that knows httpx: one POST, bounded in time and size, followed nowhere.

httpx has no total deadline: its timeouts are per read, so that a body of one byte a second goes on for ever. Here the
clock is read between raw chunks, and a watchdog cuts the connection for whatever happens before the body.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import httpx

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import HubUnavailableError
from kuploy_saas_kit.license.forks import mend_after_fork
from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.license.reading import MAX_BODY_BYTES

_CONNECT_TIMEOUT: Final = 3.0
_READ_TIMEOUT: Final = 5.0
_DEADLINE: Final = timedelta(seconds=10)


class HttpxTransport:
    """A `HubTransport` over httpx. Proxies come from the environment; TLS is always verified; no redirects.

    *deadline* is for one whole exchange. The connection is made at the first `post`.
    """

    def __init__(self, *, deadline: timedelta = _DEADLINE, clock: Clock | None = None) -> None:
        self._deadline = deadline
        self._clock = clock or SystemClock()
        self._client: httpx.Client | None = None

    def post(self, request: HubRequest) -> HubResponse:
        """Send *request* and read the whole answer; `HubUnavailableError` with a `transport.` code otherwise."""
        ends = self._clock.elapsed() + self._deadline
        watchdog = _Watchdog(self._deadline)
        try:
            with watchdog:
                return self._exchange(request, watchdog.trace, ends)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            code = "transport.deadline" if watchdog.has_cut else _code_for(error)
            raise HubUnavailableError(f"no answer from the hub: {code}", code=code) from _without_frames(error)

    def _exchange(self, request: HubRequest, trace: Callable[..., None], ends: timedelta) -> HubResponse:
        if self._client is None:
            self._client = _new_client()
            mend_after_fork(self)
        streamed = self._client.stream(
            "POST", request.url, headers=request.headers, content=request.body, extensions={"trace": trace}
        )
        with streamed as response:
            _check_headers(response.headers)
            body = bytearray()
            for chunk in response.iter_raw():
                body += chunk
                self._check_bounds(len(body), ends)
            return HubResponse(response.status_code, _lowered(response.headers), bytes(body))

    def _check_bounds(self, size: int, ends: timedelta) -> None:
        if size > MAX_BODY_BYTES:
            raise _too_large()
        if self._clock.elapsed() >= ends:
            raise HubUnavailableError("the hub's answer took longer than the deadline", code="transport.deadline")

    def close(self) -> None:
        """Let go of connections; a later `post` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """Drop connections without closing them: they belong to the parent."""
        self._client = None


class _Watchdog:
    """Cuts the connection when the deadline passes, whatever httpx waits for."""

    def __init__(self, deadline: timedelta) -> None:
        self._timer = threading.Timer(deadline.total_seconds(), self._cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.has_cut = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def trace(self, event: str, details: Mapping[str, object]) -> None:
        """Take part in httpx's trace extension: connections show up as the return value of what opened them."""
        opened = getattr(details.get("return_value"), "get_extra_info", None)
        if opened is None or not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        with self._lock:
            self._connection = opened("socket")
            late = self.has_cut
        if late:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.has_cut = True
            connection = self._connection
        if connection is not None:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                return


def _new_client() -> httpx.Client:
    return httpx.Client(
        follow_redirects=False,
        timeout=httpx.Timeout(_READ_TIMEOUT, connect=_CONNECT_TIMEOUT),
        # Plain http is for this machine alone: through a proxy the license key would leave it in the clear.
        mounts={"http://": None},
        # One request a minute: a kept connection would be cold by then, and shared with children of a fork.
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def _check_headers(headers: httpx.Headers) -> None:
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise HubUnavailableError("the hub's answer is compressed, which was not asked for", code="payload.encoding")
    length = headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > MAX_BODY_BYTES):
        raise _too_large()


def _too_large() -> HubUnavailableError:
    return HubUnavailableError("the hub's answer is larger than 1 MiB", code="payload.too_large")


def _lowered(headers: httpx.Headers) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _code_for(error: Exception) -> str:
    causes = _chain(error)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "transport.tls"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "transport.dns"
    if isinstance(error, httpx.TimeoutException):
        return "transport.timeout"
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return "transport.connect"
    if isinstance(error, httpx.NetworkError | OSError):
        return "transport.reset"
    return _protocol_code(str(error))


def _protocol_code(message: str) -> str:
    """The code for what HTTP forbids: httpx has one exception for all of it, and says what happened in its message."""
    if "without sending complete" in message:
        return "transport.truncated"
    if "without sending a response" in message:
        return "transport.reset"
    return "transport.protocol"


def _without_frames(error: Exception) -> Exception:
    """*error* without the stack frames of the HTTP library, whose variables hold the Authorization header."""
    for cause in _chain(error):
        cause.__traceback__ = None
    return error


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or found.__context__
    return chain
