"""What the license tells those who watch it: one log line and one event for each thing that happens.

Nothing in an event is a secret: the license is named by its id, never by its key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from kuploy_saas_kit.errors import PayloadRejectedError, StorageError
from kuploy_saas_kit.license.exchange import SyncResult
from kuploy_saas_kit.license.grace import grace_step
from kuploy_saas_kit.license.snapshot import LicenseSnapshot

_LOG: Final = logging.getLogger("kuploy_saas_kit.license")
_KEY_IS_WRONG_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class LicenseEvent:
    """Something to count: *name* is `sync`, `grace`, `alarm`, `cache.refused` or `store.failed`; *fields* say more.

    `sync` has code, ok, status, revision, license_id, hub_code and failures (in a row). `grace` comes in GRACE when
    75, 50, 25 and 10 percent of it are left, and an hour before its end, from each process once: it has percent (0 for
    the last hour), seconds_left, grace_until and license_id. `alarm` is for people: its code is
    `replay.equivocation` or `auth_rejected` (three times in a row).
    """

    name: str
    fields: Mapping[str, object] = field(default_factory=dict)


Observer: TypeAlias = Callable[[LicenseEvent], None]


class Events:
    """Logs what happens and tells the observers, whose exceptions go no further."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []
        self._complaint: str | None = None
        self._grace: int | None = None

    def add(self, observer: Observer) -> None:
        """Tell *observer* of every event from now on."""
        self._observers.append(observer)

    def synced(self, result: SyncResult, snapshot: LicenseSnapshot, *, failures: int) -> None:
        """A sync ended."""
        fields = {
            "code": result.code,
            "ok": result.ok,
            "hub_code": result.hub_code,
            "status": result.status.value,
            "revision": snapshot.revision,
            "license_id": snapshot.license_id,
            "failures": failures,
        }
        level = logging.INFO if result.ok else logging.WARNING
        _LOG.log(level, "license sync: %s, license is %s", result.code, result.status.value, extra={"license": fields})
        self._tell(LicenseEvent("sync", fields))
        self._alarm(result.code, failures)

    def aged(self, snapshot: LicenseSnapshot) -> None:
        """Time has passed. Each step of the grace is told once, until the license is fresh again."""
        step = grace_step(snapshot)
        before, self._grace = self._grace, None if step is None else step.percent
        if step is None or step.percent == before:
            return
        fields = {
            "percent": step.percent,
            "seconds_left": int(step.left.total_seconds()),
            "grace_until": snapshot.grace_until,
            "license_id": snapshot.license_id,
        }
        _LOG.warning(
            "no license from the hub since %s: nothing new can be created from %s on",
            snapshot.issued_at,
            snapshot.grace_until,
            extra={"license": fields},
        )
        self._tell(LicenseEvent("grace", fields))

    def record_refused(self, error: PayloadRejectedError) -> None:
        """The stored license does not count."""
        _LOG.warning("the stored license is treated as absent: %s", error, extra={"license": {"code": error.code}})
        self._tell(LicenseEvent("cache.refused", {"code": error.code}))

    def store_failed(self, error: StorageError) -> None:
        """The store could not be read or written. It is asked each second, and complained of once."""
        if str(error) == self._complaint:
            return
        self._complaint = str(error)
        _LOG.warning("%s; the license is served from memory", error)
        self._tell(LicenseEvent("store.failed"))

    def store_works(self) -> None:
        """The store answered."""
        self._complaint = None

    def _alarm(self, code: str, failures: int) -> None:
        if code == "replay.equivocation":
            _LOG.error("the hub said two different things under one revision: tell its operator")
        elif code == "auth_rejected" and failures == _KEY_IS_WRONG_AFTER:
            _LOG.error("the hub keeps rejecting the license key: check LICENSE_KEY or claim the license again")
        else:
            return
        self._tell(LicenseEvent("alarm", {"code": code}))

    def _tell(self, event: LicenseEvent) -> None:
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - the host's code
                _LOG.exception("a license observer failed")
