"""The hub's three endpoints over a store: read the request, load, ask the rules, keep what they returned, answer."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from kuploy_saas_kit.hub.claims import Polled, PolledTooSoon, is_over, poll_claim, register_claim
from kuploy_saas_kit.hub.ledger import Contract, answer_sync
from kuploy_saas_kit.hub.payload import Payload, payload_of
from kuploy_saas_kit.hub.records import (
    Claim,
    ClaimStatus,
    HubPolicy,
    Instance,
    License,
    Refusal,
    RefusalCode,
    TenantCatalog,
    TenantSubscription,
    secret_hash,
)
from kuploy_saas_kit.hub.store import HubRows, HubStore
from kuploy_saas_kit.hub.wire import BODY_TOO_LARGE, ClaimBody, PollBody, SyncBody, read_body
from kuploy_saas_kit.license.ports import HubRequest, HubResponse

if TYPE_CHECKING:
    from kuploy_saas_kit._clock import Clock

_MAX_KEY: Final = 256
_RETRY_AFTER: Final = timedelta(seconds=30)
_NOTHING_HERE: Final = Refusal(404, RefusalCode.INVALID_REQUEST, "There is nothing here. Check the hub's URL.")
_NO_KEY: Final = Refusal(
    401, RefusalCode.LICENSE_NOT_FOUND, "Send the license key: the header Authorization with 'Bearer lic_…'."
)
_UNKNOWN_KEY: Final = Refusal(
    404, RefusalCode.LICENSE_NOT_FOUND, "There is no license with this key. Check LICENSE_KEY, or claim a license."
)
_log = logging.getLogger(__name__)


class Seal(Protocol):
    """Makes of a payload what stands in the answer. `KeyRing` signs it; `Plain` is for a hub without keys."""

    @property
    def epoch(self) -> int:
        """The first part of an answer's rank."""

    def seal(self, payload: Payload) -> str | Payload:
        """A signed token, or the payload itself."""


class Plain:
    """The seal of a hub without keys: none."""

    epoch = 1

    def seal(self, payload: Payload) -> Payload:
        return payload


class Hub:
    """Answers what instances ask. Thread-safe as far as its store is."""

    def __init__(self, store: HubStore, seal: Seal, clock: Clock, policy: HubPolicy | None = None) -> None:
        self._store = store
        self._seal = seal
        self._clock = clock
        self._policy = policy or HubPolicy()

    def post(self, request: HubRequest) -> HubResponse:
        """The answer to one POST; the headers' names are in lower case. Paths of no endpoint are 404.

        Raises:
            StorageError: the store failed; nothing was changed.
        """
        path = urlsplit(request.url).path
        now = self._clock.now()
        match path:
            case "/api/license/sync":
                response = self._sync(request, now)
            case "/api/license/claims":
                response = self._register(request, now)
            case "/api/license/claims/poll":
                response = self._poll(request, now)
            case _:
                path = "an unknown path"
                response = _refused(_NOTHING_HERE)
        _log.info("hub answered %s with %d", path, response.status, extra={"path": path, "status": response.status})
        return response

    def _sync(self, request: HubRequest, now: datetime) -> HubResponse:
        key_hash = _key_hash(request)
        if key_hash is None:
            return _refused(_NO_KEY)
        body = read_body(SyncBody, request.body)
        if isinstance(body, Refusal):
            return _refused(body)
        with self._store.transaction() as rows:
            contract = load_contract(rows, key_hash)
            if contract is None:
                return _refused(_UNKNOWN_KEY)
            terms = answer_sync(contract, body.asked(), policy=self._policy, epoch=self._seal.epoch, now=now)
            if isinstance(terms, Refusal):
                return _refused(terms)
            rows.put(terms.instance)
        return _answered(200, license=self._seal.seal(payload_of(terms)))

    def _register(self, request: HubRequest, now: datetime) -> HubResponse:
        body = read_body(ClaimBody, request.body)
        if isinstance(body, Refusal):
            return _refused(body)
        with self._store.transaction() as rows:
            live = {claim.secret_hash: claim for claim in live_claims(rows, now)}
            claim = register_claim(live, body.asked(), now)
            if isinstance(claim, Refusal):
                return _refused(claim)
            rows.put(claim)
        return _answered(201, expiresAt=int(claim.expires_at.timestamp()), interval=_seconds_of(claim))

    def _poll(self, request: HubRequest, now: datetime) -> HubResponse:
        body = read_body(PollBody, request.body)
        if isinstance(body, Refusal):
            return _refused(body)
        with self._store.transaction() as rows:
            live = {claim.secret_hash: claim for claim in live_claims(rows, now)}
            answer = poll_claim(live.get(body.secret_hash), body.instance_id, now)
            if answer.claim is not None:
                rows.put(answer.claim)
        return _polled(answer)


def too_large() -> HubResponse:
    """The answer to a body that was not read to its end."""
    return _refused(BODY_TOO_LARGE)


def unavailable() -> HubResponse:
    """The answer where the store failed."""
    return _refused(Refusal(503, RefusalCode.RATE_LIMITED, "The hub cannot answer now.", _RETRY_AFTER))


def load_contract(rows: HubRows, key_hash: str) -> Contract | None:
    """All that belongs to the license with this key hash; None where there is none."""
    found = rows.find(License, key_hash=key_hash)
    if not found:
        return None
    license_ = found[0]
    subscription = rows.get(TenantSubscription, license_.tenant_id, license_.product_type)
    if subscription is None:
        return None
    instances = rows.find(Instance, license_id=license_.license_id)
    return Contract(
        subscription=subscription,
        license=license_,
        catalog=rows.get(TenantCatalog, license_.tenant_id, license_.product_type),
        instances={instance.instance_id: instance for instance in instances},
    )


def live_claims(rows: HubRows, now: datetime) -> tuple[Claim, ...]:
    """The claims that still mean something; the others are forgotten, and the license keys with them."""
    claims = rows.find(Claim)
    for claim in claims:
        if is_over(claim, now):
            rows.drop(claim)
    return tuple(claim for claim in claims if not is_over(claim, now))


def _key_hash(request: HubRequest) -> str | None:
    """The hash of the license key in the Authorization header; the key itself goes no further than this."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(credential) <= _MAX_KEY:
        return None
    return secret_hash(credential.strip())


def _polled(answer: Polled | PolledTooSoon) -> HubResponse:
    if isinstance(answer, PolledTooSoon):
        told = "Polled too soon. Wait longer between polls."
        return _refused(Refusal(429, RefusalCode.SLOW_DOWN, told, answer.claim.interval))
    if answer.claim is None or answer.status is ClaimStatus.DENIED:
        return _answered(200, status=answer.status.value)
    if answer.status is ClaimStatus.PENDING:
        return _answered(200, status=answer.status.value, interval=_seconds_of(answer.claim))
    return _answered(
        200, status=answer.status.value, licenseKey=answer.claim.license_key, tenantName=answer.claim.tenant_name
    )


def _seconds_of(claim: Claim) -> int:
    return ceil(claim.interval.total_seconds())


def _answered(code: int, /, **content: Any) -> HubResponse:
    return _response(code, {"success": True, **content}, {})


def _refused(refusal: Refusal) -> HubResponse:
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(ceil(refusal.retry_after.total_seconds()))
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return _response(refusal.status, {"success": False, "error": refusal.error, "code": refusal.code.value}, headers)


def _response(status: int, content: dict[str, Any], headers: dict[str, str]) -> HubResponse:
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    return HubResponse(status, {"content-type": "application/json", "cache-control": "no-store", **headers}, body)
