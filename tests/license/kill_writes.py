"""Kill a process while it writes the license, again and again, and see what the next start finds.

`python -m tests.license.kill_writes 400` kills 400 writers of a file and 400 of SQLite; the tests kill some of each.
"""

import os
import random
import select
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from tests.license.doubles import INSTANCE, ISSUER, KEY, SIGNER, FakeHub, payload

from kuploy_saas_kit.adapters.file import FileLicenseStore
from kuploy_saas_kit.adapters.sql import SqlStore
from kuploy_saas_kit.license import LicenseClient, LicenseConfig, LicenseEvent
from kuploy_saas_kit.license.ports import ClientStore, LicenseRecord
from kuploy_saas_kit.testing.clock import ManualClock

LONGEST_LIFE = 0.01  # seconds, after the first write: some hundred writes at most
Writer = tuple[int, int]


def opened(kind: str, folder: Path) -> Any:
    """The store in *folder*."""
    if kind == "file":
        return FileLicenseStore(folder / "license.json")
    store = SqlStore.from_url(f"sqlite:///{folder / 'license.db'}")
    store.migrate()
    return store


def records(clock: ManualClock, first: int) -> Iterator[LicenseRecord]:
    """One record after another, as a client would store them."""
    now = clock.now()
    for revision in count(first):
        body = SIGNER.sign(payload(now, revision=revision)).encode()
        yield LicenseRecord(body=body, trust="pinned", epoch=1, revision=revision, received_at=now, mark=now)


def write_until_killed(store: ClientStore, clock: ManualClock, first: int, told: int) -> None:
    """Save record after record, and tell each that is saved."""
    for record in records(clock, first):
        assert store.save_license(record).saved
        os.write(told, record.revision.to_bytes(8, "big"))


def started(kind: str, folder: Path, clock: ManualClock, first: int) -> Writer:
    """A process that writes, and the pipe that it tells through. It has written once."""
    listening, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listening)
        try:
            write_until_killed(opened(kind, folder), clock, first, told)
        finally:
            os._exit(1)
    os.close(told)
    if not select.select([listening], [], [], 30)[0]:
        raise AssertionError("the writer did not begin")
    return child, listening


def killed(writer: Writer, dice: random.Random) -> int:
    """The last revision that the writer saw saved, before it was killed at any instant."""
    child, listening = writer
    select.select([], [], [], LONGEST_LIFE * dice.random())
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    with os.fdopen(listening, "rb") as pipe:
        said = pipe.read()
    return int.from_bytes(said[-8:], "big")


def checked_start(kind: str, folder: Path, clock: ManualClock, last: int) -> int:
    """Start as a host would, with the hub down and then up; the revision that is stored afterwards."""
    hub, store, events = FakeHub(clock, revision=last + 1000), opened(kind, folder), list[LicenseEvent]()
    config = LicenseConfig(hub_url=ISSUER, license_key=KEY, instance_id=INSTANCE, trusted_keys={"k1": SIGNER.public})
    client = LicenseClient(config, store, transport=hub, clock=clock)
    client.add_observer(events.append)
    client.load()
    snapshot = client.snapshot()
    if events or snapshot.revision is None or snapshot.revision < last:
        raise AssertionError(f"saved was {last}, found {snapshot!r}: {events}")
    if not client.sync().ok:
        raise AssertionError("the next sync failed")
    client.stop()
    if isinstance(store, SqlStore):
        store.close()
    left = {path.name for path in folder.iterdir()} - {"license.json", "license.json.lock", "license.db"}
    if left:
        raise AssertionError(f"left behind: {left}")
    return hub.revision


def kill(kind: str, times: int, seed: int) -> tuple[int, int]:
    """How many writes were survived, and how many kills left a half-written file for the next start to sweep.

    Where the disk is so quick that *times* kills left none it goes on until one did.

    Whatever is lost, torn, corrupt or left behind after that start is an AssertionError.
    """
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    writes = half_written = 0
    with tempfile.TemporaryDirectory() as name:
        folder, clock, revision = Path(name), ManualClock(), 0
        for turn in count():
            if turn >= times and half_written:
                break
            last = killed(started(kind, folder, clock, revision + 1), dice)
            writes += last - revision
            half_written += any(path.suffix in {".tmp", ".db-journal", ".db-wal"} for path in folder.iterdir())
            clock.advance(timedelta(minutes=1))
            revision = checked_start(kind, folder, clock, last)
    return writes, half_written


if __name__ == "__main__":
    for store in ("file", "sqlite"):
        survived, swept = kill(store, int(sys.argv[1]), seed=1)
        sys.stdout.write(
            f"{store}: {sys.argv[1]} killed in {survived} writes, {swept} half-written; nothing lost or left\n"
        )
