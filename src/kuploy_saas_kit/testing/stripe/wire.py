"""Requests and answers as bytes would carry them, without the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from kuploy_saas_kit.testing.stripe.form import decode


class Headers(Mapping[str, str]):
    """Header names in any case, as the SDK expects them."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = {name.lower(): value for name, value in entries.items()}

    def __getitem__(self, name: str) -> str:
        return self._entries[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One HTTP request to the simulated API."""

    method: str
    path: str
    params: dict[str, Any]
    headers: Headers

    @classmethod
    def parse(cls, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Inquiry:
        """An inquiry from what an HTTP client would send; GET and DELETE carry their parameters in the URL."""
        parts = urlsplit(url)
        verb = method.upper()
        encoded = (body or "") if verb == "POST" else parts.query
        return cls(verb, parts.path, decode(encoded), Headers(headers))

    @property
    def key(self) -> str:
        """The API key."""
        scheme, _, credentials = self.headers.get("authorization", "").partition(" ")
        return credentials.strip() if scheme.lower() == "bearer" else ""

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key, which only counts on POST."""
        return self.headers.get("idempotency-key") if self.method == "POST" else None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response of the simulated API."""

    status: int
    body: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, content: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """A JSON answer."""
        return cls(status, json.dumps(content, indent=2), {"Content-Type": "application/json", **headers})

    def replayed(self) -> Answer:
        """The same answer, marked as one that an idempotency key remembered."""
        original = self.headers["Request-Id"]
        return self.adding({"Idempotent-Replayed": "true", "Original-Request": original})

    def adding(self, headers: Mapping[str, str]) -> Answer:
        """The same answer with more headers."""
        return replace(self, headers={**self.headers, **headers})


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that was sent, in the order in which the simulator saw them."""

    method: str
    path: str
    params: dict[str, Any]
    idempotency_key: str | None
    livemode: bool
    status: int | None
    """What was answered; None where the connection broke first. A lost answer has the status that it would have had."""
    fault: str | None = None
    """The injected fault that this request met."""
    replayed: bool = False
    """Whether an idempotency key answered it."""
    request_id: str | None = None
    api_version: str | None = None
    """The version that the request was pinned to."""
