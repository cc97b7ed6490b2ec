"""From an inquiry to its answer: faults, key, route, permission, idempotency, parameters, endpoint, record."""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import RLock
from typing import Any

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.faults import FaultKind, Faults, refusal_of
from kuploy_saas_kit.testing.stripe.idempotency import KeyMemory
from kuploy_saas_kit.testing.stripe.keys import KeyRing, is_live
from kuploy_saas_kit.testing.stripe.listing import page
from kuploy_saas_kit.testing.stripe.refusals import RefusalError, masked, unacceptable
from kuploy_saas_kit.testing.stripe.render import check_expansions, expand
from kuploy_saas_kit.testing.stripe.routes import Route, find_route
from kuploy_saas_kit.testing.stripe.schema import params_type, read
from kuploy_saas_kit.testing.stripe.space import Cause, Row, Space, World
from kuploy_saas_kit.testing.stripe.unsimulated import require_simulated
from kuploy_saas_kit.testing.stripe.versions import LATEST, in_version
from kuploy_saas_kit.testing.stripe.wire import Answer, Headers, Inquiry, RecordedRequest

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?")
_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_REFUSED = (400, 404)


class LostError(Exception):
    """The connection broke; `kind` is the fault that broke it."""

    def __init__(self, kind: FaultKind) -> None:
        super().__init__(f"the connection broke ({kind})")
        self.kind = kind


class Engine:
    """Answers inquiries one at a time; safe to ask from many threads."""

    def __init__(self, world: World, spaces: dict[bool, Space], ring: KeyRing, catch_up: Callable[[], None]) -> None:
        self.world = world
        self.spaces = spaces
        self.ring = ring
        self.catch_up = catch_up
        self.lock = RLock()
        self.faults = Faults()
        self.requests: list[RecordedRequest] = []
        self.interposed: Callable[[Inquiry], None] | None = None
        self._memories = {mode: KeyMemory(world) for mode in spaces}

    def answer(self, inquiry: Inquiry) -> Answer:
        """The answer to *inquiry*, or `LostError` where a fault breaks the connection."""
        if self.interposed is not None:
            self.interposed(inquiry)
        with self.lock:
            fault = self.faults.take(inquiry)
            if fault in ("lost_before", "timeout"):
                self._record(inquiry, inquiry.params, None, fault)
                raise LostError(fault)
            answer, params = self._outcome(inquiry, fault)
            self._record(inquiry, params, answer, fault)
        if fault == "lost_after":
            raise LostError(fault)
        return answer

    def _outcome(self, inquiry: Inquiry, fault: FaultKind | None) -> tuple[Answer, dict[str, Any]]:
        head = self._head(inquiry)
        if fault == "html_502":
            return Answer(502, _HTML, {"Content-Type": "text/html"}), inquiry.params
        try:
            refusal = refusal_of(fault) if fault is not None else None
            if refusal is not None and not refusal.executed:
                raise refusal
            return self._served(inquiry, head, refusal)
        except RefusalError as refused:
            return Answer.of(refused.status, refused.body, head), inquiry.params

    def _served(
        self, inquiry: Inquiry, head: dict[str, str], failure: RefusalError | None
    ) -> tuple[Answer, dict[str, Any]]:
        self._admit(inquiry)
        route, ids = find_route(inquiry.method, inquiry.path)
        self.ring.require(inquiry.key, route.area, "read" if inquiry.method == "GET" else "write")
        self.catch_up()
        memory, now = self._memories[is_live(inquiry.key)], self.world.now()
        remembered = memory.recall(inquiry, now)
        if remembered is not None:
            return remembered.replayed().adding(head), inquiry.params
        call = Call(ids, read(inquiry.params, params_type(route.params)))
        require_simulated(inquiry.method, inquiry.path, call.params)
        answer = self._executed(route, call, inquiry, head, failure)
        if answer.status not in _REFUSED or self.world.quirks.saves_refusals:
            memory.save(inquiry, now, answer)
        return answer, call.params

    def _executed(
        self, route: Route, call: Call, inquiry: Inquiry, head: dict[str, str], failure: RefusalError | None
    ) -> Answer:
        space, paths = self.spaces[is_live(inquiry.key)], call.params.get("expand", [])
        check_expansions(paths, route.kind, listed=route.lists)
        space.cause = Cause(head["Request-Id"], inquiry.idempotency_key)
        try:
            if failure is not None:
                raise failure
            content = _content(route, space, call, inquiry.path)
            expand(space, content, paths, route.kind)
        except RefusalError as refused:
            if not refused.executed:
                raise
            return Answer.of(refused.status, refused.body, head)
        finally:
            space.cause = Cause()
        return Answer.of(200, in_version(content, inquiry.headers.get("stripe-version")), head)

    def _admit(self, inquiry: Inquiry) -> None:
        self.ring.check(inquiry.key)
        account = inquiry.headers.get("stripe-account", self.world.account)
        if account != self.world.account:
            message = (
                f"The provided key '{masked(inquiry.key)}' does not have access to account '{account}' "
                "(or that account does not exist). Application access may have been revoked."
            )
            raise RefusalError(403, message, code="account_invalid")
        version = inquiry.headers.get("stripe-version", LATEST)
        if not _VERSION.fullmatch(version):
            raise unacceptable(f"Invalid Stripe API version: {version}", param=None)

    def _head(self, inquiry: Inquiry) -> dict[str, str]:
        head = {"Request-Id": self.world.new_id("req"), "Stripe-Version": inquiry.headers.get("stripe-version", LATEST)}
        if inquiry.idempotency_key is not None:
            head["Idempotency-Key"] = inquiry.idempotency_key
        return head

    def _record(self, inquiry: Inquiry, params: Row, answer: Answer | None, fault: FaultKind | None) -> None:
        headers = Headers({} if answer is None else answer.headers)
        self.requests.append(
            RecordedRequest(
                method=inquiry.method,
                path=inquiry.path,
                params=params,
                idempotency_key=inquiry.idempotency_key,
                livemode=is_live(inquiry.key),
                status=None if answer is None else answer.status,
                fault=fault,
                replayed="idempotent-replayed" in headers,
                request_id=headers.get("request-id"),
                api_version=inquiry.headers.get("stripe-version"),
            )
        )


def _content(route: Route, space: Space, call: Call, path: str) -> Row:
    if route.lister is not None:
        found = page(space, route.lister(space, call), call.params, kind=route.kind, url=path)
        return {**found, "data": [space.rendered(row) for row in found["data"]]}
    assert route.handler is not None  # noqa: S101 - a route has one or the other
    return space.rendered(route.handler(space, call))
