"""Ids and keys that no store keeps, or that stand for something else, are refused at every door."""

from typing import Any

import pytest
from tests.plans.world import CATALOG, NOW, World, make_world

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.plans import Gate, Operation
from kuploy_saas_kit.plans.ids import checked_id
from kuploy_saas_kit.testing.awaited import Awaited

pytestmark = pytest.mark.anyio

BY = {"actor": "root", "reason": "test"}
DOORS: dict[str, Any] = {
    "check_feature": lambda gate, org_id: gate.check_feature(org_id, "aiAssistant"),
    "check_feature to configure": lambda gate, org_id: gate.check_feature(org_id, "aiAssistant", Operation.CONFIGURE),
    "require_feature": lambda gate, org_id: gate.require_feature(org_id, "aiAssistant"),
    "check_limit": lambda gate, org_id: gate.check_limit(org_id, "maxProjects"),
    "acquire": lambda gate, org_id: gate.acquire(org_id, "maxProjects"),
    "acquire_all": lambda gate, org_id: gate.acquire_all(org_id, {"maxInstances": 1}),
    "release": lambda gate, org_id: gate.release(org_id, "maxProjects"),
    "release of a key": lambda gate, org_id: gate.release(org_id, "maxProjects", key="k"),
    "reserve": lambda gate, org_id: gate.reserve(org_id, "maxProjects"),
    "set_usage": lambda gate, org_id: gate.set_usage(org_id, "maxStorageBytes", 7),
    "reconcile": lambda gate, org_id: gate.reconcile(org_id, "maxProjects", 0),
    "record": lambda gate, org_id: gate.record(org_id, "buildMinutesPerMonth", 60, event_key="e", at=NOW),
    "resolve_plan": lambda gate, org_id: gate.resolve_plan(org_id),
    "entitlements": lambda gate, org_id: gate.entitlements(org_id),
    "assign": lambda gate, org_id: gate.assign(org_id, "big", **BY),
    "unassign": lambda gate, org_id: gate.unassign(org_id, **BY),
    "explain a feature": lambda gate, org_id: gate.explain(org_id, "aiAssistant"),
    "explain a limit": lambda gate, org_id: gate.explain(org_id, "maxProjects"),
    "overview": lambda gate, org_id: gate.overview(org_id),
}
NOT_ASKED_FOR_AN_ORG = {
    *("add_listener", "begin_keeping", "check_operation", "drop_ended", "end_keeping", "forget", "forget_all"),
    *("is_limit", "publish_license", "publish_plans", "require_operation", "share", "using", "allows"),
}
BAD = {
    "": "must not be empty",
    None: "must be a str, not NoneType",
    7: "must be a str, not int",
    b"acme": "must be a str, not bytes",
    "a\x00b": "NUL",
    "\ud800": "surrogate",
}


@pytest.fixture(params=["sync", "async"])
def world(request: pytest.FixtureRequest) -> World:
    """A world for each shell in which something is counted."""
    made = make_world(request.param)
    made.subscribe("acme")
    made.store.seed_usage(("acme", "maxProjects"), 2)
    made.store.seed_usage(("", "maxProjects"), 2)
    return made


def test_every_door_is_in_the_table() -> None:
    """A verb that is new has to stand in the table above."""
    verbs = {name for name in dir(Gate) if not name.startswith("_") and name != "policy"}
    assert verbs == {door.split(" ")[0] for door in DOORS} | NOT_ASKED_FOR_AN_ORG


@pytest.mark.parametrize("is_keeping", [False, True])
@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize("door", DOORS)
async def test_what_is_no_org_is_refused(world: World, door: str, bad: Any, is_keeping: bool) -> None:  # noqa: FBT001
    """Every door refuses what is no org's id, says what to pass, and moves no counter of the instance."""
    if is_keeping:
        world.raw.begin_keeping(CATALOG)
    with pytest.raises(InvalidValueError, match=f"org_id .*{BAD[bad]}"):
        await DOORS[door](world.gate, bad)
    assert world.store.usage_of("") == {"maxProjects": 2}


@pytest.mark.parametrize("bad", BAD, ids=ascii)
def test_the_hot_path_refuses_too(bad: Any) -> None:
    """`allows` refuses what is no org's id, with answers in memory and without."""
    gate = make_world("sync").raw
    assert isinstance(gate, Gate)
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="org_id"):
            gate.allows(bad, "aiAssistant")
        gate.begin_keeping(CATALOG)


async def test_in_the_hosts_transaction_too(world: World) -> None:
    """A gate that counts elsewhere refuses the same."""
    elsewhere: Any = world.store if isinstance(world.raw, Gate) else Awaited(world.store)
    bound: Any = world.raw.using(elsewhere)
    with pytest.raises(InvalidValueError, match="org_id must not be empty"):
        await (Awaited(bound) if isinstance(bound, Gate) else bound).release("", "maxProjects")


async def test_the_instances_cap_holds_whoever_releases(world: World) -> None:
    """A release for no org frees no room under the license."""
    world.license.set(caps={"maxProjects": 2})
    with pytest.raises(InvalidValueError):
        await world.gate.release("", "maxProjects", 2)
    assert not (await world.gate.acquire("acme", "maxProjects")).granted


@pytest.mark.parametrize("bad", ["", 7, "a\x00b", "\udfff"], ids=ascii)
async def test_keys_are_text_too(world: World, bad: Any) -> None:
    """A key that is empty would be everybody's, and one that no store keeps is no reason to try again."""
    for verb in ("acquire", "release"):
        with pytest.raises(InvalidValueError, match=r"^key must"):
            await getattr(world.gate, verb)("acme", "maxProjects", key=bad)
    with pytest.raises(InvalidValueError, match=r"^event_key must"):
        await world.gate.record("acme", "buildMinutesPerMonth", 60, event_key=bad, at=NOW)
    assert world.store.usage_of("acme") == {"maxProjects": 2}


@pytest.mark.parametrize("good", ["acme", " ", "org/7", "Ä", "🙂", "\ufffd", "\ue000", "x" * 5000, "a\nb"], ids=ascii)
def test_other_text_is_an_id(good: str) -> None:
    """Whatever a store can keep is taken as it is."""
    assert checked_id(good, "org_id") == good
