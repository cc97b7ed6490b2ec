"""What the gate answers while its stores are away: what needs no counting from memory, and nothing else."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.plans.world import CATALOG, NOW, World, make_world

from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.model.status import LicenseStatus
from kuploy_saas_kit.plans import Entitlements, Gate, Operation, Reason

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sync", "async"])
def world(request: pytest.FixtureRequest) -> World:
    """A world for each shell, whose gate keeps answers."""
    made = make_world(request.param)
    made.raw.begin_keeping(CATALOG)
    return made


def away(*_: object, **__: object) -> Any:
    """What every verb of a store does while it is away."""
    raise ConnectionError("nobody answers")


def trip(*_: object, **__: object) -> Any:
    """What a verb does in a driver that does not expect to lose its connection."""
    return None + 1  # type: ignore[operator]


def lose(world: World, *verbs: str, how: Callable[..., Any] = away) -> None:
    """Let *verbs* of the store fail from now on."""
    for verb in verbs:
        setattr(world.store, verb, how)


def lose_counters(world: World) -> None:
    """The counter store is away; plans and standings are there."""
    lose(world, "usage_of", "take", "give_back", "seed_usage", "put_usage", "settle_holding", "release_holding")


def lose_all(world: World) -> None:
    """Every store is away."""
    lose_counters(world)
    lose(world, "standing", "load_plans", "put_assignment", "end_assignment")


async def test_features_need_no_counters(world: World) -> None:
    """An org that is not in memory has its features while the counter store is away, whatever it is on."""
    world.subscribe("acme")
    lose_counters(world)
    assert (await world.gate.check_feature("acme", "aiAssistant")).granted
    assert (await world.gate.check_feature("newcomer", "aiAssistant")).reason is Reason.NOT_IN_PLAN
    assert (await world.gate.check_feature("newcomer", "aiAssistant", Operation.RUN)).granted
    assert (await world.gate.entitlements("newcomer")).limit("maxProjects") == 1
    if isinstance(world.raw, Gate):
        assert not world.raw.allows("newcomer", "aiAssistant")
    assert set(world.raw._kept) == {"acme"}


async def test_features_need_no_counters_that_break(world: World) -> None:
    """Nor does it matter how a counter store fails: drivers trip over a lost connection in their own code."""
    world.subscribe("acme")
    lose(world, "usage_of", how=trip)
    assert (await world.gate.check_feature("acme", "aiAssistant")).granted
    assert (await world.gate.check_feature("newcomer", "aiAssistant", Operation.RUN)).granted


async def test_what_must_be_counted_is_refused(world: World) -> None:
    """Nothing is taken, reserved or given back that the counter store cannot count."""
    world.subscribe("acme")
    lose_counters(world)
    await world.gate.check_feature("acme", "aiAssistant")
    for verb in ("acquire", "reserve", "release", "check_limit"):
        with pytest.raises(StorageError):
            await getattr(world.gate, verb)("acme", "maxProjects")


async def test_a_counter_store_that_returns_lets_orgs_be_kept(world: World) -> None:
    """An org on the default plan is kept as soon as its use can be read again."""
    await world.gate.acquire("newcomer", "maxProjects")
    lose(world, "usage_of")
    await world.gate.check_feature("newcomer", "aiAssistant")
    assert world.raw._kept == {}
    del world.store.usage_of
    world.clock.advance(timedelta(seconds=5))
    await world.gate.check_feature("newcomer", "aiAssistant")
    assert set(world.raw._kept) == {"newcomer"}


async def test_a_counter_store_that_hangs_delays_few(world: World) -> None:
    """A counter store that failed is left alone for five seconds: not every question waits for its timeout."""
    asked = []

    def hang(scope: str) -> Any:
        asked.append(scope)
        raise TimeoutError

    world.store.usage_of = hang  # type: ignore[method-assign]
    for org_id in ("one", "two", "two"):
        assert (await world.gate.entitlements(org_id)).limit("maxProjects") == 1
    world.clock.advance(timedelta(seconds=5))
    assert (await world.gate.check_feature("three", "aiAssistant")).reason is Reason.NOT_IN_PLAN
    assert asked == ["one", "three"]


async def _features(world: World) -> None:
    await world.gate.check_feature("acme", "aiAssistant")


async def _rights(world: World) -> None:
    await world.gate.entitlements("acme")


async def _turning_on(world: World) -> None:
    await world.gate.check_feature("acme", "aiAssistant", Operation.CONFIGURE)


@pytest.mark.parametrize("ask", [_features, _rights, _turning_on])
async def test_a_known_org_is_answered_from_memory(world: World, ask: Callable[[World], Any]) -> None:
    """Whatever was asked first, features, entitlements and what may be turned on outlive all stores."""
    world.subscribe("acme")
    before = await make_entitlements(world)
    await ask(world)
    lose_all(world)
    assert await world.gate.entitlements("acme") == before
    assert (await world.gate.check_feature("acme", "aiAssistant")).granted
    turned_on = await world.gate.check_feature("acme", "aiAssistant", Operation.CONFIGURE)
    assert (turned_on.granted, [layer.source for layer in turned_on.layers]) == (True, ["license:growth", "plan:pro"])
    refused = await world.gate.check_feature("acme", "multiServer", Operation.CONFIGURE)
    assert refused.reason is Reason.NOT_IN_PLAN


async def make_entitlements(world: World) -> Entitlements:
    """What acme has, read from the stores and not kept."""
    rights: Entitlements = await world.gate.entitlements("acme")
    world.raw.forget("acme")
    return rights


@pytest.mark.parametrize("status", LicenseStatus)
async def test_the_license_decides_as_ever(world: World, status: LicenseStatus) -> None:
    """Memory answers each operation under each status as the stores would have."""
    world.subscribe("acme")
    world.raw.publish_license(world.license.set(status=status))
    stored = [await world.gate.check_feature("acme", "aiAssistant", operation) for operation in Operation]
    rights = await world.gate.entitlements("acme")
    lose_all(world)
    assert [await world.gate.check_feature("acme", "aiAssistant", operation) for operation in Operation] == stored
    assert await world.gate.entitlements("acme") == rights


async def test_memory_follows_the_catalog(world: World) -> None:
    """What is answered from memory is the published plan, not the one that was read once."""
    world.subscribe("acme")
    await world.gate.entitlements("acme")
    lose_all(world)
    plainer = [plan for plan in CATALOG if plan.slug != "pro"]
    world.raw.publish_plans(type(CATALOG)([*plainer, type(CATALOG.default)("pro", "Pro", limits={"maxProjects": 2})]))
    rights = await world.gate.entitlements("acme")
    assert (rights.allows("aiAssistant"), rights.limit("maxProjects")) == (False, 2)


async def test_an_end_by_time_is_kept(world: World) -> None:
    """A plan that was given until an instant is not granted from memory after it, also before memory drops it."""
    await world.gate.assign("acme", "pro", actor="root", reason="incident", until=NOW + timedelta(hours=1))
    await world.gate.entitlements("acme")
    lose_all(world)
    world.clock.advance(timedelta(minutes=59))
    assert (await world.gate.entitlements("acme")).allows("aiAssistant")
    world.clock.advance(timedelta(minutes=1))
    for ask in (_rights, _turning_on):
        with pytest.raises(StorageError):
            await ask(world)


async def test_nobody_is_invented(world: World) -> None:
    """An org that is not in memory is an error while the stores are away, and so is everything that must be written."""
    world.subscribe("acme")
    await world.gate.check_feature("acme", "aiAssistant")
    lose_all(world)
    with pytest.raises(StorageError):
        await world.gate.entitlements("stranger")
    with pytest.raises(StorageError):
        await world.gate.check_feature("stranger", "aiAssistant", Operation.CONFIGURE)
    for verb in ("acquire", "reserve", "release", "check_limit"):
        with pytest.raises(StorageError):
            await getattr(world.gate, verb)("acme", "maxProjects")
    with pytest.raises(StorageError):
        await world.gate.assign("acme", "big", actor="root", reason="lift")


async def test_where_nothing_is_kept_each_question_reads(world: World) -> None:
    """Without somebody who drops what has changed, memory answers nothing."""
    world.subscribe("acme")
    await world.gate.entitlements("acme")
    world.raw.end_keeping()
    await world.gate.entitlements("acme")
    assert world.raw._kept == {}
    lose_all(world)
    with pytest.raises(StorageError):
        await world.gate.entitlements("acme")
