"""The license and the instance's identity in one file, for hosts without a database.

The file is worth as much as its disk: where the disk ends with the container, each restart loses identity and grace.
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kuploy_saas_kit.adapters._rules import may_replace
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license.forks import mend_after_fork
from kuploy_saas_kit.license.ports import ClaimRecord, LicenseRecord, LicenseSaved

try:
    import fcntl
except ImportError:  # Windows: threads are kept apart there, processes are not
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

_log = logging.getLogger("kuploy_saas_kit.adapters.file")

_MAX_BYTES: Final = 4 * 1024 * 1024  # the hub's answer is at most 1 MiB, and base64 adds a third


_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class _Document(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(
        strict=True, frozen=True, hide_input_in_errors=True, ser_json_bytes="base64", val_json_bytes="base64"
    )

    instance_id: _Text | None = None
    license_key: _Text | None = Field(default=None, repr=False)
    license: LicenseRecord | None = None
    claim: ClaimRecord | None = None


def _readable_part(content: bytes, error: ValidationError) -> _Document:
    """What is left without the parts that *error* names: an unreadable license costs no identity."""
    wrong = {detail["loc"][0] for detail in error.errors(include_input=False) if detail["loc"]}
    if not wrong:
        return _Document()
    sound = {name: part for name, part in json.loads(content).items() if name not in wrong}
    return _Document.model_validate_json(json.dumps(sound))


class FileLicenseStore:
    """`LicenseStore` and `IdentityStore` in the file *path*, readable by its owner only.

    Each change is a new file that takes the old one's place, so that a crash leaves the one or the other. Threads and,
    where the system has file locks, processes take turns. What cannot be read counts as absent and is logged;
    a file that cannot be written is `StorageError`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._locked: int | None = None
        mend_after_fork(self)

    def __repr__(self) -> str:
        return f"FileLicenseStore({os.fspath(self._path)!r})"

    def load_license(self) -> LicenseRecord | None:
        return self._read().license

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        def saved(document: _Document) -> tuple[_Document, LicenseSaved]:
            if not may_replace(document.license, record, instead_of):
                return document, LicenseSaved(saved=False)
            return document.model_copy(update={"license": record}), LicenseSaved(saved=True)

        return self._change(saved)

    def save_mark(self, mark: datetime) -> None:
        def moved(document: _Document) -> tuple[_Document, None]:
            held = document.license
            if held is None or mark <= held.mark:
                return document, None
            return document.model_copy(update={"license": replace(held, mark=mark)}), None

        self._change(moved)

    def ensure_instance_id(self, candidate: str) -> str:
        def ensured(document: _Document) -> tuple[_Document, str]:
            instance_id = document.instance_id or candidate
            return document.model_copy(update={"instance_id": instance_id}), instance_id

        return self._change(ensured)

    def load_license_key(self) -> str | None:
        return self._read().license_key

    def save_license_key(self, license_key: str | None) -> None:
        self._change(lambda document: (document.model_copy(update={"license_key": license_key}), None))

    def load_claim(self) -> ClaimRecord | None:
        return self._read().claim

    def save_claim(self, claim: ClaimRecord | None) -> None:
        self._change(lambda document: (document.model_copy(update={"claim": claim}), None))

    def after_fork(self) -> None:
        """Whoever was writing is in the parent; its file lock would last until this process ends too."""
        self._lock = threading.Lock()
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def _read(self) -> _Document:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            return _Document()
        except OSError as error:
            raise StorageError(f"the license file {self._path} cannot be opened: {error.strerror}") from error
        if len(content) > _MAX_BYTES:
            _log.warning("%s is no license file: it is too large, and counts as absent", self._path)
            return _Document()
        try:
            return _Document.model_validate_json(content)
        except ValidationError as error:
            _log.warning("%s cannot be read as it is; what is unreadable of it counts as absent", self._path)
            return _readable_part(content, error)

    def _change(self, change: Callable[[_Document], tuple[_Document, T]]) -> T:
        """Read, change and write, without anybody else in between."""
        with self._lock, self._alone():
            before = self._read()
            after, answer = change(before)
            if after != before:
                self._write(after.model_dump_json().encode())
            return answer

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out. The lock is on a file of its own: the one with the content is replaced."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"the license file {self._path} cannot be locked ({error.strerror}): its folder must be writable"
            ) from error
        self._locked = descriptor
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            self._locked = None
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing does not, while the child of a fork has it open
            os.close(descriptor)

    def _write(self, content: bytes) -> None:
        try:
            self._sweep()
            descriptor, name = tempfile.mkstemp(prefix=self._temporary, suffix=".tmp", dir=self._path.parent)
            with os.fdopen(descriptor, "wb") as file:  # mkstemp makes it 0600
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
            self._sync_folder()
        except OSError as error:
            raise StorageError(
                f"the license file {self._path} cannot be written ({error.strerror}); the old one stands"
            ) from error

    @property
    def _temporary(self) -> str:
        return f".{self._path.name}."

    def _sweep(self) -> None:
        """Remove what writers left that died half-way; nobody else writes now."""
        for left in self._path.parent.glob(f"{glob.escape(self._temporary)}*.tmp"):
            left.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        if os.name == "nt":
            return  # folders cannot be opened there, and a rename is durable without
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
