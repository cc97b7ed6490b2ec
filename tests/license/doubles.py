"""A hub, a store and a world for the license tests: they obey the ports, and break on demand."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kuploy_saas_kit._clock import to_timestamp
from kuploy_saas_kit.errors import HubUnavailableError
from kuploy_saas_kit.license import LicenseClient, LicenseConfig
from kuploy_saas_kit.license.ports import (
    ClaimRecord,
    HubRequest,
    HubResponse,
    Lease,
    LicenseRecord,
    LicenseSaved,
    UsageReport,
)
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.testing.clock import ManualClock

KEY = "lic_canary_5f1d0c7e9b"
INSTANCE = "inst_a"
ISSUER = "https://hub.example"
HEADER = {"alg": "Ed25519", "kid": "k1", "typ": "kuploy-license+jws"}


def b64(raw: bytes) -> str:
    """Base64url as tokens have it."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class Signer:
    """Signs tokens as a hub would, with any header that a test wants."""

    key: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, seed: int) -> "Signer":
        return cls(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))

    @property
    def public(self) -> str:
        return b64(self.key.public_key().public_bytes_raw())

    def sign(self, payload: object, header: object = HEADER) -> str:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        signed = f"{b64(json.dumps(header).encode())}.{b64(raw)}"
        return f"{signed}.{b64(self.key.sign(signed.encode()))}"


SIGNER = Signer.from_seed(1)
ROGUE = Signer.from_seed(2)


def plan(slug: str, **fields: Any) -> dict[str, Any]:
    """A plan as the wire writes it."""
    base: dict[str, Any] = {"slug": slug, "name": slug.title(), "limits": {}, "features": {}}
    return {**base, **fields}


CATALOG: dict[str, Any] = {
    "revision": 7,
    "plans": [
        plan("free", isDefault=True, limits={"maxProjects": 1}),
        plan(
            "pro",
            priceCents=2000,
            currency="cad",
            billingCycle="monthly",
            limits={"maxProjects": 10},
            features={"customDomains": True, "aiAssistant": True},
        ),
    ],
}


def tier(name: str) -> dict[str, Any]:
    """Plan, features and limits of a documented tier, as the wire writes them."""
    grant = KUPLOY_CLOUD.tiers[name]
    limits = dict.fromkeys(KUPLOY_CLOUD.required_limits, -1) | grant.limits.to_wire()
    return {"plan": name, "features": dict.fromkeys(grant.features, True), "limits": limits}


def payload(at: datetime, **fields: Any) -> dict[str, Any]:
    """A good payload issued at *at*; `None` leaves a field out."""
    issued = to_timestamp(at)
    base: dict[str, Any] = {
        "schema": 1,
        "iss": ISSUER,
        "productType": "kuploy-cloud",
        "licenseId": "license_1",
        "tenantId": "tenant_1",
        "instanceId": INSTANCE,
        "keyHash": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest(),
        "epoch": 1,
        "revision": 1,
        "issuedAt": issued,
        "freshUntil": issued + 180,
        "graceUntil": issued + 7 * 86_400,
        "status": "active",
        "catalog": CATALOG,
        **tier("growth"),
    }
    merged = {**base, **fields}
    return {name: value for name, value in merged.items() if value is not None}


def answer(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> HubResponse:
    """An answer with *body* as it is, or as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HubResponse(status, headers or {}, raw)


@dataclass
class FakeHub:
    """A hub in memory: a `HubTransport` that signs what it is told to say, or does what `fault` says."""

    clock: ManualClock
    signer: Signer | None = SIGNER
    revision: int = 0

    def __post_init__(self) -> None:
        self.says: dict[str, Any] = {}
        self.fault: Callable[[Mapping[str, Any]], HubResponse] | None = None
        self.requests: list[HubRequest] = []
        self.skew = timedelta()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]

    def post(self, request: HubRequest) -> HubResponse:
        self.requests.append(request)
        body = json.loads(request.body)
        if self.fault is not None:
            return self.fault(body)
        return self.license(body)

    def license(self, body: Mapping[str, Any], **fields: Any) -> HubResponse:
        """The honest answer, with *fields* in place of its own."""
        self.revision += 1
        said = payload(
            self.clock.now() + self.skew,
            **{"nonce": body["nonce"], "revision": self.revision, **self.says, **fields},
        )
        return answer({"success": True, "license": said if self.signer is None else self.signer.sign(said)})

    def goes_down(self, code: str = "transport.connect") -> None:
        def refuse(_: Mapping[str, Any]) -> HubResponse:
            raise HubUnavailableError("no answer", code=code)

        self.fault = refuse

    def comes_back(self) -> None:
        self.fault = None

    def answers(self, body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.fault = lambda _: answer(body, status, headers)

    def close(self) -> None:
        pass


class TinyStore:
    """A `ClientStore` and `LeaseStore` in memory, whose failures a test switches on."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.record: LicenseRecord | None = None
        self.instance_id: str | None = None
        self.license_key: str | None = None
        self.claim: ClaimRecord | None = None
        self.leases: dict[str, tuple[str, datetime]] = {}
        self.is_broken = False
        self.saves = 0

    def _check(self) -> None:
        if self.is_broken:
            raise OSError("disk on fire")

    def load_license(self) -> LicenseRecord | None:
        self._check()
        return self.record

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        self._check()
        held = self.record
        newer = held is None or (record.epoch, record.revision) > (held.epoch, held.revision)
        if not newer and held != instead_of:
            return LicenseSaved(saved=False)
        self.saves += 1
        self.record = record
        return LicenseSaved(saved=True)

    def save_mark(self, mark: datetime) -> None:
        self._check()
        if self.record is not None:
            self.record = replace(self.record, mark=mark)

    def ensure_instance_id(self, candidate: str) -> str:
        self._check()
        self.instance_id = self.instance_id or candidate
        return self.instance_id

    def load_license_key(self) -> str | None:
        self._check()
        return self.license_key

    def save_license_key(self, license_key: str | None) -> None:
        self._check()
        self.license_key = license_key

    def load_claim(self) -> ClaimRecord | None:
        self._check()
        return self.claim

    def save_claim(self, claim: ClaimRecord | None) -> None:
        self._check()
        self.claim = claim

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        self._check()
        now = self.clock.now()
        taken = self.leases.get(name)
        if taken is None or taken[0] == holder or taken[1] <= now:
            taken = self.leases[name] = holder, now + ttl
        return Lease(held=taken[0] == holder, until=taken[1])

    def drop_lease(self, name: str, holder: str) -> None:
        self._check()
        if self.leases.get(name, ("",))[0] == holder:
            del self.leases[name]


class Totals:
    """A `UsageSource` that says what a test sets."""

    def __init__(self) -> None:
        self.report = UsageReport()

    def usage_report(self) -> UsageReport:
        return self.report


class World:
    """One clock, one hub, one store; as many client processes as a test starts."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.hub = FakeHub(self.clock)
        self.store = TinyStore(self.clock)
        self.usage = Totals()
        self.config: dict[str, Any] = {
            "hub_url": ISSUER,
            "license_key": KEY,
            "instance_id": INSTANCE,
            "trusted_keys": {"k1": SIGNER.public},
            **config,
        }

    def client(self, **config: Any) -> LicenseClient:
        """A process that starts now, over what the others have stored."""
        made = LicenseConfig(**{**self.config, **config})
        return LicenseClient(made, self.store, usage=self.usage, transport=self.hub, clock=self.clock)

    def pass_time(self, client: LicenseClient, span: timedelta, step: timedelta = timedelta(seconds=30)) -> None:
        """Let *span* pass, with a tick of *client* every *step*."""
        end = self.clock.elapsed() + span
        while self.clock.elapsed() < end:
            self.clock.advance(min(step, end - self.clock.elapsed()))
            client.tick()


def tls_only_world() -> World:
    """A world whose hub has no keys."""
    world = World(trusted_keys={}, trust="tls_only")
    world.hub.signer = None
    return world
