"""The wiring: what one run does, what runs in the background, what other processes see."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.kit.world import CATALOG, KEYS, PRO, World, make_world

from kuploy_saas_kit import CatalogAuthority, SaasKit
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.errors import (
    BillingDisabledError,
    CatalogAuthorityError,
    CatalogError,
    CeilingExceededError,
    CheckoutRefusedError,
    ConfigurationError,
    InvalidValueError,
    NeverGateKeyError,
    PlanVersionConflictError,
    StorageError,
)
from kuploy_saas_kit.license import LicenseStatus
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.plans import UNLIMITED, Plan, PlanCatalog, Price, Reason
from kuploy_saas_kit.stripe_provision import StripeKeys
from kuploy_saas_kit.stripe_provision.ports import PutOutcome


@pytest.fixture
def world() -> Iterator[World]:
    """A hub, Stripe and a store."""
    with make_world() as made:
        yield made


def test_a_run_syncs_upserts_and_provisions(world: World) -> None:
    """One run carries license to store and plans to Stripe; the next one finds nothing to do."""
    kit = world.kit()
    report = kit.run_once()
    assert report.sync.ok
    assert report.problems == ()
    assert world.store.load_plans().catalog == CATALOG
    assert set(world.store.load_mappings(kit.gateway.space())) == {"pro"}
    world.later(seconds=60)
    world.stripe.requests.clear()
    again = kit.run_once()
    assert (again.plans, again.problems) == (None, ())
    assert world.stripe.requests == []


def test_without_stripe_everything_else_works(world: World) -> None:
    """Without keys nothing is sold, and plans by assignment work; keys saved later need no restart."""
    world.keys = None
    kit = world.kit()
    assert kit.run_once().provision is None
    with pytest.raises(BillingDisabledError):
        kit.checkout.start("acme", "pro", success_url="https://a.example/", cancel_url="https://a.example/")
    kit.gate.assign("acme", "pro", actor="admin", reason="comp")
    assert kit.gate.allows("acme", "aiAssistant")
    world.keys = KEYS
    world.later(seconds=60)
    provision = kit.run_once().provision
    assert provision is not None
    assert provision.is_complete


def test_a_kit_without_a_source_of_keys_says_so(world: World) -> None:
    """A kit that was made without `stripe` names what is missing when somebody wants to sell."""
    kit = SaasKit(world.kit().config, world.store, clock=world.clock)
    with pytest.raises(BillingDisabledError, match="STRIPE_SECRET_KEY"):
        kit.gateway.space()


def test_stripe_trouble_is_a_problem_and_no_exception(world: World) -> None:
    """A run survives a refused key: license and plans are applied, the report says what is wrong."""
    world.stripe.fault("401", times=None)
    report = world.kit().run_once()
    assert report.sync.ok
    assert world.store.load_plans().catalog == CATALOG
    assert report.problems


def test_grace_and_expiry_do_not_provision(world: World) -> None:
    """Plans are carried to Stripe only while the license permits it."""
    kit = world.kit()
    kit.run_once()
    world.hub.outage("refused")
    world.later(days=2)
    assert kit.run_once().provision is None
    assert kit.license.snapshot().status is LicenseStatus.GRACE


def test_the_background_keeps_up(world: World) -> None:
    """Started, the kit answers from memory and follows license, catalog and standings without being asked."""
    kit = world.kit()
    kit.run_once()
    kit.gate.begin_keeping(world.store.load_plans().catalog)
    kit.gate.assign("acme", "pro", actor="admin", reason="comp")
    kit._tick()
    assert kit.gate.allows("acme", "aiAssistant")
    world.store.standing = None  # from here on only memory can answer
    assert kit.gate.allows("acme", "aiAssistant")
    world.hub.change_tier(world.license_key, "starter")
    world.later(seconds=90)
    kit._tick()
    assert not kit.gate.allows("acme", "aiAssistant")


def test_another_processs_write_is_seen_at_the_next_tick(world: World) -> None:
    """An assignment made by another process drops what this one keeps."""
    mine, other = world.kit(), world.kit()
    mine.run_once()
    mine.gate.begin_keeping(world.store.load_plans().catalog)
    other.gate.assign("acme", "pro", actor="admin", reason="comp")
    mine._tick()
    assert mine.gate.allows("acme", "aiAssistant")
    other.gate.unassign("acme", actor="admin", reason="over")
    assert mine.gate.allows("acme", "aiAssistant")
    mine._tick()
    assert not mine.gate.allows("acme", "aiAssistant")


def refused(*_: object, **__: object) -> None:
    """A verb of a store that is away."""
    raise ConnectionRefusedError


def test_a_change_of_everyone_outlives_a_store_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that fails while a change is followed hides it from nobody: what is kept is forgotten all the same."""
    kit = world.kit()
    kit.run_once()
    kit.gate.begin_keeping(world.store.load_plans().catalog)
    world.store.put_subscription(subscription(kit.gateway.space()), expected_version=0)
    kit._tick()
    assert kit.gate.allows("acme", "aiAssistant")
    world.store.use_space(StripeSpace("acct_live", livemode=True))
    with monkeypatch.context() as broken:
        broken.setattr(world.store, "load_plans", refused)
        with pytest.raises(StorageError):
            kit._tick()
    kit._tick()
    assert not kit.gate.allows("acme", "aiAssistant")


def test_started_and_stopped(world: World) -> None:
    """As a context manager the kit has a license at once, and keeps nothing after the end."""
    with world.kit() as kit:
        assert kit.license.snapshot().status is LicenseStatus.ACTIVE
        kit.gate.assign("acme", "pro", actor="admin", reason="comp")
        assert kit.gate.check_feature("acme", "whiteLabel").reason is Reason.NOT_IN_LICENSE
    assert kit.gate._kept == {}


def test_counters_that_are_away_close_creating_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the counters in a store of their own that is away, every org has its features, and nobody acquires."""
    counters = MemoryStore(world.clock)
    kit = world.kit(usage_store=counters)
    kit.run_once()
    kit.gate.assign("acme", "pro", actor="admin", reason="comp")
    kit.gate.begin_keeping(world.store.load_plans().catalog)
    for verb in ("usage_of", "take"):
        monkeypatch.setattr(counters, verb, refused)
    assert kit.gate.allows("acme", "aiAssistant")
    assert kit.gate.check_feature("newcomer", "aiAssistant").reason is Reason.NOT_IN_PLAN
    assert asyncio.run(kit.async_gate.check_feature("another", "aiAssistant")).reason is Reason.NOT_IN_PLAN
    with pytest.raises(StorageError, match="take the limit"):
        kit.gate.acquire("acme", "maxProjects")


def test_usage_is_reported_to_the_hub(world: World) -> None:
    """What the gate counted goes up with the next sync."""
    kit = world.kit()
    kit.run_once()
    kit.gate.assign("acme", "pro", actor="admin", reason="comp")
    kit.gate.acquire("acme", "maxProjects", 3)
    world.later(seconds=60)
    kit.run_once()
    assert world.hub.usage_of(world.license_key).gauges["maxProjects"] == 3


def test_a_removed_plan_keeps_its_rights(world: World) -> None:
    """A plan that is gone from the catalog is not sold any more, and those on it keep it."""
    kit = world.kit()
    kit.run_once()
    kit.gate.assign("acme", "pro", actor="admin", reason="comp")
    world.hub.set_catalog(world.tenant_id, [CATALOG.default, Plan("max", "Max", Price(5000, "cad"))])
    world.later(seconds=60)
    report = kit.run_once()
    assert report.plans is not None
    assert report.plans.deactivated == ("pro",)
    assert kit.gate.allows("acme", "aiAssistant")
    assert set(world.store.load_mappings(kit.gateway.space())) == {"max"}


def test_local_plans_are_checked_stored_and_provisioned(world: World) -> None:
    """An operator-owned catalog takes plans under the ceiling, says what is clamped, and refuses what is wrong."""
    kit = world.kit(catalog_authority=CatalogAuthority.LOCAL)
    kit.run_once()
    assert world.store.load_plans().catalog is None
    kit.save_plan(CATALOG.default, actor="admin", expected_version=0)
    saved = kit.save_plan(
        Plan("pro", "Pro", Price(2000, "cad"), {"aiAssistant"}, {"maxProjects": UNLIMITED}),
        actor="admin",
        expected_version=0,
    )
    assert saved.version == 1
    assert [one.key for one in saved.clamped] == ["maxProjects"]
    assert saved.provision is not None
    assert saved.provision.is_complete
    for plan, error in [
        (Plan("gold", "Gold", features={"whiteLabel"}), CeilingExceededError),
        (Plan("second", "Second", is_default=True), CatalogError),
        (Plan("evil", "Evil", features={"login"}), NeverGateKeyError),
    ]:
        with pytest.raises(error):
            kit.save_plan(plan, actor="admin", expected_version=0)
    with pytest.raises(PlanVersionConflictError, match="saved by somebody else"):
        kit.save_plan(PRO, actor="admin", expected_version=0)
    with pytest.raises(InvalidValueError, match="actor"):
        kit.save_plan(PRO, actor="", expected_version=1)


def test_hub_owned_plans_cannot_be_saved_here(world: World) -> None:
    """Where the hub owns the catalog, saving a plan is refused and says where to edit it."""
    with pytest.raises(CatalogAuthorityError, match="edit them there"):
        world.kit().save_plan(PRO, actor="admin", expected_version=0)


def test_default_plan_with_a_price_warns() -> None:
    """A default plan with a price is allowed, never sold, and said to be odd."""
    catalog = PlanCatalog([Plan("free", "Free", Price(100, "cad"), is_default=True)])
    assert catalog.warnings == ("free: the default plan has a price, and is never sold",)
    assert not catalog.default.is_billable


def test_async_gate_needs_an_async_side(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without an async side is named in the error."""
    monkeypatch.delattr(MemoryStore, "async_store")
    with pytest.raises(ConfigurationError, match="MemoryStore has no async side"):
        world.kit().async_gate


LIVE_KEYS = StripeKeys(secret="sk_live_kit", publishable="pk_live_kit", webhook_secrets=("whsec_kit",))


def test_a_test_subscription_counts_only_in_test_mode(world: World) -> None:
    """From the run after going live a subscription of test mode grants nothing, in every process; back it does."""
    kit, other = world.kit(), world.kit()
    kit.run_once()
    row = subscription(kit.gateway.space())
    assert world.store.put_subscription(row, expected_version=0).outcome is PutOutcome.SAVED
    other.license.load()
    other.gate.begin_keeping(world.store.load_plans().catalog)
    for keys, granted in ((KEYS, True), (LIVE_KEYS, False), (None, False), (KEYS, True)):
        world.keys = keys
        world.later(seconds=60)
        kit.run_once()
        other._follow_changes()
        assert kit.gate.allows("acme", "aiAssistant") is granted
        assert other.gate.allows("acme", "aiAssistant") is granted


def test_going_live_counts_whatever_the_license_permits(world: World) -> None:
    """Swapped keys are followed while the license does not permit provisioning."""
    kit = world.kit()
    kit.run_once()
    world.store.put_subscription(subscription(kit.gateway.space()), expected_version=0)
    world.hub.outage("refused")
    world.later(days=2)
    world.keys = LIVE_KEYS
    assert kit.run_once().provision is None
    assert not kit.gate.allows("acme", "aiAssistant")


def test_an_internal_org_buys_nothing(world: World) -> None:
    """The kit's checkout knows the assignments of its store, and its clock when they end."""
    kit = world.kit()
    kit.run_once()
    urls = {"success_url": "https://a.example/", "cancel_url": "https://a.example/"}
    kit.gate.assign("acme", "internal", actor="admin", reason="ours", until=world.clock.now() + timedelta(hours=1))
    with pytest.raises(CheckoutRefusedError, match="unassign it first"):
        kit.checkout.start("acme", "pro", **urls)
    world.later(hours=1)
    assert kit.checkout.start("acme", "pro", **urls).kind == "checkout"


def subscription(space: StripeSpace) -> OrgSubscription:
    """The row of an org that pays for Pro."""
    return OrgSubscription(
        subscription_id="sub_1",
        space=space,
        org_id="acme",
        customer_id="cus_1",
        plan="pro",
        price_id="price_1",
        status="active",
        known_status="active",
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )
