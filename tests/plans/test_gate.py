"""One table of scenarios through the sync and the async gate."""

from datetime import timedelta
from typing import Any

import pytest
from tests.plans.world import NOW, World, make_world

from kuploy_saas_kit.errors import (
    ConfigurationError,
    FeatureDeniedError,
    InvalidValueError,
    KeyConflictError,
    LimitExceededError,
    NeverGateKeyError,
    ReservationExpiredError,
    StorageError,
    UnknownKeyError,
    UnknownPlanError,
)
from kuploy_saas_kit.model.status import LicenseStatus
from kuploy_saas_kit.plans import (
    KUPLOY_CLOUD,
    UNLIMITED,
    Crossing,
    Gate,
    Level,
    Operation,
    PlanSource,
    Reason,
    Who,
)
from kuploy_saas_kit.plans.gate import Reservation
from kuploy_saas_kit.testing.awaited import Awaited

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sync", "async"])
def world(request: pytest.FixtureRequest) -> World:
    """A world for each shell."""
    return make_world(request.param)


async def test_a_feature_needs_license_and_plan(world: World) -> None:
    """The first layer that refuses gives the reason, and the remedy says who must act."""
    world.subscribe("acme")
    assert (await world.gate.check_feature("acme", "aiAssistant")).granted
    no_license = await world.gate.check_feature("acme", "whiteLabel")
    assert (no_license.granted, no_license.reason) == (False, Reason.NOT_IN_LICENSE)
    assert no_license.remedy.who is Who.TENANT
    no_plan = await world.gate.check_feature("acme", "multiServer")
    assert (no_plan.granted, no_plan.reason) == (False, Reason.NOT_IN_PLAN)
    assert no_plan.blocking.source == "plan:pro"


async def test_require_feature_raises_with_the_decision(world: World) -> None:
    """Insisting raises an error that carries the whole decision."""
    world.subscribe("acme")
    await world.gate.require_feature("acme", "customDomains")
    with pytest.raises(FeatureDeniedError, match="whiteLabel: not_in_license") as caught:
        await world.gate.require_feature("acme", "whitelabel")
    assert caught.value.decision.key == "whiteLabel"


async def test_unknown_keys_are_denied_and_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A key that the schema lacks is denied for Internal too; the log says so once."""
    await world.gate.assign("lab", "internal", actor="root", reason="dogfood")
    for _ in range(3):
        assert (await world.gate.check_feature("lab", "timeTravel")).reason is Reason.UNKNOWN_KEY
        assert (await world.gate.acquire("lab", "maxTardis")).reason is Reason.UNKNOWN_KEY
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "'timeTravel' is no key" in told[0]
    assert "'maxTardis' is no key" in told[1]


@pytest.mark.parametrize("key", sorted(KUPLOY_CLOUD.never_gate))
async def test_never_gate_keys_raise(world: World, key: str) -> None:
    """What must stay reachable cannot be asked for, as feature or as limit."""
    for verb in ("check_feature", "check_limit", "explain"):
        with pytest.raises(NeverGateKeyError, match="never be gated"):
            await getattr(world.gate, verb)("acme", key)


@pytest.mark.parametrize(
    ("status", "operation", "reason"),
    [
        (LicenseStatus.UNLICENSED, Operation.USE, Reason.NO_LICENSE),
        (LicenseStatus.PENDING, Operation.USE, Reason.LICENSE_PENDING),
        (LicenseStatus.REVOKED, Operation.USE, Reason.LICENSE_REVOKED),
        (LicenseStatus.SUSPENDED, Operation.USE, Reason.GRANTED),
        (LicenseStatus.SUSPENDED, Operation.CONFIGURE, Reason.LICENSE_SUSPENDED),
        (LicenseStatus.EXPIRED, Operation.USE, Reason.GRANTED),
        (LicenseStatus.EXPIRED, Operation.CREATE, Reason.LICENSE_EXPIRED),
        (LicenseStatus.GRACE, Operation.CREATE, Reason.GRANTED),
        (LicenseStatus.GRACE, Operation.PROVISION, Reason.LICENSE_GRACE),
        (LicenseStatus.STALE, Operation.PROVISION, Reason.GRANTED),
        (LicenseStatus.ACTIVE, Operation.CONFIGURE, Reason.GRANTED),
        (LicenseStatus.REVOKED, Operation.RUN, Reason.GRANTED),
        (LicenseStatus.UNLICENSED, Operation.RUN, Reason.GRANTED),
    ],
)
async def test_status_decides_operations(
    world: World, status: LicenseStatus, operation: Operation, reason: Reason
) -> None:
    """Each status permits what the table says, for features and for operations; what runs is always permitted."""
    world.subscribe("acme")
    world.license.set(status=status)
    decision = await world.gate.check_feature("acme", "aiAssistant", operation)
    assert decision.reason is reason
    assert decision.granted is (reason is Reason.GRANTED)
    assert world.raw.check_operation(operation).reason is reason


async def test_internal_has_exactly_the_license(world: World) -> None:
    """An Internal org has the ceiling's features and limits, under the aggregate cap."""
    await world.gate.assign("lab", "internal", actor="root", reason="dogfood")
    rights = await world.gate.entitlements("lab")
    growth = KUPLOY_CLOUD.tiers["growth"]
    assert rights.features == growth.features
    assert rights.limit("maxProjects") == 20
    assert (await world.gate.acquire("lab", "maxProjects", 20)).granted
    assert (await world.gate.acquire("lab", "maxProjects")).reason is Reason.AGGREGATE_LIMIT_REACHED


async def test_acquire_stops_at_the_orgs_limit(world: World) -> None:
    """Amounts are taken up to the plan's limit and not one more; the decision counts."""
    world.subscribe("acme")
    granted = await world.gate.acquire("acme", "maxProjects", 5)
    assert (granted.used, granted.limit, granted.remaining) == (5, 5, 0)
    refused = await world.gate.acquire("acme", "maxProjects")
    assert (refused.reason, refused.used, refused.limit) == (Reason.LIMIT_REACHED, 5, 5)
    assert refused.remedy.who is Who.ORG


async def test_acquire_stops_at_the_instances_limit(world: World) -> None:
    """Orgs together never exceed the license, however much each plan allows."""
    for org_id in ("one", "two"):
        world.subscribe(org_id, plan="big")
    assert (await world.gate.acquire("one", "maxProjects", 19)).granted
    refused = await world.gate.acquire("two", "maxProjects", 2)
    assert (refused.reason, refused.used, refused.limit) == (Reason.AGGREGATE_LIMIT_REACHED, 19, 20)
    assert (await world.gate.acquire("two", "maxProjects", 1)).granted


async def test_acquire_all_takes_all_or_none(world: World) -> None:
    """One refused limit leaves every counter as it was, and the decision names it."""
    world.subscribe("acme")
    refused = await world.gate.acquire_all("acme", {"maxProjects": 1, "maxApps": 11})
    assert (refused.granted, refused.key) == (False, "maxApps")
    assert world.store.usage_of("acme") == {"maxProjects": 0, "maxApps": 0}
    assert (await world.gate.acquire_all("acme", {"maxProjects": 1, "maxApps": 10})).granted


async def test_nothing_is_acquired_when_the_license_forbids_creating(world: World) -> None:
    """EXPIRED refuses to create and counts nothing; releasing still works."""
    world.subscribe("acme")
    await world.gate.acquire("acme", "maxProjects", 2)
    world.license.set(status=LicenseStatus.EXPIRED)
    assert (await world.gate.acquire("acme", "maxProjects")).reason is Reason.LICENSE_EXPIRED
    assert (await world.gate.release("acme", "maxProjects")).returned == {"maxProjects": 1}
    assert world.store.usage_of("acme")["maxProjects"] == 1


async def test_a_limit_of_zero_is_not_in_the_plan(world: World) -> None:
    """A limit that plan or license does not have is refused as such and not as used up."""
    world.subscribe("acme")
    assert (await world.gate.acquire("acme", "maxDatabases")).reason is Reason.NOT_IN_PLAN
    assert (await world.gate.check_limit("acme", "maxPurchasableDomains")).reason is Reason.NOT_IN_LICENSE


async def test_a_key_is_one_holding(world: World) -> None:
    """Acquiring under a held key takes nothing; another amount conflicts; releasing it returns it once."""
    world.subscribe("acme")
    for _ in range(3):
        assert (await world.gate.acquire("acme", "maxProjects", 2, key="import-7")).granted
    assert world.store.usage_of("acme")["maxProjects"] == 2
    with pytest.raises(KeyConflictError, match="already holds something other"):
        await world.gate.acquire("acme", "maxProjects", 3, key="import-7")
    assert (await world.gate.release("acme", "maxProjects", key="import-7")).returned == {"maxProjects": 2}
    assert (await world.gate.release("acme", "maxProjects", key="import-7")).returned == {}


async def test_release_below_zero_is_drift(world: World) -> None:
    """A counter stops at 0, and the release says by how much it was too much."""
    world.subscribe("acme")
    await world.gate.acquire("acme", "maxProjects", 1)
    released = await world.gate.release("acme", "maxProjects", 3)
    assert (released.returned, released.drift) == ({"maxProjects": 1}, {"maxProjects": 2})


@pytest.mark.parametrize("amount", [0, -1, True, 1.5, "2"])
async def test_bad_amounts_are_refused(world: World, amount: object) -> None:
    """Amounts are positive ints; anything else is an error that says so, and nothing is counted."""
    for verb in ("acquire", "release", "check_limit"):
        with pytest.raises(InvalidValueError, match="amount of maxProjects"):
            await getattr(world.gate, verb)("acme", "maxProjects", amount)


async def test_meters_and_gauges_do_not_mix(world: World) -> None:
    """A meter is recorded and a gauge acquired; the error names the right verb."""
    with pytest.raises(InvalidValueError, match=r"record\(\)"):
        await world.gate.acquire("acme", "buildMinutesPerMonth")
    with pytest.raises(InvalidValueError, match=r"acquire\(\)"):
        await world.gate.record("acme", "maxProjects", 1, event_key="e", at=NOW)
    with pytest.raises(InvalidValueError, match="name at least one limit"):
        await world.gate.acquire_all("acme", {})
    with pytest.raises(UnknownKeyError, match="maxTardis"):
        await world.gate.release("acme", "maxTardis")


async def test_a_reservation_commits_or_releases(world: World) -> None:
    """Leaving the block keeps the amount; an exception gives it back; both only once."""
    world.subscribe("acme")
    reservation = await world.gate.reserve("acme", "maxProjects", 2)
    await _call(reservation, "commit")
    await _call(reservation, "release")
    assert world.store.usage_of("acme")["maxProjects"] == 2
    with pytest.raises(RuntimeError, match="boom"):
        await _in_block(await world.gate.reserve("acme", "maxProjects", 3), fail=True)
    await _in_block(await world.gate.reserve("acme", "maxProjects", 1), fail=False)
    assert world.store.usage_of("acme")["maxProjects"] == 3


async def test_a_refused_reservation_raises(world: World) -> None:
    """Reserving more than there is raises with the decision; so does an unknown key."""
    world.subscribe("acme")
    with pytest.raises(LimitExceededError) as caught:
        await world.gate.reserve("acme", "maxProjects", 6)
    assert caught.value.decision.reason is Reason.LIMIT_REACHED
    with pytest.raises(LimitExceededError, match="unknown_key"):
        await world.gate.reserve("acme", "maxTardis")


async def test_set_usage_and_reconcile(world: World) -> None:
    """A measured use moves the org's counter and the instance's alike; reconciling reports the difference."""
    world.subscribe("acme")
    await world.gate.set_usage("acme", "maxStorageBytes", 700)
    await world.gate.set_usage("acme", "maxStorageBytes", 300)
    assert world.store.usage_of("")["maxStorageBytes"] == 300
    drift = await world.gate.reconcile("acme", "maxStorageBytes", 450)
    assert (drift.counted, drift.actual, drift.difference) == (300, 450, 150)
    assert world.store.usage_of("")["maxStorageBytes"] == 450


async def test_thresholds_are_announced_once_a_period(world: World) -> None:
    """80 %, 100 % and the hard stop of a meter are each told once, to the org's and the instance's listeners."""
    world.subscribe("acme")
    told = []
    world.raw.add_listener(lambda crossing: told.append((crossing.org_id, crossing.level)))
    for step, minutes in enumerate([70, 15, 15, 5, 20]):
        await world.gate.record("acme", "buildMinutesPerMonth", minutes * 60, event_key=f"build-{step}", at=NOW)
    assert told == [("acme", Level.WARNING), ("acme", Level.LIMIT), ("acme", Level.HARD_STOP)]


async def test_a_failing_listener_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A host's callback that raises is logged; the amount is taken and other listeners are told."""
    world.subscribe("acme")
    told: list[Crossing] = []

    def fail(_: object) -> None:
        raise RuntimeError("boom")

    world.raw.add_listener(fail)
    world.raw.add_listener(told.append)
    assert (await world.gate.acquire("acme", "maxProjects", 5)).granted
    assert [crossing.level for crossing in told] == [Level.WARNING, Level.LIMIT]
    assert "a listener failed" in caplog.text


async def test_meter_events_count_once_and_stop_at_110_percent(world: World) -> None:
    """An event key counts once; checking refuses beyond ⌊110 %⌋ of the plan's minutes, recording never does."""
    world.subscribe("acme")
    for _ in range(2):
        await world.gate.record("acme", "buildMinutesPerMonth", 109 * 60, event_key="build-1", at=NOW)
    assert (await world.gate.check_limit("acme", "buildMinutesPerMonth")).granted
    assert (await world.gate.check_limit("acme", "buildMinutesPerMonth", 2)).reason is Reason.LIMIT_REACHED
    await world.gate.record("acme", "buildMinutesPerMonth", 61, event_key="build-2", at=NOW)
    decision = await world.gate.check_limit("acme", "buildMinutesPerMonth")
    assert (decision.granted, decision.used, decision.over_limit) == (False, 111, 11)


async def test_counters_adopt_what_the_host_has(world: World) -> None:
    """A counter without a row begins with the host's own count, for the org and for the instance."""
    asked = []

    def count(org_id: str | None) -> int:
        asked.append(org_id)
        return 3 if org_id else 18

    shell = "sync" if isinstance(world.raw, Gate) else "async"
    adopting = make_world(shell, counts={"maxProjects": count})
    adopting.subscribe("acme")
    assert (await adopting.gate.acquire("acme", "maxProjects")).used == 4
    assert (await adopting.gate.check_limit("acme", "maxProjects", 1)).granted
    assert (await adopting.gate.acquire("acme", "maxProjects")).granted
    assert adopting.store.usage_of("") == {"maxProjects": 20}
    assert (await adopting.gate.acquire("acme", "maxProjects")).reason is Reason.LIMIT_REACHED
    assert sorted(map(str, asked)) == ["None", "acme"]


async def test_plan_sources_in_their_order(world: World) -> None:
    """Assignment goes before subscription, and subscription before the default plan."""
    assert (await world.gate.resolve_plan("acme")).source is PlanSource.DEFAULT
    world.subscribe("acme")
    assert (await world.gate.resolve_plan("acme")).slug == "pro"
    await world.gate.assign("acme", "big", actor="root", reason="incident", until=NOW + timedelta(hours=1))
    assigned = await world.gate.resolve_plan("acme")
    assert (assigned.slug, assigned.source, assigned.valid_until) == (
        "big",
        PlanSource.ASSIGNMENT,
        NOW + timedelta(hours=1),
    )
    world.clock.advance(timedelta(hours=1))
    assert (await world.gate.resolve_plan("acme")).source is PlanSource.SUBSCRIPTION
    await world.gate.assign("acme", "internal", actor="root", reason="dogfood")
    await world.gate.unassign("acme", actor="root", reason="over")
    assert (await world.gate.resolve_plan("acme")).slug == "pro"


async def test_bad_assignments_are_refused(world: World) -> None:
    """An assignment needs a plan that exists, an actor, a reason, and an end in the future."""
    with pytest.raises(UnknownPlanError, match=r"gold.*free, pro, big, internal"):
        await world.gate.assign("acme", "gold", actor="root", reason="x")
    with pytest.raises(InvalidValueError, match="actor and a reason"):
        await world.gate.assign("acme", "pro", actor="", reason="x")
    with pytest.raises(InvalidValueError, match="in the future"):
        await world.gate.assign("acme", "pro", actor="root", reason="x", until=NOW)
    with pytest.raises(InvalidValueError, match="aware"):
        await world.gate.assign("acme", "pro", actor="root", reason="x", until=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("status", "days", "slug"),
    [
        ("trialing", 0, "pro"),
        ("active", 0, "pro"),
        ("past_due", 13, "pro"),
        ("past_due", 14, "free"),
        ("unpaid", 0, "free"),
        ("paused", 0, "free"),
        ("incomplete", 0, "free"),
        ("incomplete_expired", 0, "free"),
        ("canceled", 0, "free"),
    ],
)
async def test_subscription_status_decides_access(world: World, status: str, days: int, slug: str) -> None:
    """Each of Stripe's statuses gives access or not; past due does for 14 days from the oldest unpaid invoice."""
    world.subscribe("acme", status=status, past_due_since=NOW - timedelta(days=days))
    assert (await world.gate.resolve_plan("acme")).slug == slug


async def test_unknown_status_keeps_the_last_decision(world: World) -> None:
    """A status that nobody knows yet keeps what the last known one decided, and never grants anew."""
    world.subscribe("kept", status="frozen", known_status="active")
    world.subscribe("new", status="frozen", known_status="frozen")
    assert (await world.gate.resolve_plan("kept")).slug == "pro"
    assert (await world.gate.resolve_plan("new")).slug == "free"


async def test_explain_shows_every_layer(world: World) -> None:
    """Explaining names license, plan and counters with value, version and age, and what blocks."""
    world.subscribe("acme")
    await world.gate.acquire("acme", "maxProjects", 5)
    told = await world.gate.explain("acme", "maxProjects")
    assert [layer.source for layer in told.layers] == ["license:growth", "plan:pro", "counter:org", "counter:instance"]
    assert [layer.value for layer in told.layers] == [20, 5, 5, 5]
    assert told.layers[0].age == timedelta()
    assert told.layers[1].version == 1
    assert told.blocking == told.layers[1]
    assert "plan:pro = 5 (v1, subscription)" in [str(layer) for layer in told.layers]
    feature = await world.gate.explain("acme", "whiteLabel")
    assert feature.blocking == feature.layers[0]
    assert (await world.gate.explain("acme", "nope")).reason is Reason.UNKNOWN_KEY


async def test_overview_lists_everything(world: World) -> None:
    """The listing has every key with use, share and level, and says what is over after a downgrade."""
    world.subscribe("acme")
    await world.gate.acquire("acme", "maxProjects", 4)
    await world.gate.record("acme", "buildMinutesPerMonth", 90, event_key="b", at=NOW)
    page = await world.gate.overview("acme")
    rows = {row.key: row for row in page.limits}
    assert (rows["maxProjects"].share, rows["maxProjects"].level) == (0.8, Level.WARNING)
    assert rows["buildMinutesPerMonth"].used == 2
    assert {row.key for row in page.features if row.granted} == {"customDomains", "aiAssistant"}
    world.subscribe("acme", status="canceled")
    assert [(row.key, row.over_by) for row in (await world.gate.overview("acme")).over_limit] == [
        ("maxProjects", 3),
        ("buildMinutesPerMonth", 2),
    ]


async def test_downgrade_below_usage(world: World) -> None:
    """After a downgrade nothing is deleted: creating is refused, deleting works, and the decision says by how much."""
    world.subscribe("acme")
    await world.gate.acquire("acme", "maxProjects", 5)
    world.subscribe("acme", status="canceled")
    refused = await world.gate.acquire("acme", "maxProjects")
    assert (refused.granted, refused.over_limit, refused.remaining) == (False, 4, 0)
    await world.gate.release("acme", "maxProjects", 5)
    assert (await world.gate.acquire("acme", "maxProjects")).granted


async def test_using_counts_elsewhere(world: World) -> None:
    """`using` puts another store under the same gate, such as one inside the host's transaction."""
    world.subscribe("acme")
    other = make_world("sync").store
    elsewhere: Any = other if isinstance(world.raw, Gate) else Awaited(other)
    bound: Any = world.raw.using(elsewhere)
    decision = bound.acquire("acme", "maxProjects", 2)
    assert (decision if isinstance(world.raw, Gate) else await decision).granted
    assert other.usage_of("acme") == {"maxProjects": 2}
    assert world.store.usage_of("acme") == {}


def test_using_what_is_no_store(world: World) -> None:
    """A host that gives its connection, and not the store over it, hears so at once."""
    connection: Any = object()
    with pytest.raises(ConfigurationError, match=r"such as sql_store\.on\(connection\), and not object"):
        world.raw.using(connection)


async def test_store_failures_are_storage_errors(world: World) -> None:
    """Whatever a store raises reaches the caller as `StorageError` with its cause, and nothing is granted."""
    world.subscribe("acme")
    world.store.take = _broken  # type: ignore[method-assign,assignment]
    with pytest.raises(StorageError, match="take the limit: OSError") as caught:
        await world.gate.acquire("acme", "maxProjects")
    assert isinstance(caught.value.__cause__, OSError)
    world.store.standing = _broken  # type: ignore[method-assign,assignment]
    with pytest.raises(StorageError):
        await world.gate.check_feature("acme", "aiAssistant")


async def test_expired_reservation_takes_again_or_says_so() -> None:
    """Committing after the end takes the room again, or raises if it is gone."""
    world = make_world("sync")
    world.subscribe("acme")
    gone = world.store
    first = world.raw.reserve("acme", "maxProjects", 3, ttl=timedelta())
    assert isinstance(first, Reservation)
    gone.sweep_holdings()
    first.commit()
    assert gone.usage_of("acme")["maxProjects"] == 3
    second = world.raw.reserve("acme", "maxProjects", 2, ttl=timedelta())
    assert isinstance(second, Reservation)
    gone.sweep_holdings()
    await world.gate.acquire("acme", "maxProjects", 2)
    with pytest.raises(ReservationExpiredError, match="ran out"):
        second.commit()


async def test_limits_without_bounds(world: World) -> None:
    """An unlimited plan under an unlimited license counts and never refuses."""
    world.license.set(grant=KUPLOY_CLOUD.tiers["enterprise"])
    world.subscribe("acme", plan="big")
    decision = await world.gate.acquire("acme", "maxProjects", 10**6)
    assert (decision.granted, decision.limit, decision.remaining) == (True, UNLIMITED, UNLIMITED)


async def _call(target: object, name: str) -> None:
    result = getattr(target, name)()
    if hasattr(result, "__await__"):
        await result


async def _in_block(reservation: object, *, fail: bool) -> None:
    if isinstance(reservation, Reservation):
        with reservation:
            _fail_if(fail)
    else:
        async with reservation:  # type: ignore[attr-defined]
            _fail_if(fail)


def _fail_if(fail: bool) -> None:  # noqa: FBT001 - a switch of one helper
    if fail:
        raise RuntimeError("boom")


async def test_what_cannot_be_announced_is_still_taken(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails after the take costs the announcement and nothing else."""
    world.subscribe("acme")
    world.store.announce_once = _broken  # type: ignore[method-assign,assignment]
    assert (await world.gate.acquire("acme", "maxProjects", 5)).granted
    assert world.store.usage_of("acme")["maxProjects"] == 5
    assert "was not announced" in caplog.text


async def test_a_store_that_never_seeds_is_an_error(world: World) -> None:
    """An adapter that forgets first values raises instead of asking for ever."""
    world.subscribe("acme")
    world.store.seed_usage = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="seed_usage"):
        await world.gate.acquire("acme", "maxProjects")


async def test_an_unknown_key_reads_no_store(world: World) -> None:
    """Asking for a key that the product lacks costs no read."""
    world.store.standing = _broken  # type: ignore[method-assign,assignment]
    for verb in ("check_feature", "explain"):
        assert (await getattr(world.gate, verb)("acme", "nope")).reason is Reason.UNKNOWN_KEY


def _broken(*_: object, **__: object) -> None:
    raise OSError("disk on fire")
