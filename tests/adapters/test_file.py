"""The license file against the suite of its ports, and what a file can suffer."""

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from kuploy_saas_kit.adapters import FileLicenseStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.conformance.crew import Opener
from kuploy_saas_kit.testing.conformance.license import CLAIM, RECORD


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file will be; its folder is not there yet."""
    return tmp_path / "state" / "license.json"


class FileTests:
    @pytest.fixture
    def store(self, path: Path) -> FileLicenseStore:
        return FileLicenseStore(path)

    @pytest.fixture
    def reopen(self, path: Path) -> Opener:
        return partial(FileLicenseStore, path)


class TestLicense(FileTests, conformance.LicenseStoreTests): ...


class TestIdentity(FileTests, conformance.IdentityStoreTests): ...


def filled(path: Path) -> FileLicenseStore:
    """A store with one of everything."""
    store = FileLicenseStore(path)
    store.ensure_instance_id("inst_1")
    store.save_license_key("lic_secret")
    store.save_license(RECORD)
    store.save_claim(CLAIM)
    return store


def test_another_process_reads_the_same(path: Path) -> None:
    """What one store wrote another one on the same path finds."""
    filled(path)
    again = FileLicenseStore(path)
    assert again.ensure_instance_id("inst_2") == "inst_1"
    assert (again.load_license_key(), again.load_license(), again.load_claim()) == ("lic_secret", RECORD, CLAIM)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_only_the_owner_may_read(path: Path) -> None:
    """The file holds the license key: nobody else may read it, and the temporary one neither."""
    filled(path)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"license": ' * 500,
        b"\xff\xfe",
        b"x" * (4 * 1024 * 1024 + 1),
        b'{"instance_id": 7}',
    ],
    ids=["empty", "cut", "list", "null", "nested", "binary", "huge", "type"],
)
def test_a_corrupt_file_is_an_absent_file(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported, never an exception, and the next write replaces it."""
    path.parent.mkdir()
    path.write_bytes(content)
    store = FileLicenseStore(path)
    with caplog.at_level(logging.WARNING):
        assert (store.load_license(), store.load_license_key(), store.load_claim()) == (None, None, None)
    assert caplog.records
    assert store.ensure_instance_id("inst_1") == "inst_1"
    assert FileLicenseStore(path).ensure_instance_id("inst_2") == "inst_1"


def test_a_corrupt_part_leaves_the_others(path: Path) -> None:
    """An unreadable license costs neither the identity nor the key."""
    filled(path)
    document = json.loads(path.read_text())
    document["license"]["mark"] = "yesterday"
    path.write_text(json.dumps(document))
    store = FileLicenseStore(path)
    assert store.load_license() is None
    assert store.load_license_key() == "lic_secret"
    assert store.ensure_instance_id("inst_2") == "inst_1"
    assert store.save_license(RECORD).saved


@pytest.mark.parametrize("name", ["license.json", "lic[1].json", "lic*.json"])
def test_a_writer_that_died_leaves_nothing_behind(path: Path, name: str) -> None:
    """Temporary files of a crashed writer are swept by the next write, and those of other files are not."""
    store = filled(path.with_name(name))
    left, other = path.parent / f".{name}.abc.tmp", path.parent / ".license2.json.abc.tmp"
    for file in (left, other):
        file.write_bytes(b"half")
    store.save_claim(None)
    assert not left.exists()
    assert other.exists()


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full the old content stands, and the error says so without showing it."""
    store = filled(path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        store.save_license_key("lic_other")
    assert "lic_" not in str(caught.value)
    assert FileLicenseStore(path).load_license_key() == "lic_secret"


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot open folders, and a rename is durable there")
def test_a_write_outlives_a_power_cut(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before it takes the old one's place, and then the folder that says so."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def renamed(source: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    FileLicenseStore(path).ensure_instance_id("inst_1")
    assert steps == ["file", "rename", "folder"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_amid_a_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that was forked while its parent wrote hangs in nothing, and nobody waits for a lock until it ends."""
    store = filled(path)
    is_within, may_end = Event(), Event()

    def stopped(descriptor: int) -> None:
        is_within.set()
        may_end.wait()

    monkeypatch.setattr(os, "fsync", stopped)
    told, tell = os.pipe()
    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(store.save_license_key, "lic_parent")
        is_within.wait()
        child = os.fork()
        if child == 0:  # pragma: no cover - it ends here, and coverage with it
            signal.alarm(60)
            monkeypatch.undo()
            os.read(told, 1)
            store.save_license_key("lic_child")
            os._exit(0)
        may_end.set()
        writing.result()
    assert is_free(path)
    store.save_license_key("lic_again")
    os.write(tell, b"g")
    assert os.waitpid(child, 0)[1] == 0
    assert store.load_license_key() == "lic_child"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_parent_that_dies_in_a_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its child goes on, and does not hold the lock that it had."""
    store = filled(path)
    told, tell = os.pipe()
    ready, is_ready = os.pipe()

    def cut(descriptor: int) -> None:
        if os.fork() != 0:
            os._exit(0)
        monkeypatch.undo()
        os.write(is_ready, b"g")
        os.read(told, 1)
        os._exit(0)

    parent = os.fork()
    if parent == 0:  # pragma: no cover - it ends here, and coverage with it
        os.close(tell)
        monkeypatch.setattr(os, "fsync", cut)
        try:
            store.save_license_key("lic_parent")
        finally:
            os._exit(1)
    os.close(is_ready)
    os.waitpid(parent, 0)
    assert os.read(ready, 1) == b"g"
    assert is_free(path)
    for end in (tell, told, ready):
        os.close(end)


def is_free(path: Path) -> bool:
    """Whether the lock could be had at once."""
    import fcntl  # noqa: PLC0415 - Windows lacks it

    with Path(f"{path}.lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A path below a file can hold nothing, and the error names the path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"license\.json"):
        FileLicenseStore(tmp_path / "file" / "license.json").ensure_instance_id("inst_1")


def test_no_secret_is_shown(path: Path) -> None:
    """The key stands in the file and in nothing that is printed."""
    assert "lic_secret" not in repr(filled(path))


def test_processes_agree_on_the_id(path: Path) -> None:
    """Of several processes that start at once all get the same instance id."""
    code = (
        "import sys; from kuploy_saas_kit.adapters import FileLicenseStore as S;"
        "sys.stdin.read(1); print(S(sys.argv[1]).ensure_instance_id(sys.argv[2]))"
    )
    started = [
        subprocess.Popen(  # noqa: S603 - this interpreter, with a line of ours
            [sys.executable, "-c", code, str(path), f"inst_{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    answers = {process.communicate("g")[0] for process in started}
    assert len(answers) == 1
    assert answers != {""}
