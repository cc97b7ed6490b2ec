"""Threads in several processes on one store; `make soak-limits` does a hundred times as much."""

import pytest
from tests.adapters.soak import soak
from tests.conftest import why_no_redis

from kuploy_saas_kit.testing.servers import RedisServer

OPERATIONS = 640


def test_processes_cannot_overrun_a_cap(url: str) -> None:
    """32 threads of 2 processes take and give back: no answer is over a cap, and the counters end at what is held."""
    check(url)


@pytest.mark.skipif(why_no_redis() is not None, reason=str(why_no_redis()))
def test_processes_cannot_overrun_a_cap_in_redis() -> None:
    """The same holds in Redis."""
    with RedisServer() as server:
        check(server.url)


def check(url: str) -> None:
    """Nothing over, nothing lost, and not because nothing happened."""
    soaked = soak(url, OPERATIONS, processes=2)
    assert soaked.tally.operations == OPERATIONS
    assert soaked.tally.granted > 0
    assert (soaked.tally.over, soaked.lost) == (0, 0)
