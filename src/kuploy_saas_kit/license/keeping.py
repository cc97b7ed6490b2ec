"""The shell around the stored license record: what was seen of it, what is still to be saved."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from kuploy_saas_kit.license.link import storing
from kuploy_saas_kit.license.ports import LicenseRecord, LicenseStore

_MARK_EVERY: Final = timedelta(hours=1)


class RecordKeeper:
    """Reads and saves the license record. Every method that reaches the store raises `StorageError`."""

    def __init__(self, store: LicenseStore) -> None:
        self._store = store
        self._seen: LicenseRecord | None = None
        self._foreign: LicenseRecord | None = None
        self._unsaved: LicenseRecord | None = None
        self._marked_at: timedelta | None = None

    def read_news(self) -> LicenseRecord | None:
        """The stored record, if it is not the one that was read or saved last."""
        with storing("load the license"):
            record = self._store.load_license()
        if record is None or record == self._seen:
            return None
        self._seen = record
        return record

    def refuse(self, record: LicenseRecord) -> None:
        """*record* counts as absent and will be replaced."""
        self._foreign = record

    def save(self, record: LicenseRecord) -> LicenseRecord | None:
        """Save *record*; the one that is stored instead, where another process was faster."""
        self._unsaved = record
        with storing("save the license"):
            if self._foreign is None:
                saved = self._store.save_license(record)
            else:
                saved = self._store.save_license(record, instead_of=self._foreign)
        self._unsaved = None
        if not saved.saved:
            return self.read_news()
        self._seen, self._foreign = record, None
        return None

    def unsaved(self, time: datetime) -> LicenseRecord | None:
        """The record that could not be saved yet, to be saved as of *time*."""
        return None if self._unsaved is None else replace(self._unsaved, mark=time)

    def keep_time(self, time: datetime, elapsed: timedelta) -> None:
        """Save the time mark once an hour."""
        if self._marked_at is None:
            self._marked_at = elapsed
        if elapsed - self._marked_at < _MARK_EVERY:
            return
        self._marked_at = elapsed
        with storing("save the time mark"):
            self._store.save_mark(time)

    def start_over(self) -> None:
        """Under another key nothing that was seen counts."""
        self._seen = self._foreign = self._unsaved = None
