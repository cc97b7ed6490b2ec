"""`HubSimulator`: the reference hub in this process, with outages, for tests, demos and development.

It is the hub of `kuploy_saas_kit.hub` over a store in memory. Signed answers need the extra `[signing]`.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.errors import ConfigurationError, HubUnavailableError, InvalidValueError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.payload import Payload
from kuploy_saas_kit.hub.records import Claim, HubPolicy, HubStatus
from kuploy_saas_kit.hub.service import Hub, Plain, Seal
from kuploy_saas_kit.hub.store import MemoryHubStore
from kuploy_saas_kit.hub.usage import LicenseUsage
from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.testing.faults import (
    HOLDS_THE_SOCKET,
    REACHES_THE_HUB,
    Outage,
    bad_response,
    outage_named,
    spoilt,
)
from kuploy_saas_kit.testing.loopback import Answer, LoopbackServer, SocketFault

if TYPE_CHECKING:
    from kuploy_saas_kit._clock import Clock
    from kuploy_saas_kit.hub.signing import KeyRing, SigningKey

_CLOUD: Final = KUPLOY_CLOUD.product_type
_SYNC_PATH: Final = "/api/license/sync"
_SKEW: Final = timedelta(hours=1)
_KEPT_REQUESTS: Final = 10_000
_SECRET_FIELDS: Final = frozenset({"secret", "secretHash", "licenseKey"})


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request that reached the simulator: *body* is its JSON without secrets, empty where it was none."""

    path: str
    at: datetime
    body: Mapping[str, Any] = field(default_factory=dict)


class HubSimulator:
    """A hub to test against: tenants, licenses, plans, claims, and every way in which a hub can fail.

    Its time is *clock*, the system's unless given; with `signed=False` it is a hub without keys. Payloads name as
    issuer the origin at which the hub was asked, as `LicenseConfig` expects it, unless a *policy* names another.
    """

    def __init__(self, *, clock: Clock | None = None, signed: bool = True, policy: HubPolicy | None = None) -> None:
        self._clock = clock or SystemClock()
        self._policy = policy
        self._store = MemoryHubStore()
        self._admin = HubAdmin(self._store, self._clock)
        self._ring = _new_ring() if signed else None
        self._lock = threading.Lock()
        self._requests: deque[RecordedRequest] = deque(maxlen=_KEPT_REQUESTS)
        self._outage: Outage | None = None
        self._spared = 0
        self._last_sync: HubResponse | None = None
        self._server: LoopbackServer | None = None

    # --- how to reach it ---------------------------------------------------------------------------------------

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve over HTTP on loopback; gives the URL. Threads and port are gone when the block ends."""
        if self._server is not None:
            raise ConfigurationError("this simulator serves already: use the URL of the first serve()")
        server = LoopbackServer(self._answer, self._is_refusing)
        server.open()
        self._server = server
        try:
            yield server.url
        finally:
            self._server = None
            server.close()

    def transport(self) -> InProcessTransport:
        """A `HubTransport` that asks this hub without any socket."""
        return InProcessTransport(self._answer)

    @property
    def trusted_keys(self) -> dict[str, str]:
        """What an instance pins: base64url public keys by key id; empty for a hub without keys."""
        return {} if self._ring is None else self._ring.trusted_keys

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests that arrived, oldest first, without secrets; those of an outage too, unless refused."""
        with self._lock:
            return list(self._requests)

    # --- tenants and licenses ----------------------------------------------------------------------------------

    def add_tenant(self, name: str) -> str:
        """A new tenant; returns its id."""
        return self._admin.add_tenant(name)

    def issue_license(self, tenant_id: str, product: str = _CLOUD, tier: str = "growth") -> str:
        """A new license; returns its key. All licenses of one tenant and product are on one tier."""
        return self._admin.issue_license(tenant_id, product, tier)

    def change_tier(self, license_key: str, tier: str) -> None:
        """Upgrade or downgrade; instances learn it with their next sync."""
        self._admin.change_tier(license_key, tier)

    def suspend(self, license_key: str, reason: str = "") -> None:
        """Suspend the license until it is reinstated."""
        self._admin.set_status(license_key, HubStatus.SUSPENDED, reason)

    def revoke(self, license_key: str, reason: str = "") -> None:
        """Revoke the license."""
        self._admin.set_status(license_key, HubStatus.REVOKED, reason)

    def reinstate(self, license_key: str) -> None:
        """Make a suspended or revoked license active."""
        self._admin.set_status(license_key, HubStatus.ACTIVE)

    def pay_until(self, license_key: str, instant: datetime | None) -> None:
        """Let the license end at *instant* (aware) for want of payment, or with None no more."""
        self._admin.pay_until(license_key, instant)

    def set_allowances(self, license_key: str, instance_id: str, allowances: Mapping[str, int]) -> None:
        """The totals that this instance may hold, by limit key; an empty mapping takes them away."""
        self._admin.set_allowances(license_key, instance_id, allowances)

    def remove_instance(self, license_key: str, instance_id: str) -> None:
        """Free the instance's seat; it is told that its license is revoked."""
        self._admin.remove_instance(license_key, instance_id)

    def usage_of(self, license_key: str) -> LicenseUsage:
        """What the license's instances reported, added up: `.gauges` by key, `.meters` by (key, period)."""
        return self._admin.usage_of(license_key)

    # --- plans -------------------------------------------------------------------------------------------------

    def set_catalog(self, tenant_id: str, plans: Iterable[Plan], product: str = _CLOUD) -> int:
        """Make the tenant's plans be *plans*; returns the catalog's revision.

        Raises:
            CeilingExceededError: a plan has a feature that the tenant's tier lacks.
            CatalogError: the plans contradict each other.
        """
        return self._admin.set_catalog(tenant_id, product, plans)

    def put_plan(self, tenant_id: str, plan: Plan, product: str = _CLOUD) -> int:
        """Add a plan or replace the one with its slug; returns the catalog's revision. It raises as `set_catalog`."""
        return self._admin.put_plan(tenant_id, product, plan)

    # --- claims ------------------------------------------------------------------------------------------------

    @property
    def pending_claims(self) -> tuple[Claim, ...]:
        """The claims that wait for an answer, with `.code`, `.instance_id`, `.hostname`; the oldest first."""
        return self._admin.pending_claims()

    def approve_claim(self, code: str, license_key: str) -> None:
        """Give the license to the instance that shows *code*; `ClaimError` for a wrong code."""
        self._admin.approve_claim(code, license_key)

    def deny_claim(self, code: str) -> None:
        """Tell the instance that shows *code* that it gets none; `ClaimError` for a wrong code."""
        self._admin.deny_claim(code)

    # --- trouble -----------------------------------------------------------------------------------------------

    def outage(self, kind: str | None, *, after: int = 0) -> None:
        """Misbehave as the `Outage` of this name says, once *after* more requests were answered well; None ends it."""
        named = None if kind is None else outage_named(kind)
        if after < 0:
            raise InvalidValueError(f"after is how many more requests are answered well, 0 or more; got {after}")
        with self._lock:
            self._outage, self._spared = named, after
        self._settle()

    def rotate_key(self, *, compromised: bool = False) -> None:
        """Sign with the next key, which `trusted_keys` named all along; a *compromised* one is trusted no more."""
        if self._ring is None:
            raise ConfigurationError("this hub has no keys: make it with signed=True")
        self._ring = self._ring.rotated(compromised=compromised)

    # --- within ------------------------------------------------------------------------------------------------

    def _answer(self, request: HubRequest) -> Answer:
        outage = self._arrived(request)
        if outage is not None and outage not in REACHES_THE_HUB:
            return SocketFault(outage) if outage in HOLDS_THE_SOCKET else bad_response(outage)
        is_sync = urlsplit(request.url).path == _SYNC_PATH
        response = self._hub(request.url, outage if is_sync else None).post(request)
        if outage in HOLDS_THE_SOCKET:
            return SocketFault(outage, response)
        return self._remembered(response, outage) if is_sync else response

    def _arrived(self, request: HubRequest) -> Outage | None:
        """Record the request; the outage that it meets."""
        recorded = RecordedRequest(urlsplit(request.url).path, self._clock.now(), _without_secrets(request.body))
        with self._lock:
            if self._spared:
                self._spared -= 1
                outage = None
            else:
                outage = self._outage
            if outage is not Outage.REFUSED:
                self._requests.append(recorded)
        return outage

    def _hub(self, url: str, outage: Outage | None) -> Hub:
        seal: Seal = self._ring or Plain()
        clock = self._clock
        if outage is Outage.SKEW:
            clock = _FastClock(clock)
        if outage is not None:
            seal = _SpoilingSeal(seal, outage, self._ring)
        return Hub(self._store, seal, clock, self._policy or HubPolicy(issuer=_origin(url)))

    def _remembered(self, response: HubResponse, outage: Outage | None) -> HubResponse:
        """The response, or in a stale outage the last good one in its place."""
        with self._lock:
            if outage is Outage.STALE:
                return self._last_sync or response
            if outage is None and response.status == 200:
                self._last_sync = response
        return response

    def _is_refusing(self) -> bool:
        return self._outage is Outage.REFUSED and not self._spared

    def _settle(self) -> None:
        if self._server is not None:
            self._server.settle()


class InProcessTransport:
    """A `HubTransport` without sockets: what would fail on one raises `HubUnavailableError` with the same code."""

    def __init__(self, answer: Callable[[HubRequest], Answer]) -> None:
        self._answer = answer

    def post(self, request: HubRequest) -> HubResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = self._answer(HubRequest(request.url, headers, request.body))
        if isinstance(answer, SocketFault):
            raise _failed(HOLDS_THE_SOCKET[answer.outage])
        if "content-encoding" in answer.headers:
            raise _failed("payload.encoding")
        return answer

    def close(self) -> None:
        """Nothing is held open."""


class _SpoilingSeal:
    """Seals what the outage made of the payload."""

    def __init__(self, honest: Seal, outage: Outage, ring: KeyRing | None) -> None:
        self._honest = honest
        self._outage = outage
        self._ring = ring

    @property
    def epoch(self) -> int:
        return self._honest.epoch

    def seal(self, payload: Payload) -> str | Payload:
        if self._outage is not Outage.FORGED:
            return self._honest.seal(spoilt(payload, self._outage))
        if self._ring is None:
            return {**payload, "keyHash": "sha256:" + "0" * 64}
        return _forged_key(self._ring.current.kid).sign(payload)


class _FastClock:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now() + _SKEW

    def elapsed(self) -> timedelta:
        return self._clock.elapsed()


def _new_ring() -> KeyRing:
    from kuploy_saas_kit.hub.signing import KeyRing  # noqa: PLC0415 - an unsigned hub needs no cryptography

    return KeyRing.generate()


def _forged_key(kid: str) -> SigningKey:
    from kuploy_saas_kit.hub.signing import SigningKey  # noqa: PLC0415 - as above

    return SigningKey.generate(kid=kid)


def _failed(code: str) -> HubUnavailableError:
    return HubUnavailableError(f"no answer from the simulated hub: {code}", code=code)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _without_secrets(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return MappingProxyType({})
    if not isinstance(content, dict):
        return MappingProxyType({})
    return MappingProxyType({name: value for name, value in content.items() if name not in _SECRET_FIELDS})
