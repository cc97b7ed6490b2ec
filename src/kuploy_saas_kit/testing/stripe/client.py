"""The simulator as the SDK's HTTP client: in process, without sockets and without waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import stripe

from kuploy_saas_kit.testing.stripe.engine import Engine, LostError
from kuploy_saas_kit.testing.stripe.wire import Headers, Inquiry


class SimulatedHTTPClient(stripe.HTTPClient):
    """A `stripe.HTTPClient` whose other end is the simulator."""

    name = "simulator"

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, **_: Any
    ) -> tuple[str, int, Mapping[str, str]]:
        """Answer one request."""
        try:
            answer = self._engine.answer(Inquiry.parse(method, url, headers or {}, post_data))
        except LostError as lost:
            _break(lost)
        return answer.body, answer.status, Headers(answer.headers)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None, **_: Any
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Answer one request of the SDK's `*_async` methods."""
        body, status, answered = self.request(method, url, headers, post_data)
        return body.encode(), status, answered

    def close(self) -> None:
        """Nothing is held open."""

    async def close_async(self) -> None:
        """Nothing is held open."""

    def _sleep_time_seconds(self, num_retries: int) -> float:
        return 0.0


def _break(lost: LostError) -> NoReturn:
    slow = lost.kind == "timeout"
    message = "Request timed out." if slow else "Unexpected error communicating with Stripe: connection reset."
    raise stripe.APIConnectionError(message, should_retry=True) from lost  # type: ignore[no-untyped-call]
