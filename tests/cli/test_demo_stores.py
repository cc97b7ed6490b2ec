"""The demo on the stores of a deployment that outgrew one machine."""

import json
from pathlib import Path

import pytest
from tests.conftest import why_no_postgres, why_no_redis

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.cli import main
from kuploy_saas_kit.testing.servers import PostgresServer, RedisServer

needs_postgres = pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
needs_redis = pytest.mark.skipif(why_no_redis() is not None, reason=str(why_no_redis()))


@needs_postgres
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


@needs_redis
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
        (["--store", "redis://localhost:1/0"], "is Redis running"),
        (["--store", "postgresql://nobody@localhost:1/kit"], "is the server running"),
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


@needs_postgres
def test_a_database_that_lets_nobody_in(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong password, a name that is not there and a user without rights are told, and no password is."""
    import psycopg  # noqa: PLC0415 - where it is missing this test is skipped

    with PostgresServer() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE USER poor PASSWORD 'hunter2'")
        (server.folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        server.kill()
        server.start()
        for who, database, message in (
            ("poor:hunter3", "postgres", "could not be entered"),
            ("poor:hunter2", "nowhere", "could not be entered"),
            ("poor:hunter2", "postgres", "does not let this user"),
        ):
            assert main(["demo", "--store", f"postgresql://{who}@/{database}?host={server.folder}"]) == 2
            said = capsys.readouterr().err
            assert message in said
            assert "hunter" not in said


@needs_redis
def test_a_redis_that_wants_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says so, and does not tell the wrong one."""
    import redis  # noqa: PLC0415 - where it is missing this test is skipped

    with RedisServer() as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", "hunter2")
        for url in (server.url, f"{server.url}?password=hunter3"):
            assert main(["demo", "--store", url]) == 2
            said = capsys.readouterr().err
            assert "wants another user or password" in said
            assert "hunter" not in said


def checks(told: str) -> list[str]:
    """What the demo checked."""
    return [check["text"] for step in json.loads(told)["steps"] for check in step["checks"]]
