"""The launchers of real servers, where there is nothing to launch."""

from collections.abc import Sequence

import pytest

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.testing import servers
from kuploy_saas_kit.testing.servers import RedisServer


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
