"""The objects of one account in one mode: rows as Stripe's own JSON, their events, and the time they live in."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from kuploy_saas_kit._clock import Clock, to_timestamp
from kuploy_saas_kit.testing.stripe.quirks import Quirks, Settings
from kuploy_saas_kit.testing.stripe.refusals import no_such, unacceptable
from kuploy_saas_kit.testing.stripe.versions import LATEST

_MAX_METADATA = 50
_MAX_METADATA_KEY = 40
_MAX_METADATA_VALUE = 500

Row = dict[str, Any]
"""One object, as the JSON that Stripe would answer, with ids where it refers to others."""


@dataclass(slots=True)
class World:
    """What the test and the live data of one account share."""

    account: str
    clock: Clock
    quirks: Quirks
    settings: Settings = field(default_factory=Settings)
    ahead: timedelta = timedelta()
    counts: Counter[str] = field(default_factory=Counter)

    def now(self) -> int:
        """The present second of this account's objects."""
        return to_timestamp(self.clock.now() + self.ahead)

    def new_id(self, prefix: str) -> str:
        """The next id with *prefix*: it repeats from run to run and differs between accounts."""
        self.counts[prefix] += 1
        mark = hashlib.sha256(self.account.encode()).hexdigest()[:6]
        return f"{prefix}_{mark}{self.counts[prefix]:08d}"


@dataclass(slots=True)
class Cause:
    """The request that an event comes from; both are None for what Stripe does by itself."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(slots=True, eq=False)
class Space:
    """One account's test data or its live data; nothing in it is known to the other."""

    world: World
    livemode: bool
    render: Callable[[Space, Row], Row]
    announce: Callable[[Space, Row], None]
    tables: dict[str, dict[str, Row]] = field(default_factory=dict)
    deleted: dict[str, set[str]] = field(default_factory=dict)
    lookup_keys: dict[str, str] = field(default_factory=dict)
    inline: set[str] = field(default_factory=set)
    cards: dict[str, str] = field(default_factory=dict)
    noticed: set[str] = field(default_factory=set)
    twin: Space | None = None
    touched: bool = True
    next_due: int | None = None
    reached: int = 0
    cause: Cause = field(default_factory=Cause)
    as_of: int | None = None

    @property
    def now(self) -> int:
        """The second at which what happens now happens."""
        return self.world.now() if self.as_of is None else self.as_of

    def clocked(self, clock: str | None) -> int:
        """The present second for what lives on this test clock, if it lives on one."""
        frozen: int = self.now if clock is None else self.table("test_helpers.test_clock")[clock]["frozen_time"]
        return frozen

    @contextmanager
    def on(self, clock: str | None) -> Iterator[None]:
        """Let what happens in the block happen on this test clock, if there is one."""
        outer = self.as_of
        self.as_of = outer if clock is None else self.clocked(clock)
        try:
            yield
        finally:
            self.as_of = outer

    def table(self, kind: str) -> dict[str, Row]:
        """All rows of one object type by id, oldest first."""
        return self.tables.setdefault(kind, {})

    def rows(self, kind: str) -> list[Row]:
        """All rows of one object type, oldest first."""
        return list(self.table(kind).values())

    def find(self, kind: str, id_: str, *, param: str, status: int = 400) -> Row:
        """The row with this id, or Stripe's refusal."""
        row = self.table(kind).get(id_)
        if row is None:
            raise no_such(THINGS.get(kind, kind), id_, param=param, status=status, hint=self._elsewhere(kind, id_))
        return row

    def _elsewhere(self, kind: str, id_: str) -> str:
        if self.twin is None or id_ not in self.twin.table(kind):
            return ""
        there, here = ("live", "test") if self.twin.livemode else ("test", "live")
        return f"; a similar object exists in {there} mode, but a {here} mode key was used to make this request."

    def add(self, row: Row, event: str | None = None) -> Row:
        """Keep a new row and, if *event* is given, tell of it."""
        self.touched = True
        self.table(row["object"])[row["id"]] = row
        if event is not None:
            self.emit(event, row)
        return row

    def drop(self, row: Row, event: str | None) -> Row:
        """Delete a row; its id stays known as one that was deleted."""
        del self.table(row["object"])[row["id"]]
        self.deleted.setdefault(row["object"], set()).add(row["id"])
        if event is not None:
            self.emit(event, row)
        return {"id": row["id"], "object": row["object"], "deleted": True}

    def rendered(self, row: Row) -> Row:
        """*row* as Stripe would answer it, free of any tie to what is kept here."""
        return copy.deepcopy(self.render(self, row))

    def emit(self, type_: str, row: Row, previous: Row | None = None) -> Row:
        """Tell of a change: keep the event and have it delivered."""
        data: Row = {"object": self.rendered(row)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": self.world.new_id("evt"),
            "object": "event",
            "api_version": LATEST,
            "created": self.now,
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": type_,
        }
        self.add(event)
        self.announce(self, event)
        return event

    @contextmanager
    def changing(self, row: Row, event: str) -> Iterator[Row]:
        """Change *row* in the block; *event* goes out with what was different before, and only if anything was."""
        before = self.rendered(row)
        yield row
        self.touched = True
        after = self.render(self, row)
        previous = {name: before.get(name) for name in after if before.get(name) != after[name]}
        if previous:
            self.emit(event, row, previous)

    @contextmanager
    def at(self, second: int) -> Iterator[None]:
        """Let what happens in the block happen at *second*, without a request that caused it."""
        outer = self.as_of, self.cause
        self.as_of, self.cause = second, Cause()
        try:
            yield
        finally:
            self.as_of, self.cause = outer


THINGS = {
    "checkout.session": "checkout.session",
    "payment_method": "PaymentMethod",
    "test_helpers.test_clock": "test clock",
    "webhook_endpoint": "webhook endpoint",
}
"""How refusals name an object type where they do not use its API name."""


def metadata_of(current: Row, given: Any, *, param: str = "metadata") -> Row:
    """Metadata after an update: merged by key; an empty value drops its key, and an empty string drops all."""
    if given == "":
        return {}
    for name, value in given.items():
        _require_entry(name, value, f"{param}[{name}]")
    merged = {name: value for name, value in {**current, **given}.items() if value != ""}
    if len(merged) > _MAX_METADATA:
        raise unacceptable(f"You can only have up to {_MAX_METADATA} metadata keys.", param=param)
    return merged


def _require_entry(name: str, value: str, param: str) -> None:
    if len(name) > _MAX_METADATA_KEY:
        message = f"Metadata keys can have up to {_MAX_METADATA_KEY} characters, but you passed in '{name}'."
        raise unacceptable(message, param=param)
    if "[" in name or "]" in name:
        raise unacceptable(f"Metadata keys cannot contain square brackets, but you passed in '{name}'.", param=param)
    if len(value) > _MAX_METADATA_VALUE:
        message = (
            f"Metadata values can have up to {_MAX_METADATA_VALUE} characters, but you passed in a value that is "
            f"{len(value)} characters. Invalid value: {value}"
        )
        raise unacceptable(message, param=param)
