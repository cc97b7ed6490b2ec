"""The hub and the license client, written apart, talk to each other: over a real socket, and in process."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.hub.records import Instance
from kuploy_saas_kit.license import ClaimStatus, HttpxTransport, LicenseClient, LicenseConfig, LicenseStatus
from kuploy_saas_kit.license.ports import HubRequest, HubResponse, HubTransport, MeterReport, UsageReport
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, LEERAM_BUSINESS
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.faults import Outage
from kuploy_saas_kit.testing.hub import HubSimulator

TICK = timedelta(seconds=10)
DAY = timedelta(days=1)
FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan("pro", "Pro", Price(2000, "cad"), {"customDomains"}, {"maxProjects": 10, "maxApps": UNLIMITED})
GNF = Plan("biz", "Business", Price(290_000, "gnf", "annual"), {"aiAssistant"}, is_active=False)


class Patience:
    """A transport over HTTP whose deadline a test can change."""

    def __init__(self) -> None:
        self.deadline = timedelta(seconds=30)

    def post(self, request: HubRequest) -> HubResponse:
        """One exchange within the deadline of now."""
        with contextlib.closing(HttpxTransport(deadline=self.deadline)) as transport:
            return transport.post(request)

    def close(self) -> None:
        """Nothing is kept open."""


class World:
    """A hub with one Growth license, and instances of it on one clock."""

    def __init__(self, *, product: str = "kuploy-cloud", tier: str = "growth", signed: bool = True) -> None:
        self.clock = ManualClock()
        self.hub = HubSimulator(clock=self.clock, signed=signed)
        self.tenant = self.hub.add_tenant("Acme Hosting")
        self.key = self.hub.issue_license(self.tenant, product=product, tier=tier)
        self.product = product
        self.usage = UsageReport()
        self.http = Patience()

    def usage_report(self) -> UsageReport:
        """What the instances report."""
        return self.usage

    def client(
        self,
        *,
        url: str | None = None,
        licensed: bool = True,
        instance: str | None = None,
        store: MemoryStore | None = None,
    ) -> LicenseClient:
        """An instance in process, or over HTTP where a URL is given."""
        config = LicenseConfig(
            hub_url=url or "https://kuploy.app",
            instance_id=instance,
            license_key=self.key if licensed else None,
            product_type=self.product,
            trusted_keys=self.hub.trusted_keys,
            trust=None if self.hub.trusted_keys else "tls_only",
        )
        transport: HubTransport = self.hub.transport() if url is None else self.http
        kept = store or MemoryStore(clock=self.clock)
        return LicenseClient(config, kept, usage=self, transport=transport, clock=self.clock)


@pytest.fixture
def world() -> World:
    """A hub in process."""
    return World()


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The same hub on a socket."""
    with world.hub.serve() as served:
        yield served


def test_claim_sync_and_restart_over_http(world: World, url: str) -> None:
    """An instance without a license claims one over HTTP, verifies the signed answer and has the tenant's plans."""
    world.hub.set_catalog(world.tenant, [FREE, PRO, GNF])
    client = world.client(url=url, licensed=False)
    ticket = client.begin_claim()
    assert client.poll_claim().status is ClaimStatus.PENDING
    world.clock.advance(TICK)
    world.hub.approve_claim(ticket.code, world.key)
    state = client.poll_claim()
    assert (state.status, state.tenant_name) == (ClaimStatus.APPROVED, "Acme Hosting")
    assert client.confirm_claim().code == "ok"
    snapshot = client.snapshot()
    assert snapshot.status is LicenseStatus.ACTIVE
    assert snapshot.grant == KUPLOY_CLOUD.tiers["growth"]
    assert snapshot.catalog == PlanCatalog([FREE, PRO, GNF])
    client.stop()


def test_a_denied_claim(world: World) -> None:
    """Two instances show two codes, and the one that is denied hears of it."""
    client = world.client(licensed=False)
    ticket = client.begin_claim()
    client.poll_claim()
    second = world.client(licensed=False)
    assert second.begin_claim().code != ticket.code
    world.hub.deny_claim(ticket.code)
    world.clock.advance(TICK)
    assert client.poll_claim().status is ClaimStatus.DENIED


@pytest.mark.parametrize("tier", KUPLOY_CLOUD.tiers)
def test_every_tier_arrives_as_it_is(tier: str) -> None:
    """What the tier grants at the hub is what the instance is granted, key by key."""
    client = World(tier=tier).client()
    assert client.sync().ok
    assert client.snapshot().grant == KUPLOY_CLOUD.tiers[tier]


@pytest.mark.parametrize("tier", LEERAM_BUSINESS.tiers)
def test_the_other_product_s_tiers_arrive_too(tier: str) -> None:
    """The same for leeram-business."""
    client = World(product="leeram-business", tier=tier).client()
    assert client.sync().ok
    assert client.snapshot().grant == LEERAM_BUSINESS.tiers[tier]


def test_what_happens_at_the_hub_arrives_with_the_next_sync(world: World) -> None:
    """Tier, suspension, reinstatement, payment and revocation follow each other at the instance."""
    client = world.client()
    steps: list[tuple[Any, LicenseStatus, str]] = [
        (lambda: world.hub.change_tier(world.key, "hobby"), LicenseStatus.ACTIVE, "hobby"),
        (lambda: world.hub.suspend(world.key, "unpaid"), LicenseStatus.SUSPENDED, "hobby"),
        (lambda: world.hub.reinstate(world.key), LicenseStatus.ACTIVE, "hobby"),
        (lambda: world.hub.pay_until(world.key, world.clock.now()), LicenseStatus.EXPIRED, "hobby"),
        (lambda: world.hub.pay_until(world.key, None), LicenseStatus.ACTIVE, "hobby"),
        (lambda: world.hub.revoke(world.key), LicenseStatus.REVOKED, "hobby"),
    ]
    for change, status, plan in steps:
        change()
        assert client.sync().ok
        assert (client.snapshot().status, client.snapshot().plan) == (status, plan)
        world.clock.advance(TICK)


def test_instances_share_the_aggregate_limit(world: World) -> None:
    """Each instance's cap is what the others leave, or its allowance; both reports add up at the hub."""
    world.hub.change_tier(world.key, "business")
    period = MeterReport("buildMinutesPerMonth", world.clock.now().replace(day=1, hour=0), 61)
    one, two = world.client(instance="inst_one"), world.client(instance="inst_two")
    world.usage = UsageReport({"maxProjects": 30}, [period])
    one.sync()
    world.usage = UsageReport({"maxProjects": 5})
    two.sync()
    assert two.snapshot().instance_cap("maxProjects") == 20
    assert two.snapshot().instance_cap("buildMinutesPerMonth") == 5000 - 2
    world.hub.set_allowances(world.key, "inst_two", {"maxProjects": 14})
    world.clock.advance(TICK)
    two.sync()
    assert two.snapshot().instance_cap("maxProjects") == 14
    assert world.hub.usage_of(world.key).gauges == {"maxProjects": 35}
    assert list(world.hub.usage_of(world.key).meters.values()) == [61]


def test_a_downgrade_suspends_the_later_instances(world: World) -> None:
    """Over the limit of instances the first goes on, the second is told by a signed payload, a third gets none."""
    world.hub.change_tier(world.key, "business")
    clients = [world.client(instance=f"inst_{number}") for number in range(3)]
    for client in clients[:2]:
        client.sync()
        world.clock.advance(TICK)
    world.hub.change_tier(world.key, "growth")
    results = [client.sync() for client in clients]
    assert [result.status for result in results] == [
        LicenseStatus.ACTIVE,
        LicenseStatus.SUSPENDED,
        LicenseStatus.PENDING,
    ]
    assert results[2].hub_code == "instance_limit_reached"


def test_a_rotated_key_is_believed(world: World) -> None:
    """Both keys are pinned from the start, so a rotation goes unnoticed, and so does one for a stolen key."""
    client = world.client()
    client.sync()
    world.hub.rotate_key(compromised=True)
    world.clock.advance(TICK)
    assert client.sync().ok
    assert client.snapshot().epoch == 2


def test_a_hub_restored_from_a_backup_is_no_rollback(world: World) -> None:
    """The instance tells what it knows, and the hub goes on above it."""
    client = world.client(instance="inst_one")
    for _ in range(3):
        client.sync()
        world.clock.advance(TICK)
    with world.hub._store.transaction() as rows:
        for instance in rows.find(Instance):
            rows.drop(instance)
    assert client.sync().ok
    assert client.snapshot().revision == 4


IN_PROCESS = {
    "refused": "transport.connect",
    "timeout": "transport.timeout",
    "reset": "transport.reset",
    "truncated": "transport.truncated",
    "drip": "transport.deadline",
    "5xx": "http.5xx",
    "429": "http.429",
    "html": "payload.not_token",
    "captive": "http.redirect",
    "bad-json": "payload.malformed",
    "deep": "payload.malformed",
    "bomb": "payload.encoding",
    "stale": "replay.nonce",
    "forged": "sig.invalid",
    "older": "replay.rollback",
}
# Over HTTP a silent socket runs into the deadline, which is made shorter than the read timeout.
OVER_HTTP = {**IN_PROCESS, "timeout": "transport.deadline"}


@pytest.mark.parametrize("transport", ["in process", "http"])
@pytest.mark.parametrize("outage", IN_PROCESS)
def test_an_outage_has_its_code_and_changes_nothing(world: World, url: str, outage: str, transport: str) -> None:
    """The client names what went wrong, the same over a socket and in process, keeps its rights, and recovers."""
    world.hub.set_catalog(world.tenant, [FREE, PRO])
    client = world.client(url=url if transport == "http" else None)
    assert client.sync().ok
    before = client.snapshot()
    world.clock.advance(TICK)
    world.hub.outage(outage)
    world.http.deadline = timedelta(seconds=0.3 if outage in {"timeout", "drip"} else 30)
    result = client.sync()
    world.http.deadline = timedelta(seconds=30)
    expected = (OVER_HTTP if transport == "http" else IN_PROCESS)[outage]
    assert (result.ok, result.code, result.status) == (False, expected, LicenseStatus.ACTIVE)
    held = client.snapshot()
    assert (held.grant, held.catalog, held.revision) == (before.grant, before.catalog, before.revision)
    world.hub.outage(None)
    world.clock.advance(TICK)
    assert client.sync().ok
    assert (client.snapshot().revision or 0) > (before.revision or 0)
    client.stop()


def test_a_fast_hub_is_believed_and_noticed(world: World) -> None:
    """An answer of a hub whose clock is an hour fast counts, with a flag."""
    client = world.client()
    world.hub.outage("skew")
    assert client.sync().ok
    assert client.snapshot().clock_suspect


def test_an_empty_answer_is_held_until_it_is_said_twice(world: World) -> None:
    """A well signed answer that takes everything away is asked for again before it counts."""
    world.hub.set_catalog(world.tenant, [FREE, PRO])
    client = world.client()
    client.sync()
    world.clock.advance(TICK)
    world.hub.outage("empty")
    client.sync()
    assert client.snapshot().grant == KUPLOY_CLOUD.tiers["growth"]
    assert client.snapshot().catalog == PlanCatalog([FREE, PRO])


def test_every_outage_is_covered_here() -> None:
    """No outage without a test of what the client makes of it."""
    assert {*IN_PROCESS, "skew", "empty"} == set(Outage)


def test_a_hub_without_keys(world: World) -> None:
    """In the mode without keys the plain payload is taken."""
    plain = World(signed=False)
    client = plain.client()
    assert client.sync().ok
    assert client.snapshot().grant == KUPLOY_CLOUD.tiers["growth"]


def test_a_long_outage_ends_in_expired_and_then_in_active(world: World) -> None:
    """The hub's grace of seven days is what the instance has, and the first good answer ends it all."""
    client = world.client()
    client.sync()
    world.hub.outage("refused")
    seen = []
    for _ in range(8):
        world.clock.advance(DAY)
        client.sync()
        seen.append(client.snapshot().status.value)
    assert seen == ["stale", *["grace"] * 5, "expired", "expired"]
    world.hub.outage(None)
    world.clock.advance(TICK)
    assert client.sync().status is LicenseStatus.ACTIVE


@given(
    reports=st.lists(
        st.tuples(st.integers(0, 50), st.sampled_from([None, "truncated", "refused", "stale"]), st.booleans()),
        max_size=12,
    ),
    last=st.integers(0, 50),
)
def test_reports_survive_outages_and_restarts(reports: list[tuple[int, str | None, bool]], last: int) -> None:
    """Whatever was lost, repeated or cut off before: two good syncs later the hub has the true totals."""
    world = World()
    store = MemoryStore(clock=world.clock)
    client = world.client(store=store)
    month = world.clock.now().replace(day=1, hour=0)
    built = 0
    for value, outage, restarts in [*reports, (last, None, False), (last, None, False)]:
        built += value
        world.usage = UsageReport({"maxProjects": value}, [MeterReport("buildMinutesPerMonth", month, built)])
        world.hub.outage(outage)
        client = world.client(store=store) if restarts else client
        client.sync()
        world.clock.advance(TICK)
    assert world.hub.usage_of(world.key).gauges == {"maxProjects": last}
    assert list(world.hub.usage_of(world.key).meters.values()) == [built]
