"""What the license costs: reading it, taking a new one, and surviving an answer that is a bomb.

    python benchmarks/license.py

Each figure is held against what nobody can go below: a clock read and a frozen object, a bare signature check and a
bare pydantic parse of the same bytes, both measured in turns with the kit's in the same process.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import socket
import tracemalloc
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter_ns, thread_time_ns
from typing import Annotated, Any, Literal

from _rounds import Candidate, measure, no_collection
from _targets import Target, table
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from kuploy_saas_kit._clock import SystemClock, to_timestamp
from kuploy_saas_kit.adapters import FileLicenseStore, MemoryStore
from kuploy_saas_kit.hub.signing import SigningKey
from kuploy_saas_kit.license import LicenseClient, LicenseConfig, TrustedKey, shapes
from kuploy_saas_kit.license.exchange import Asked, ExchangeRules
from kuploy_saas_kit.license.ports import HubResponse, UsageReport
from kuploy_saas_kit.license.reading import Binding, LicenseReader, hash_of_key
from kuploy_saas_kit.license.schedule import Schedule
from kuploy_saas_kit.license.signature import TokenVerifier
from kuploy_saas_kit.license.snapshot import LicenseSnapshot
from kuploy_saas_kit.license.state import LicenseState, Moment, Rules
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.model.status import Operation
from kuploy_saas_kit.testing.hub import HubSimulator

KEY = "lic_benchmark"
HUB = "https://hub.example"
PLANS = 10
PERIOD = timedelta(seconds=60)
BOMB_BYTES = 522_000  # compressed; what it holds is a thousand times as much

_DOWN_FROM, _DOWN_UNTIL, _END = timedelta(minutes=5), timedelta(minutes=65), timedelta(minutes=75)


@dataclass(frozen=True)
class Frozen:
    """The cheapest thing that a snapshot could be."""

    state: object
    at: datetime


class BareModel(BaseModel):
    """Pydantic as the payload's bytes deserve it."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True, alias_generator=to_camel)


class BarePlan(BareModel):
    """A plan within the kit's own bounds."""

    slug: shapes.Name
    name: shapes.Name
    price_cents: shapes.Count | None = None
    currency: shapes.Currency | None = None
    billing_cycle: shapes.Cycle = "monthly"
    limits: shapes.Limits = {}
    features: shapes.Features = {}
    is_default: bool = False
    is_active: bool = True
    description: shapes.Description = ""


class BareCatalog(BareModel):
    """The catalog within the kit's own bounds."""

    revision: shapes.Count
    plans: Annotated[list[BarePlan], Field(max_length=500)]


class BarePayload(BareModel):
    """The payload in one pydantic model: the kit's own bounds, and nothing after them."""

    iss: shapes.Name
    product_type: shapes.Name
    license_id: shapes.Name
    tenant_id: shapes.Name
    instance_id: shapes.Name
    key_hash: shapes.Name
    epoch: shapes.Count | None = None
    revision: shapes.Count | None = None
    issued_at: shapes.Instant
    fresh_until: shapes.Instant
    grace_until: shapes.Instant
    paid_until: shapes.Instant | None = None
    status: Literal["active", "suspended", "revoked"]
    status_reason: shapes.Text = ""
    plan: shapes.Name
    features: shapes.Features
    limits: shapes.Limits
    periods: shapes.Periods = {}
    usage_elsewhere: shapes.Counts = {}
    allowances: shapes.Limits = {}
    catalog: BareCatalog
    nonce: shapes.Name | None = None


def wire_plan(number: int, serial: int) -> dict[str, Any]:
    """A plan as a hub writes it: all limits and all features named."""
    return {
        "slug": f"plan-{number}",
        "name": f"Plan {number}",
        "priceCents": 100 * number + serial % 100,
        "currency": "cad",
        "billingCycle": "monthly",
        "limits": dict.fromkeys(KUPLOY_CLOUD.limits, (number + 1) * 10_000 + serial),
        "features": dict.fromkeys(KUPLOY_CLOUD.features, True),
        "isDefault": number == 0,
        "isActive": True,
        "description": "What you get for it, in a sentence or two that somebody wrote for the pricing page.",
    }


def wire_payload(serial: int, catalog: int, nonce: str, now: datetime) -> dict[str, Any]:
    """A payload with a catalog of ten plans; no two *catalog* numbers have a plan in common."""
    issued = to_timestamp(now)
    return {
        "schema": 1,
        "iss": HUB,
        "productType": "kuploy-cloud",
        "licenseId": "license_1",
        "tenantId": "tenant_1",
        "instanceId": "inst_a",
        "keyHash": hash_of_key(KEY),
        "epoch": 1,
        "revision": serial,
        "issuedAt": issued,
        "freshUntil": issued + 180,
        "graceUntil": issued + 7 * 86_400,
        "status": "active",
        "statusReason": "",
        "plan": "growth",
        "features": dict.fromkeys(KUPLOY_CLOUD.features, True),
        "limits": dict.fromkeys(KUPLOY_CLOUD.limits, 1000 + serial),
        "periods": {"buildMinutesPerMonth": [issued, issued + 30 * 86_400]},
        "usageElsewhere": {"maxProjects": serial},
        "catalog": {"revision": catalog, "plans": [wire_plan(number, catalog) for number in range(PLANS)]},
        "nonce": nonce,
    }


class Sync:
    """The kit's side of one exchange, from the bytes of the answer to the snapshot that hosts read."""

    def __init__(self, signer: SigningKey) -> None:
        verifier = TokenVerifier({signer.kid: TrustedKey(signer.public_key)})
        self._signer = signer
        self._rules = ExchangeRules(LicenseReader(KUPLOY_CLOUD, verifier), Rules(), "0")
        self._binding = Binding(
            issuer=HUB, product_type="kuploy-cloud", instance_id="inst_a", key_hash=hash_of_key(KEY)
        )
        self._state = LicenseState(has_key=True)
        self._moment = Moment(datetime(2026, 11, 20, tzinfo=UTC), timedelta())
        self.snapshot = LicenseSnapshot(self._state, self._moment.now)

    def prepared(self, serial: int, *, catalog: int) -> tuple[Asked, HubResponse, str]:
        """A request, its answer with this catalog, and the token in it."""
        asked = self._rules.ask(self._state, self._binding, UsageReport(), 0, timedelta())
        token = self._signer.sign(wire_payload(serial, catalog, asked.nonce, self._moment.now))
        return asked, HubResponse(200, {}, json.dumps({"success": True, "license": token}).encode()), token

    def take(self, asked: Asked, answer: HubResponse) -> None:
        """Verify, parse, judge and publish."""
        concluded = self._rules.conclude(self._state, asked, answer, self._moment)
        assert concluded.is_good
        self._state = concluded.state
        self.snapshot = LicenseSnapshot(concluded.state, self._moment.now)


def taking_a_license(rounds: int, *, is_new: bool) -> tuple[float, float, float]:
    """Microseconds of the kit and of the bare check and parse of the same token, and the median of their ratios.

    *is_new*: every catalog differs from the one before; otherwise only the rest of the payload does.
    """
    private = Ed25519PrivateKey.generate()
    sync, public = Sync(SigningKey(private, kid="k1")), private.public_key()
    pairs = []
    with no_collection():
        for serial in range(1, rounds + 1):
            asked, answer, token = sync.prepared(serial, catalog=serial if is_new else 1)
            message = token.rpartition(".")[0].encode()
            payload, signature = urlsafe_b64decode(token.split(".")[1] + "=="), private.sign(message)
            start = thread_time_ns()
            public.verify(signature, message)
            BarePayload.model_validate_json(payload)
            between = thread_time_ns()
            sync.take(asked, answer)
            pairs.append((thread_time_ns() - between, between - start))
    warm = pairs[rounds // 10 :]
    kit, bare = (median(column) / 1e3 for column in zip(*warm, strict=True))
    return kit, bare, median(mine / its for mine, its in warm)


def reading_the_license(rounds: int) -> tuple[float, float, float]:
    """Nanoseconds of `snapshot()`, and of one clock read and one frozen object; the median of their ratios."""
    clock = SystemClock()
    hub = HubSimulator(clock=clock)
    key = hub.issue_license(hub.add_tenant("A tenant"))
    config = LicenseConfig(hub_url=HUB, license_key=key, issuer=None, trusted_keys=hub.trusted_keys)
    client = LicenseClient(config, MemoryStore(clock=clock), transport=hub.transport(), clock=clock)
    assert client.sync().ok
    state = object()
    candidates = [
        Candidate("kit", "snapshot()", {"snapshot": client.snapshot}),
        Candidate("bare", "Frozen(state, now())", {"Frozen": Frozen, "state": state, "now": clock.now}),
    ]
    timings = measure(candidates, [("", "")] * 64, rounds=rounds, batch_ms=2)
    return timings.best("kit"), timings.best("bare"), timings.ratio("kit", to="bare")


def starting_with_a_cache(rounds: int) -> float:
    """Milliseconds from a new client over a license file to its first answer, with the hub down: the worst."""
    hub = HubSimulator()
    key = hub.issue_license(hub.add_tenant("A tenant"))
    config = LicenseConfig(hub_url=HUB, license_key=key, trusted_keys=hub.trusted_keys)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "license.json"
        assert LicenseClient(config, FileLicenseStore(path), transport=hub.transport()).sync().ok
        hub.outage("refused")
        took = []
        for _ in range(rounds):
            start = perf_counter_ns()
            client = LicenseClient(config, FileLicenseStore(path), transport=hub.transport())
            client.start()
            assert client.snapshot().permits(Operation.CREATE)
            took.append((perf_counter_ns() - start) / 1e6)
            client.stop()
    return max(took)


def memory_of_a_bomb() -> float:
    """MiB above rest at the worst moment of a sync that is answered with a compressed bomb, over a real socket."""
    bomb = gzip.compress(bytes(BOMB_BYTES * 1000), compresslevel=9)[:BOMB_BYTES]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\nConnection: close\r\n\r\n"
    with answering(head.encode() + bomb) as url:
        config = LicenseConfig(hub_url=url, license_key=KEY, trust="tls_only")
        client = LicenseClient(config, MemoryStore())
        client.sync()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            client._asked_at = None  # noqa: SLF001 - a second sync by hand within five seconds
            assert client.sync().code == "payload.encoding"
            return (tracemalloc.get_traced_memory()[1] - before) / 2**20
        finally:
            tracemalloc.stop()
            client.stop()


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """A server that answers every request with *raw*."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def herd(instances: int, seed: int) -> tuple[float, float]:
    """How high the load peaks after an hour's outage, in times of the steady load, and when 99 % are synced again.

    Every instance goes through the client's own schedule, from some time before the outage to some time after it.
    """
    dice = Random(seed).random  # noqa: S311 - reproducible, not secret
    load = [0] * int(_END.total_seconds() + 1)
    synced_after = []
    for _ in range(instances):
        schedule, due, first = Schedule(), PERIOD * dice(), None
        while due < _END:
            is_down = _DOWN_FROM <= due < _DOWN_UNTIL
            if due >= _DOWN_UNTIL:
                load[int(due.total_seconds())] += 1
                first = first or due
            schedule = (
                schedule.after_failure(due, None, dice()) if is_down else schedule.after_success(due, PERIOD, dice())
            )
            due = schedule.due or _END
        synced_after.append(((first or _END) - _DOWN_UNTIL).total_seconds())
    steady = instances / PERIOD.total_seconds()
    return max(load) / steady, sorted(synced_after)[int(instances * 0.99)]


def main() -> None:
    """Measure everything, and print it beside what was promised."""
    parser = argparse.ArgumentParser(description="Measure the license.")
    parser.add_argument(
        "--instances", type=int, default=20_000, help="of the simulated herd; the promise is for a million"
    )
    instances = parser.parse_args().instances
    logging.disable()
    snapshot, floor, reading = reading_the_license(40)
    new, bare, taking = taking_a_license(2000, is_new=True)
    same, _, taking_same = taking_a_license(2000, is_new=False)
    peak, resynced = herd(instances, seed=1)
    print(f"snapshot(): {snapshot:,.0f} ns; a clock read and a frozen object: {floor:,.0f} ns")
    print(f"a token with {PLANS} new plans: {new:,.0f} µs, with the same: {same:,.0f} µs; bare: {bare:,.0f} µs\n")
    promised = [
        Target("`snapshot()` to a clock read and a frozen object", reading, 2, "×"),
        Target("a token with new plans, verified to published, to bare check and parse", taking, 2, "×"),
        Target("the same where the plans did not change", taking_same, 2, "×"),
        Target("a cached start with the hub down, the worst of 50", starting_with_a_cache(50), 50, "ms"),
        Target(f"memory above rest for a bomb of {BOMB_BYTES:,} bytes", memory_of_a_bomb(), 16, "MiB"),
        Target(f"peak after an hour's outage, {instances:,} instances, to steady", peak, 1.2, "×"),
        Target("99 % are synced again after", resynced, 300, "s"),
    ]
    print(table(("what", "measured", "target", "held"), (one.row for one in promised)))


if __name__ == "__main__":
    main()
