"""What databases run into by themselves: the error says what it is and what to do, and afterwards all is well."""

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from tests.adapters.conftest import Schemas
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import AsyncSqlStore, SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed, used

VERBS: list[Callable[[Any], object]] = [
    lambda store: store.take(claims()),
    lambda store: store.put_usage("acme", "maxProjects", 1),
]


def called(url: str) -> Any:
    """The store."""
    return closing(SqlStore.from_url(url))


def awaited(url: str) -> FromThreads:
    """The awaited store behind a sync face."""
    return FromThreads(lambda: AsyncSqlStore.from_url(url))


def in_the_way(kind: str, file: Path) -> str:
    """The URL of a file that is not as it should be."""
    if kind == "in no folder":
        return f"sqlite:///{file.parent / 'none' / 'kit.db'}"
    if kind == "a folder":
        file.mkdir()
    elif kind == "of another kind":
        file.write_text("no database, in more bytes than a header has. " * 99)
    elif kind == "damaged":
        with file.open("r+b") as opened:
            opened.seek(100)
            opened.write(b"\xff" * (file.stat().st_size - 100))
    else:
        return f"sqlite:///file:{file}?uri=true&mode=ro"
    return f"sqlite:///{file}"


@pytest.mark.parametrize("opened", [called, awaited])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("in no folder", "cannot be opened; nothing is half-written: is its folder there"),
        ("a folder", "cannot be opened"),
        ("read only", "cannot be written to; nothing is half-written: this process must be allowed to"),
        ("of another kind", "is no SQLite database"),
        ("damaged", "is damaged; nothing is half-written: .*a backup"),
    ],
)
def test_a_file_that_is_not_as_it_should_be(
    sqlite_template: Path, tmp_path: Path, opened: Callable[[str], Any], kind: str, says: str
) -> None:
    """The error calls the file by its name, and what keeps the kit from using it."""
    file = tmp_path / "kit.db"
    if kind in {"damaged", "read only"}:
        file.write_bytes(sqlite_template.read_bytes())
    with opened(in_the_way(kind, file)) as store:
        for verb in VERBS:
            with pytest.raises(StorageError, match=rf"the SQLite file \S*kit\.db {says}"):
                verb(store)
        if "cannot be opened" in says:
            _let_workers_end()


def _let_workers_end() -> None:
    """What could not be opened ends the thread that aiosqlite has for it, and tells the event loop, a little later."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(timeout=60)


def test_a_disk_that_is_full(sqlite_template: Path, tmp_path: Path) -> None:
    """What does not fit is undone, and the error says that there is no room; when there is some, all goes on."""
    file = tmp_path / "kit.db"
    file.write_bytes(sqlite_template.read_bytes())
    with called(f"sqlite:///{file}") as store:
        seed(store)
        before = used(store)
        _limit_pages(store, 1)
        with pytest.raises(StorageError, match="has no room; nothing is half-written: make some on its disk"):
            store.put_usage("x" * 100_000, "maxProjects", 1)
        _limit_pages(store, 1_000_000)
        assert used(store) == before
        assert store.take(claims()).outcome is TakeOutcome.TAKEN


def _limit_pages(store: SqlStore, pages: int) -> None:
    """A file cannot be limited to less than it has."""
    store.close()
    event.listen(store._engine, "connect", lambda driver, _: driver.execute(f"PRAGMA max_page_count = {pages}"))


def test_a_disk_that_fails(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system could not do with the file is one thing to the kit."""

    def failing(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error

    with called(f"sqlite:///{sqlite_template}") as store:
        monkeypatch.setattr(store._direct, "_execute", failing)
        with pytest.raises(StorageError, match="was failed by its disk; nothing is half-written: see the system's log"):
            store.take(claims())


postgresql = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))


@postgresql
@pytest.mark.parametrize("opened", [called, awaited])
def test_a_replica(schemas: Schemas, opened: Callable[[str], Any]) -> None:
    """A server that takes no writes is told from one that fails."""
    url = schemas.new(migrated=True)
    with called(url) as primary:
        seed(primary)
    with opened(f"{url}%20-cdefault_transaction_read_only%3Don") as store:
        assert used(store) == (0, 0)
        for verb in VERBS:
            with pytest.raises(StorageError, match=r"takes no writes, .*the URL of the primary"):
                verb(store)


@postgresql
def test_a_server_whose_disk_is_full(schemas: Schemas) -> None:
    """A verb that finds no room has changed nothing."""
    with called(schemas.new(migrated=True)) as store:
        seed(store)
        with store._engine.begin() as connection:
            connection.execute(text(_FULL))
        for verb in VERBS:
            with pytest.raises(StorageError, match="has no room; nothing is half-written: make some on the server's"):
                verb(store)
        assert used(store) == (0, 0)


_FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE UPDATE ON kuploy_saas_usage FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


@postgresql
@pytest.mark.parametrize("opened", [called, awaited])
def test_a_server_that_is_crowded(schemas: Schemas, opened: Callable[[str], Any]) -> None:
    """Whoever is not let in because others are hears that, and is not sent to look for a wrong password."""
    url = schemas.new(migrated=True)
    role = re.sub(r"\W", "_", url.rpartition("%3D")[2]) + f"_{opened.__name__}"
    with called(url) as host, host._engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0"))
    with opened(make_url(url).set(username=role).render_as_string()) as store:
        for verb in VERBS:
            with pytest.raises(StorageError, match="lets no more connections in; nothing is half-written: make pools"):
                verb(store)
