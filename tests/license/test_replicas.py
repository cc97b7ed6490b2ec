"""Several replicas over one store, in any order: they converge, and nothing goes back (invariants 3 and 16)."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.license.doubles import World

from kuploy_saas_kit.adapters.sql import SqlStore
from kuploy_saas_kit.license import LicenseClient, LicenseConfig
from kuploy_saas_kit.license.ports import HubResponse

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["sync", "tick", "restart", "late", "down"]),
        st.integers(1, 90),
    ),
    max_size=40,
)


class Replicas:
    """Three processes over one store, and what each was seen to hold."""

    def __init__(self) -> None:
        self.world = World()
        self.clients = [self.world.client() for _ in range(3)]
        self.newest = [-1, -1, -1]
        self.stored = -1

    def step(self, which: int, what: str) -> None:
        """One process does one thing."""
        self.world.hub.comes_back()
        if what == "restart":
            self.clients[which], self.newest[which] = self.world.client(), -1
            self.clients[which].load()
            return
        if what == "late":
            self.world.hub.fault = lambda body: self._late(which, body)
        if what == "down":
            self.world.hub.goes_down()
        if what == "tick":
            self.clients[which].tick()
        else:
            self.clients[which].sync()

    def _late(self, which: int, body: Mapping[str, Any]) -> HubResponse:
        """An answer that arrives after another replica's newer one."""
        self.world.hub.comes_back()
        mine = self.world.hub.license(body)
        self.world.clock.advance(timedelta(seconds=5))
        self.clients[(which + 1) % 3].sync()
        return mine

    def check(self) -> None:
        """Neither memory nor store goes back."""
        for number, client in enumerate(self.clients):
            held = revision_of(client.snapshot().revision)
            assert held >= self.newest[number]
            self.newest[number] = held
        record = self.world.store.record
        stored = revision_of(None if record is None else record.revision)
        assert stored >= self.stored
        self.stored = stored


def revision_of(revision: int | None) -> int:
    """A number also for nothing."""
    return -1 if revision is None else revision


@given(STEPS)
def test_replicas_converge_to_the_newest_answer(steps: list[tuple[int, str, int]]) -> None:
    """Whoever syncs, restarts, is late or cannot reach the hub: in the end all hold what the store holds."""
    replicas = Replicas()
    for which, what, seconds in steps:
        replicas.world.clock.advance(timedelta(seconds=seconds))
        replicas.step(which, what)
        replicas.check()
    replicas.world.hub.goes_down()
    for client in replicas.clients:
        client.tick()
    replicas.check()
    assert set(replicas.newest) == {replicas.stored}


@given(st.lists(st.booleans(), min_size=30, max_size=60), st.integers(0, 3600))
def test_requests_are_bounded_whatever_fails(goods: list[bool], retry_after: int) -> None:
    """The worst is good and bad in turn: two requests in 48 + 5 seconds, 136 an hour (invariant 17)."""
    world = World()
    client = world.client()
    for number in range(3600):
        world.clock.advance(timedelta(seconds=1))
        world.hub.comes_back()
        if not goods[number // 60 % len(goods)]:
            world.hub.answers(b"", 503, {"retry-after": str(retry_after)} if retry_after > 60 else None)
        client.tick()
    assert len(world.hub.requests) <= 136


def test_an_outage_asks_less_than_peace() -> None:
    """While the hub is down for an hour, there are at most 60 / period × 1.25 requests (invariant 17)."""
    for _ in range(10):
        world = World()
        client = world.client()
        world.hub.goes_down()
        world.pass_time(client, timedelta(hours=1), step=timedelta(seconds=1))
        assert len(world.hub.requests) <= 75


def test_four_processes_over_one_database_ask_once_a_period(tmp_path: Path) -> None:
    """On SQLite, each with connections of its own: one request a period between them, the news within a second."""
    world, second = World(), timedelta(seconds=1)
    url = f"sqlite:///{tmp_path / 'kit.db'}"
    stores = [SqlStore.from_url(url, clock=world.clock) for _ in range(4)]
    stores[0].migrate()
    config = LicenseConfig(**world.config)
    clients = [LicenseClient(config, store, transport=world.hub, clock=world.clock) for store in stores]
    for _ in range(300):
        for client in clients:
            client.tick()
        world.clock.advance(second)
        newest = world.hub.revision
        for client in clients:
            client.tick()
        assert {client.snapshot().revision for client in clients} <= {newest, world.hub.revision}
    assert len(world.hub.requests) <= 300 / 60 * 1.25 + 2
    for store in stores:
        store.close()
