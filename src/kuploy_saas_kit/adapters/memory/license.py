"""The license, the instance's identity, and leases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kuploy_saas_kit.adapters._rules import may_replace
from kuploy_saas_kit.adapters.memory.state import Verbs
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved


class LicenseVerbs(Verbs):
    """`LicenseStore` in memory."""

    def load_license(self) -> LicenseRecord | None:
        with self._lock:
            return self._state.license

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        with self._lock:
            if not may_replace(self._state.license, record, instead_of):
                return LicenseSaved(saved=False)
            self._state.license = record
            return LicenseSaved(saved=True)

    def save_mark(self, mark: datetime) -> None:
        with self._lock:
            held = self._state.license
            if held is not None:
                self._state.license = replace(held, mark=max(held.mark, mark))


class IdentityVerbs(Verbs):
    """`IdentityStore` in memory."""

    def ensure_instance_id(self, candidate: str) -> str:
        with self._lock:
            if self._state.instance_id is None:
                self._state.instance_id = candidate
            return self._state.instance_id

    def load_license_key(self) -> str | None:
        with self._lock:
            return self._state.license_key

    def save_license_key(self, license_key: str | None) -> None:
        with self._lock:
            self._state.license_key = license_key

    def load_claim(self) -> ClaimRecord | None:
        with self._lock:
            return self._state.claim

    def save_claim(self, claim: ClaimRecord | None) -> None:
        with self._lock:
            self._state.claim = claim


class LeaseVerbs(Verbs):
    """`LeaseStore` in memory."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        with self._lock:
            now = self._clock.now()
            owner, lease = self._state.leases.get(name, (holder, None))
            if lease is not None and owner != holder and now < lease.until:
                return Lease(held=False, until=lease.until)
            taken = Lease(held=True, until=now + ttl)
            self._state.leases[name] = (holder, taken)
            return taken

    def drop_lease(self, name: str, holder: str) -> None:
        with self._lock:
            owner, _ = self._state.leases.get(name, (None, None))
            if owner == holder:
                del self._state.leases[name]
