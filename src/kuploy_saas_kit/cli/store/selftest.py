"""Whether the stores do what they should: each is read, and a lease is taken and given back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.cli.findings import Finding, Level, fail, looked_at, ok, warn
from kuploy_saas_kit.cli.output import span
from kuploy_saas_kit.cli.plans.listing import described_origin
from kuploy_saas_kit.cli.store.disks import MOUNTS, ephemeral_kind
from kuploy_saas_kit.cli.wiring import Stores
from kuploy_saas_kit.errors import storage_errors
from kuploy_saas_kit.license.ports import LeaseStore
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.plans.ports import INSTANCE, Claim, StoredPlans, TakeOutcome

_LEASE: Final = "self-test:"
_COUNTER: Final = ("self-test:", "self-test:")
_TTL: Final = timedelta(seconds=30)
_CLOCKS_APART: Final = timedelta(seconds=30)


def tested(stores: Stores, clock: Clock) -> list[Finding]:
    """What the stores do. After a store that does not even answer, nothing more is asked of it."""
    findings = looked_at("store", lambda: _rows(stores))
    if all(one.level is not Level.FAIL for one in findings):
        findings += looked_at("license store", lambda: _license(stores))
        findings += looked_at("counters", lambda: _counters(stores))
        if isinstance(stores.license, LeaseStore):
            leases: LeaseStore = stores.license
            findings += looked_at("leases", lambda: _leases(leases, clock))
    mounts = MOUNTS.read_text(encoding="utf-8") if MOUNTS.exists() else ""
    return findings + [disk_finding(file, ephemeral_kind(file, mounts)) for file in stores.urls.files]


def plans_finding(stored: StoredPlans) -> Finding:
    """What the plan store has."""
    if stored.catalog is None:
        return warn("plans", "there are none yet", "sync the license in a running host, save a plan, or seed some")
    origin = described_origin(stored)
    return ok("plans", f"{len(stored.catalog.plans)} plans" + (f": {origin}" if origin else ""))


def take_finding(outcome: TakeOutcome, *, limits: int) -> Finding:
    """How a take ended that nothing can refuse."""
    if outcome is TakeOutcome.TAKEN:
        return ok("counters", f"a take works; {limits} limits are counted")
    return fail("counters", f"a take of nothing ended as {outcome}", "run the conformance suite on the store")


def lease_findings(*, first: bool, second: bool, server_now: datetime, now: datetime) -> Iterator[Finding]:
    """What two holders were told who asked for one lease, and what time the store has."""
    if first and not second:
        yield ok("leases", "one of two holders gets it")
    else:
        yield fail("leases", "both or neither of two holders get it", "several processes would sync: look at the store")
    apart = abs(server_now - now)
    if apart > _CLOCKS_APART:
        yield warn(
            "store's clock", f"{span(apart)} from this machine's", "set both clocks, by NTP: leases and ends go by it"
        )


def disk_finding(file: Path, kind: str | None) -> Finding:
    """Whether the disk of *file* lasts."""
    if kind is None:
        return ok("disk", f"{file} is on a disk that lasts, as far as can be seen")
    return warn(
        "disk",
        f"{file} is on {kind}, which ends with the container or the machine",
        "put it on a volume: each restart would lose the instance's identity and its grace",
    )


def _rows(stores: Stores) -> Iterator[Finding]:
    with storage_errors("read the plans and the change feed"):
        stores.main.require_tables()
        stored = stores.main.load_plans()
        stores.main.changes(None)
    yield ok("store", f"{stores.main!r} answers, and has the kit's tables")
    yield plans_finding(stored)


def _license(stores: Stores) -> Iterator[Finding]:
    with storage_errors("read the stored license"):
        stores.license.load_license_key()
        stores.license.load_license()
    yield ok("license store", "it can be read")


def _counters(stores: Stores) -> Iterator[Finding]:
    with storage_errors("take nothing of a counter of its own"):
        # The same each time, so that one row stays behind; nobody else waits for it, or is waited for.
        stores.usage.seed_usage(_COUNTER, 0)
        taken = stores.usage.take([Claim(*_COUNTER, 0, UNLIMITED)])
        counted = stores.usage.usage_of(INSTANCE)
    yield take_finding(taken.outcome, limits=len(counted))


def _leases(leases: LeaseStore, clock: Clock) -> Iterator[Finding]:
    one, other = secrets.token_hex(8), secrets.token_hex(8)
    name = f"{_LEASE}{one}"  # of its own, so that two self-tests at once do not see each other
    with storage_errors("take a lease"):
        try:
            first = leases.take_lease(name, one, _TTL)
            now = clock.now()
            second = leases.take_lease(name, other, _TTL)
        finally:
            leases.drop_lease(name, one)
            leases.drop_lease(name, other)
    yield from lease_findings(first=first.held, second=second.held, server_now=first.until - _TTL, now=now)
