"""Webhooks: endpoints, signatures, and deliveries that happen when a test says so."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal
from urllib.parse import urlsplit

from kuploy_saas_kit._clock import Clock, to_timestamp
from kuploy_saas_kit.testing.stripe.space import Row, Space
from kuploy_saas_kit.testing.stripe.versions import event_in

Receiver = Callable[[bytes, str], int]
"""A webhook handler in this process: payload and `Stripe-Signature` in, HTTP status out."""
Order = Literal["reversed"] | random.Random | Sequence[int] | None
"""How events arrive: as they happened, reversed, shuffled, or those at these places of `pending`, in this order."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TIMEOUT = 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to tell one endpoint of one event."""

    event_id: str
    event_type: str
    endpoint_id: str
    attempt: int
    status: int | None
    """What the endpoint answered; None where nobody did."""
    payload: bytes = field(repr=False)
    signature: str = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether Stripe counts it as delivered; a redirection is none."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True, eq=False)
class Waiting:
    """One event that one endpoint has not taken yet."""

    space: Space
    event: Row
    endpoint: Row
    attempts: int = 0


class Post:
    """The events that wait for delivery, and every delivery so far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waiting: list[Waiting] = []
        self.deliveries: list[Delivery] = []

    def announce(self, space: Space, event: Row) -> None:
        """Let an event wait for every endpoint that wants it; endpoints made later never hear of it."""
        for endpoint in space.rows("webhook_endpoint"):
            if _wants(endpoint, event):
                event["pending_webhooks"] += 1
                self.waiting.append(Waiting(space, event, endpoint))

    def pending(self) -> list[Row]:
        """The events that some endpoint has not taken yet, oldest first."""
        unique = {waiting.event["id"]: waiting.event for waiting in self.waiting}
        return [dict(event) for event in unique.values()]

    def select(self, order: Order, duplicates: int, drop: Collection[str]) -> list[Waiting]:
        """The attempts to make now; dropped events, named by id or type, will never arrive."""
        drop = (drop,) if isinstance(drop, str) else drop
        lost = [entry for entry in self.waiting if entry.event["id"] in drop or entry.event["type"] in drop]
        self.waiting = [entry for entry in self.waiting if entry not in lost]
        chosen = list(self.waiting)
        if order is not None and not isinstance(order, str | random.Random):
            events = [event["id"] for event in self.pending()]
            wanted = [events[index] for index in order]
            chosen = [entry for id_ in wanted for entry in self.waiting if entry.event["id"] == id_]
        attempts = [entry for entry in chosen for _ in range(duplicates)]
        if order == "reversed":
            attempts.reverse()
        elif isinstance(order, random.Random):
            order.shuffle(attempts)
        return attempts

    def send(self, entry: Waiting) -> Delivery:
        """Make one attempt; it takes no lock, so that the receiver may ask the simulator."""
        event, endpoint = entry.event, entry.endpoint
        body = json.dumps(event_in(event, endpoint["api_version"]), separators=(",", ":")).encode()
        signature = sign(body, endpoint["_secrets"], at=to_timestamp(self._clock.now()))
        entry.attempts += 1
        receive: Receiver | None = endpoint["_receiver"]
        status = _post(endpoint["url"], body, signature) if receive is None else receive(body, signature)
        return Delivery(event["id"], event["type"], endpoint["id"], entry.attempts, status, body, signature)

    def note(self, entry: Waiting, delivery: Delivery) -> None:
        """Remember an attempt; a delivered event waits no more."""
        self.deliveries.append(delivery)
        if delivery.ok and entry in self.waiting:
            self.waiting.remove(entry)
            entry.event["pending_webhooks"] -= 1


def _wants(endpoint: Row, event: Row) -> bool:
    fits = any(fnmatchcase(event["type"], pattern) for pattern in endpoint["enabled_events"])
    return fits and endpoint["status"] == "enabled"


def sign(payload: bytes, secrets: Sequence[str], *, at: int) -> str:
    """The `Stripe-Signature` of a payload: its second, and one `v1` for each secret that is in force."""
    signed = str(at).encode() + b"." + payload
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at}", *(f"v1={mark}" for mark in marks)])


def _post(url: str, body: bytes, signature: str) -> int | None:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
        return None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": signature,
        "User-Agent": "Stripe/1.0",
    }
    try:
        connection.request("POST", parts.path or "/", body, headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return response.status
    finally:
        connection.close()
