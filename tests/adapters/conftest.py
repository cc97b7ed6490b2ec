"""Databases of each kind, for tests of the SQL stores."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from tests.adapters.ways import Proxy
from tests.conftest import examples, why_no_postgres

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.adapters.sql.store import AllVerbs
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.billing import TEST_MODE, made, mapping
from kuploy_saas_kit.testing.conformance.crew import WORKERS, ThreadCrew
from kuploy_saas_kit.testing.conformance.plans import CATALOG, assignment
from kuploy_saas_kit.testing.conformance.usage import claims, seed

DATABASES = ["sqlite"] if why_no_postgres() else ["sqlite", "postgresql"]
"""One test says that PostgreSQL is missing, where it is; hundreds would hide what else is skipped."""


_DEFINES = ("CREATE ", "ALTER ", "DROP ")


class Schemas:
    """One worker's schemas in the PostgreSQL of the run. They stay until it ends: dropping them takes longer."""

    def __init__(self, server: str, worker: str) -> None:
        import psycopg  # noqa: PLC0415 - where it is missing no test asks for a schema

        self._server = server
        self._names = (f"{worker}_{number}" for number in count())
        self._connection = psycopg.connect(server, autocommit=True)
        self._tables = self._migrated()

    def new(self, *, migrated: bool) -> str:
        """The URL of a new schema, with the kit's tables as `migrate` makes them, or without any."""
        name = next(self._names)
        made: Any = f"CREATE SCHEMA {name}; SET LOCAL search_path TO {name}; {self._tables if migrated else ''}"
        self._connection.execute(made)
        return f"{self._server}&options=-csearch_path%3D{name}"

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _migrated(self) -> str:
        """What `migrate` said to an empty schema, and the rows that it left, as one string: it takes a tenth."""
        self._tables, said = "", list[str]()
        url = self.new(migrated=False)
        with closing(SqlStore.from_url(url)) as store:
            event.listen(store._engine, "before_cursor_execute", lambda *args: said.append(args[2].strip()))
            store.migrate()
            tables = [table for table in store._tables.metadata.sorted_tables if _has_rows(store, table)]
        template = url.rpartition("%3D")[2]
        rows = [f"INSERT INTO {table.name} TABLE {template}.{table.name}" for table in tables]
        return "; ".join([*(statement for statement in said if statement.startswith(_DEFINES)), *rows])


def _has_rows(store: SqlStore, table: Any) -> bool:
    with store._reading() as connection:
        return connection.execute(table.select().limit(1)).first() is not None


@pytest.fixture(scope="session")
def schemas(postgres: str, worker_id: str) -> Iterator[Schemas]:
    """Where this worker gets a schema for each test."""
    with closing(Schemas(postgres, worker_id)) as schemas:
        yield schemas


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kit.db'}"
    schemas: Schemas = request.getfixturevalue("schemas")
    return schemas.new(migrated=False)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind with the kit's tables, which are empty."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "kit.db")
        return f"sqlite:///{tmp_path / 'kit.db'}"
    schemas: Schemas = request.getfixturevalue("schemas")
    return schemas.new(migrated=True)


@pytest.fixture
def place(schemas: Schemas) -> str:
    """Tables in which each verb finds something to change."""
    url = schemas.new(migrated=True)
    prepare(url)
    return url


@pytest.fixture
def proxy(place: str) -> Iterator[Proxy]:
    """A way to them that can be cut."""
    with tempfile.TemporaryDirectory() as folder, closing(Proxy(place, Path(folder))) as proxy:
        yield proxy


def prepare(url: str) -> None:
    """Something for each verb to change, with holdings that expired a minute ago among it."""
    with closing(SqlStore.from_url(url, clock=ManualClock(NOW - MINUTE))) as store:
        seed(store)
        store.take(claims(2, cap=9), key="expired", ttl=MINUTE / 2)
        store.take(claims(1, org="umbrella"), key="expired", ttl=MINUTE / 2)
        store.take(claims(1, cap=9), key="held", ttl=60 * MINUTE)
        store.take(claims(3, cap=9))
        store.take_lease("sweep", "a", 60 * MINUTE)
        store.replace_plans(CATALOG, revision=1)
        store.put_assignment(assignment("acme", "pro"))
        store.put_mapping(TEST_MODE, mapping(), made())
        store.keep_customer(TEST_MODE, "acme", "cus_0")


def some_threads(store: object) -> ThreadCrew:
    """For stores that send the statements of another one, for which all threads race: eight in CI, four outside it."""
    return ThreadCrew(store, workers=max(4, examples(WORKERS)))


def empty(store: AllVerbs) -> None:
    """As `migrate` left it, for those who cannot have a schema for each time they begin."""
    tables = store._tables
    with store._writing() as connection:
        unknown = {column.name: None for column in tables.catalog.c if column.nullable}
        connection.execute(tables.catalog.update().values(unknown | {"source": ""}))
        for table in tables.metadata.tables.values():
            if table not in (tables.catalog, tables.feed, tables.schema_version):
                connection.execute(table.delete())
