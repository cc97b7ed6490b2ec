"""The Redis store over a cluster: all that a verb touches is in one slot."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from threading import Event
from typing import Any

import pytest
from tests.adapters.test_redis_dies import VERBS
from tests.conftest import why_no_redis

from kuploy_saas_kit.adapters import AsyncRedisStore, MemoryStore, RedisStore
from kuploy_saas_kit.plans.ports import Claim
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW
from kuploy_saas_kit.testing.conformance.usage import seed
from kuploy_saas_kit.testing.servers import RedisServer

if reason := why_no_redis():
    pytest.skip(reason, allow_module_level=True)

SLOTS = 16_384


def is_free(port: int) -> bool:
    """Whether nobody listens on *port* of this machine."""
    with suppress(OSError), socket.socket() as one:
        one.bind(("127.0.0.1", port))
        return True
    return False


class Node(RedisServer):
    """A cluster of one node, with the port beside its own that its peers would use."""

    def __init__(self) -> None:
        super().__init__()
        ports = range(20_000 + os.getpid() % 1000 * 10, 35_000)
        self.port = next(port for port in ports if is_free(port) and is_free(port + 10_000))

    def _command(self) -> Sequence[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
        return [*super()._command(), *options, "--cluster-config-file", "nodes.conf"]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A client of a cluster that serves all slots."""
    from redis import Redis, RedisCluster  # noqa: PLC0415 - where it is missing these tests are skipped

    with Node() as server:
        with closing(Redis.from_url(server.url, decode_responses=True)) as node:
            node.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))
            while node.cluster("info")["cluster_state"] != "ok":
                Event().wait(0.01)
        with closing(RedisCluster(host="127.0.0.1", port=server.port, decode_responses=True)) as client:
            yield client


def test_every_verb(client: Any) -> None:
    """Each verb runs on a cluster, which refuses what touches two slots."""
    store, oracle = RedisStore(client, clock=ManualClock(NOW)), MemoryStore(ManualClock(NOW))
    seed(store)
    seed(oracle)
    for name, verb in VERBS.items():
        answer = verb(store)
        if name not in {"changes", "publish_change"}:
            assert answer == verb(oracle), name
    store.erase()
    assert store.usage_of("acme") == {}


@pytest.mark.anyio
async def test_what_is_awaited(client: Any) -> None:
    """The awaited store takes a cluster's client too."""
    from redis.asyncio import RedisCluster  # noqa: PLC0415 - where it is missing these tests are skipped

    node = client.get_default_node()
    store = AsyncRedisStore(RedisCluster(host=node.host, port=node.port, decode_responses=True))
    store.after_fork()  # there is nothing to leave to the parent, as long as it opened nothing
    await store.put_usage("awaited", "maxProjects", 2)
    taken = await store.take([Claim("awaited", "maxProjects", 1, 2)])
    assert (taken.outcome, taken.used) == ("refused", {("awaited", "maxProjects"): 2})
    await store.close()


def test_who_waits_is_woken(client: Any) -> None:
    """What is said on one node is heard."""
    store, woken = RedisStore(client), Event()
    watch = store.watch_changes(woken.set)
    assert woken.wait(60)
    woken.clear()
    store.publish_change("acme")
    assert woken.wait(60)
    watch.stop()
