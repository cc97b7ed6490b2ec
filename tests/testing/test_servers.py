"""The launchers of real servers, where there is nothing to launch."""

from collections.abc import Sequence
from contextlib import closing

import pytest
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError
from tests.conftest import why_no_postgres

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.testing import servers
from kuploy_saas_kit.testing.servers import RedisServer, postgres_schema


class Shell(RedisServer):
    """A server that is a line of shell."""

    line = ""

    def _command(self) -> Sequence[str]:
        return ["/bin/sh", "-c", self.line]


class Dies(Shell):
    line = "echo no space left; exit 1"


class NeverReady(Shell):
    line = "exec sleep 600"


def test_a_server_that_ends_at_once() -> None:
    """What it said is told."""
    with pytest.raises(ConfigurationError, match="did not start: no space left"), Dies():
        pytest.fail("has started")


def test_a_server_that_is_never_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not wait for it for ever."""
    monkeypatch.setattr(servers, "_START_SECONDS", 0.1)
    with pytest.raises(ConfigurationError, match="did not start"), NeverReady():
        pytest.fail("has started")


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_schema_that_is_locked(is_committed: bool, postgres: str) -> None:  # noqa: FBT001 - a case
    """A connection that a test left in its transaction does not keep the schema, and the tests, for ever."""
    impatient = f"{postgres}&options=-clock_timeout%3D3s"
    with closing(create_engine(postgres, poolclass=NullPool).connect()) as left_open:
        with postgres_schema(impatient, "locked"):
            left_open.execute(text("CREATE TABLE locked.org (id text)"))
            if is_committed:
                left_open.commit()
                left_open.execute(text("SELECT * FROM locked.org"))
        with pytest.raises(OperationalError):
            left_open.execute(text("SELECT 1"))
