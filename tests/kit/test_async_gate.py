"""The kit's awaited gate: the answers of the other one, over the same stores, from the same memory."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.world import CATALOG, World, make_world

from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.plans import AsyncGate


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A world whose instance keeps everything in a store of each kind."""
    with make_world() as made:
        if request.param == "sqlite":
            made.store = SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}", clock=made.clock)
            made.exits.callback(made.store.close)
        yield made


def awaiting(store: Any, scenario: Callable[[], Any]) -> None:
    """Run the coroutine of *scenario* and let go of the store's connections in the same event loop."""

    async def run() -> None:
        try:
            await scenario()
        finally:
            await store.async_store().close()

    asyncio.run(run())


def test_it_answers_as_the_gate_does(world: World) -> None:
    """Features, limits, the overview and explanations are the same, whichever of the two is asked."""
    kit = world.kit()
    kit.run_once()
    gate, awaited = kit.gate, kit.async_gate

    async def scenario() -> None:
        assert not (await awaited.check_feature("acme", "aiAssistant")).granted
        await awaited.assign("acme", "pro", actor="admin", reason="comp")
        assert await awaited.resolve_plan("acme") == gate.resolve_plan("acme")
        for feature in ("aiAssistant", "whiteLabel", "noSuchFeature"):
            assert await awaited.check_feature("acme", feature) == gate.check_feature("acme", feature)
            assert await awaited.explain("acme", feature) == gate.explain("acme", feature)
        assert (await awaited.acquire("acme", "maxProjects", 3)).granted
        assert gate.acquire("acme", "maxProjects", 2).granted
        assert not (await awaited.acquire("acme", "maxProjects")).granted
        assert await awaited.check_limit("acme", "maxProjects") == gate.check_limit("acme", "maxProjects")
        assert await awaited.overview("acme") == gate.overview("acme")
        assert (await awaited.release("acme", "maxProjects")).returned == {"maxProjects": 1}
        assert gate.overview("acme") == await awaited.overview("acme")

    awaiting(world.store, scenario)


def test_it_shares_what_is_kept(world: World) -> None:
    """What one of the two has read the other answers from memory, and what one changes the other forgets."""
    kit = world.kit()
    kit.run_once()
    gate, awaited = kit.gate, kit.async_gate
    gate.begin_keeping(CATALOG)

    async def scenario() -> None:
        await awaited.assign("acme", "pro", actor="admin", reason="comp")
        assert gate.allows("acme", "aiAssistant")
        assert (await without_stores(awaited).check_feature("acme", "aiAssistant")).granted
        await awaited.unassign("acme", actor="admin", reason="over")
        assert not gate.allows("acme", "aiAssistant")

    awaiting(world.store, scenario)


def without_stores(gate: AsyncGate) -> AsyncGate:
    """The gate with its memory, and no store to ask."""
    nothing: Any = object()
    alone = AsyncGate(license=gate._license, plans=nothing, subscriptions=nothing, usage=nothing, policy=gate.policy)
    alone.share(gate)
    return alone


def test_there_is_one(world: World) -> None:
    """Asking again makes no second gate and no second set of connections."""
    kit = world.kit()
    assert kit.async_gate is kit.async_gate
    if isinstance(world.store, SqlStore):
        assert world.store.async_store() is world.store.async_store()


def test_it_counts_where_the_gate_counts(world: World) -> None:
    """A kit with a usage store of its own counts there too when it is awaited."""
    usage = MemoryStore(world.clock)
    kit = world.kit(usage_store=usage)
    kit.run_once()

    async def scenario() -> None:
        await kit.async_gate.acquire("acme", "maxProjects")

    awaiting(world.store, scenario)
    assert usage.usage_of("acme") == {"maxProjects": 1}
    assert world.store.usage_of("acme") == {}
