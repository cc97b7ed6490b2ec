"""Hubs that misbehave: what an outage does to an answer, and to the payload in it. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.license.ports import HubResponse


class Outage(StrEnum):
    """The ways in which a hub, or what stands between, can fail."""

    REFUSED = "refused"
    """Nobody listens."""
    TIMEOUT = "timeout"
    """The connection is accepted, then silence."""
    RESET = "reset"
    """The connection is reset once the request was sent."""
    TRUNCATED = "truncated"
    """The hub answers, and the connection closes in the middle of the body."""
    DRIP = "drip"
    """The hub answers, one byte a second."""
    SERVER_ERROR = "5xx"
    """502 with a proxy's HTML page."""
    RATE_LIMITED = "429"
    """429 with `Retry-After: 30`."""
    HTML = "html"
    """200 with an HTML page."""
    CAPTIVE = "captive"
    """302 to a login page, as hotels and captive portals send it."""
    BAD_JSON = "bad-json"
    """200 with half of a JSON object."""
    DEEP = "deep"
    """200 with JSON nested 100 000 deep."""
    BOMB = "bomb"
    """200 with a small gzip body that unpacks to 128 MiB."""
    SKEW = "skew"
    """A good answer of a hub whose clock is an hour fast."""
    STALE = "stale"
    """The last good answer once more, as a careless cache sends it."""
    FORGED = "forged"
    """A good answer with a signature of somebody else (of an unsigned hub: for another license key)."""
    OLDER = "older"
    """A good answer with a revision below the one that the instance knows."""
    EMPTY = "empty"
    """A good answer without any feature, limit or plan."""


HOLDS_THE_SOCKET: Final = {
    Outage.REFUSED: "transport.connect",
    Outage.TIMEOUT: "transport.timeout",
    Outage.RESET: "transport.reset",
    Outage.TRUNCATED: "transport.truncated",
    Outage.DRIP: "transport.deadline",
}
"""The outages without a whole response, and the code of the error that a transport raises for each."""

REACHES_THE_HUB: Final = frozenset(
    {Outage.TRUNCATED, Outage.DRIP, Outage.SKEW, Outage.STALE, Outage.FORGED, Outage.OLDER, Outage.EMPTY}
)
"""The outages in which the hub has the request, so that its revision rises although the answer is no good."""

_PAGE: Final = b"<!doctype html><title>Maintenance</title><p>We will be back soon.</p>"
_RATE_LIMITED: Final = b'{"success":false,"error":"Too many requests.","code":"rate_limited"}'
_DEPTH: Final = 100_000
_BOMB_MIB: Final = 128
_HTML: Final = {"content-type": "text/html; charset=utf-8"}
_JSON: Final = {"content-type": "application/json"}


def outage_named(kind: str) -> Outage:
    """The outage of this name; `InvalidValueError` that lists them all for others."""
    try:
        return Outage(kind)
    except ValueError:
        raise InvalidValueError(f"there is no outage {kind[:40]!r}; there are {', '.join(Outage)}") from None


def bad_response(outage: Outage) -> HubResponse:
    """What comes back in place of the hub's answer, in an outage that answers without the hub."""
    status, headers, body = _BAD_RESPONSES[outage]
    return HubResponse(status, headers, body())


def spoilt(payload: Mapping[str, Any], outage: Outage) -> dict[str, Any]:
    """*payload* as the hub signs it in this outage."""
    match outage:
        case Outage.OLDER:
            # The hub answers one above what the instance knows; two below that is one below what it knows.
            return {**payload, "revision": max(0, payload["revision"] - 2)}
        case Outage.EMPTY:
            return {**payload, **_nothing_of(payload)}
        case Outage.STALE:
            return {**payload, "nonce": "A" * 22}
        case _:
            return dict(payload)


def _nothing_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    nothing: dict[str, Any] = {
        "features": dict.fromkeys(payload["features"], False),
        "limits": dict.fromkeys(payload["limits"], 0),
    }
    if "catalog" in payload:
        nothing["catalog"] = {**payload["catalog"], "plans": []}
    return nothing


@cache
def _bomb() -> bytes:
    gzip = zlib.compressobj(level=9, wbits=31)
    mebibyte = b" " * (1 << 20)
    return b"".join([*(gzip.compress(mebibyte) for _ in range(_BOMB_MIB)), gzip.flush()])


_BAD_RESPONSES: Final[dict[Outage, tuple[int, dict[str, str], Callable[[], bytes]]]] = {
    Outage.SERVER_ERROR: (502, _HTML, lambda: _PAGE),
    Outage.RATE_LIMITED: (429, {**_JSON, "retry-after": "30"}, lambda: _RATE_LIMITED),
    Outage.HTML: (200, _HTML, lambda: _PAGE),
    Outage.CAPTIVE: (302, {**_HTML, "location": "http://portal.invalid/login"}, lambda: _PAGE),
    Outage.BAD_JSON: (200, _JSON, lambda: b'{"success": true, "license": '),
    Outage.DEEP: (200, _JSON, lambda: b'{"license":' + b"[" * _DEPTH + b"]" * _DEPTH + b"}"),
    Outage.BOMB: (200, {**_JSON, "content-encoding": "gzip"}, _bomb),
}
