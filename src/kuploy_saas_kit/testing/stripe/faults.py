"""What goes wrong on the way to Stripe and back, injected by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from kuploy_saas_kit.testing.stripe.refusals import RefusalError, unauthorized
from kuploy_saas_kit.testing.stripe.wire import Inquiry

FaultKind = Literal[
    "lost_before", "lost_after", "429", "lock_timeout_409", "lock_timeout_429", "idempotency_in_use",
    "saved_500", "500", "html_502", "timeout", "403", "401",
]  # fmt: skip
"""`lost_before`, `timeout`: the request never takes effect; `lost_after`: it does and its answer is lost."""

Match = str | Callable[[Inquiry], bool] | None
"""Which requests: `POST /v1/prices`, `/v1/products/*`, a predicate, or all."""

_LOCKED = (
    "This object cannot be accessed right now because another API request or Stripe process is currently accessing it. "
    "If you see this error intermittently, retry the request."
)
_IN_USE = (
    "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
    "twice, and the other request is still going through)"
)
_FORBIDDEN = "The provided key does not have the required permissions for this endpoint."
_REFUSALS: dict[str, Callable[[], RefusalError]] = {
    "429": lambda: RefusalError(429, "Request rate limit exceeded.", code="rate_limit"),
    "lock_timeout_409": lambda: RefusalError(409, _LOCKED, code="lock_timeout"),
    "lock_timeout_429": lambda: RefusalError(429, _LOCKED, code="lock_timeout"),
    "idempotency_in_use": lambda: RefusalError(409, _IN_USE, type="idempotency_error", code="idempotency_key_in_use"),
    "500": lambda: RefusalError(500, "An unknown error occurred", type="api_error"),
    "saved_500": lambda: RefusalError(500, "An unknown error occurred", type="api_error", executed=True),
    "403": lambda: RefusalError(403, _FORBIDDEN, code="more_permissions_required"),
    "401": lambda: unauthorized("Invalid API Key provided."),
}


@dataclass(slots=True)
class Fault:
    """One fault and how often it still happens; None is for ever."""

    kind: FaultKind
    match: Match
    times: int | None

    def meets(self, inquiry: Inquiry) -> bool:
        """Whether this request runs into the fault."""
        if self.match is None or callable(self.match):
            return self.match is None or self.match(inquiry)
        method, _, path = self.match.rpartition(" ")
        return method in ("", inquiry.method) and fnmatchcase(inquiry.path, path)


class Faults:
    """The faults that are still to happen, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, kind: FaultKind, match: Match, times: int | None) -> None:
        """Let a fault happen to the next *times* requests that match."""
        if kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {kind}; there are {', '.join(get_args(FaultKind))}")
        self._waiting.append(Fault(kind, match, times))

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._waiting.clear()

    def take(self, inquiry: Inquiry) -> FaultKind | None:
        """The fault that *inquiry* runs into, counted as happened."""
        for fault in self._waiting:
            if fault.meets(inquiry):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                return fault.kind
        return None


def refusal_of(kind: FaultKind) -> RefusalError | None:
    """The answer that this fault gives in place of the endpoint's, if it gives one."""
    make = _REFUSALS.get(kind)
    return None if make is None else make()
