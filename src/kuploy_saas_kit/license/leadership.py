"""Who of several processes syncs. Advisory: without a lease, or when it fails, everybody may."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license.link import storing
from kuploy_saas_kit.license.ports import LeaseStore

_LOG: Final = logging.getLogger("kuploy_saas_kit.license")
_NAME: Final = "license-sync"
_TTL: Final = timedelta(seconds=90)
_RENEW_EVERY: Final = timedelta(seconds=30)
_CLOCKS_APART: Final = timedelta(minutes=5)
_SHORTEST_WAIT: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether it is this process's turn, and if not, when to ask again."""

    is_mine: bool
    wait: timedelta = timedelta()

    def __bool__(self) -> bool:
        raise TypeError("use .is_mine")


class Leadership:
    """Holds the lease as long as this process lives and syncs."""

    def __init__(self, store: LeaseStore | None, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._taken_at: timedelta | None = None

    def ask(self) -> Turn:
        """Take or prolong the lease."""
        if self._store is None:
            return Turn(is_mine=True)
        try:
            with storing("take the lease"):
                lease = self._store.take_lease(_NAME, self._holder, _TTL)
        except StorageError as error:
            _LOG.warning("%s; syncing without it", error)
            return Turn(is_mine=True)
        self._taken_at = self._clock.elapsed() if lease.held else None
        wait = lease.until - self._clock.now()
        # Nobody takes a lease for so long: a clock was set back, and its holder may be gone.
        is_absurd = wait > _TTL + _CLOCKS_APART
        return Turn(lease.held or is_absurd, min(max(wait, _SHORTEST_WAIT), _TTL))

    def renew(self) -> None:
        """Prolong the lease now and then, if it is held: a back-off may be longer than the lease."""
        if self._taken_at is not None and self._clock.elapsed() - self._taken_at >= _RENEW_EVERY:
            self.ask()

    def drop(self) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        if self._store is None or self._taken_at is None:
            return
        self._taken_at = None
        try:
            with storing("drop the lease"):
                self._store.drop_lease(_NAME, self._holder)
        except StorageError as error:
            _LOG.warning("%s; it ends by itself", error)

    def after_fork(self) -> None:
        """The child is another process: it holds nothing."""
        self._holder = secrets.token_hex(8)
        self._taken_at = None
