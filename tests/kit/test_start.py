"""The first moments of a kit."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Self, cast

import pytest
from tests.kit.world import CATALOG, make_world

from kuploy_saas_kit import CatalogAuthority, SaasKit
from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.errors import StoredPlansError
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.license.refresher import Refresher
from kuploy_saas_kit.model.subscription import OrgSubscription
from kuploy_saas_kit.plans import Plan, Price
from kuploy_saas_kit.plans.ports import StoredPlans
from kuploy_saas_kit.stripe_provision.ports import SubscriptionChange


def test_a_first_start_is_ready_at_once() -> None:
    """After the first start ever the plans are in force, without waiting for the background."""
    with make_world() as world:
        world.keys = None
        with world.kit() as kit:
            assert kit.gate.acquire("acme", "maxProjects").granted


class Signalling(MemoryStore):
    """A store that says when something changed, and counts who waits for that."""

    waiting = 0

    def watch_changes(self, wake: Callable[[], None]) -> Self:
        self.waiting += 1
        return self

    def stop(self) -> None:
        self.waiting -= 1


def test_a_second_start_waits_for_changes_no_second_time() -> None:
    """A kit that is started twice leaves nobody behind who waits for changes when it is stopped."""
    store = Signalling()
    with make_world(store) as world:
        world.keys = None
        kit = world.kit()
        kit.start()
        with kit:
            assert store.waiting == 1
        assert store.waiting == 0


class Interrupted:
    """A refresher that is asked whether it is orphaned, and meanwhile somebody else comes first."""

    def __init__(self, refresher: Refresher, meanwhile: Callable[[], None]) -> None:
        self._refresher = refresher
        self._meanwhile: Callable[[], None] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._refresher, name)

    @property
    def is_orphaned(self) -> bool:
        answer = self._refresher.is_orphaned
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            with ThreadPoolExecutor(1) as thread:
                thread.submit(meanwhile).result()
        return answer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_first_questions_in_a_child_wake_it_once() -> None:
    """Two that ask at the same moment after a fork start the background once, and all of it ends with the kit."""
    store = Signalling()
    with make_world(store) as world:
        world.keys = None
        with world.kit() as kit:
            child = os.fork()
            if child == 0:  # pragma: no cover - it ends here, and coverage with it
                signal.alarm(100)
                of_parent = store.waiting
                kit._refresher = cast("Refresher", Interrupted(kit._refresher, kit.wake))
                kit.wake()
                woken = store.waiting - of_parent
                kit.stop()
                os._exit(0 if (woken, store.waiting) == (1, of_parent) else 1)
            assert os.waitpid(child, 0)[1] == 0


def test_all_threads_are_told_before_one_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a store is frozen they end side by side, and not each after the one before."""
    seen: list[bool] = []
    with make_world() as world:
        kit = world.kit()
        kit.start()
        threads = (kit._refresher, kit._carrier, kit.license._refresher)

        def waited_for() -> None:
            seen.extend(thread._stopping for thread in threads)

        monkeypatch.setattr(kit._carrier, "stop", waited_for)
        monkeypatch.setattr(kit._refresher, "stop", waited_for)
        kit.stop()
        monkeypatch.undo()
        assert seen == [True] * 6


class Away(MemoryStore):
    """A server that cannot be reached."""

    def require_tables(self) -> None:
        raise ConnectionError("refused")

    def usage_of(self, scope: str) -> Mapping[str, int]:
        raise ConnectionError("refused")


def test_a_start_without_counters(caplog: pytest.LogCaptureFixture) -> None:
    """While the store that counts is away a kit starts, says so, and answers what needs no counting."""
    with make_world() as world:
        world.kit().run_once()
        with world.kit(usage_store=Away()) as kit:
            kit.gate.assign("acme", "pro", actor="root", reason="a test")
            assert kit.gate.allows("acme", "aiAssistant")
        assert "could not look at the tables" in caplog.text


class Contradictory(MemoryStore):
    """A table of plans that somebody took the default from."""

    def load_plans(self) -> StoredPlans:
        raise StoredPlansError("no default", StoredPlans(None, None, {}, ""))


def test_a_start_that_fails_leaves_no_thread() -> None:
    """Where the plans cannot be read that is said, and nothing runs on in the background."""
    with make_world(Contradictory()) as world:
        kit = world.kit(catalog_authority=CatalogAuthority.LOCAL)
        with pytest.raises(StoredPlansError):
            kit.start()
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("kuploy-saas-kit")]


def test_the_host_joins_the_writing_transaction() -> None:
    """A host's hook is called with the change when a webhook writes a subscription."""
    seen: list[OrgSubscription] = []

    def note(change: SubscriptionChange, connection: object) -> None:
        seen.append(change.after)

    with make_world() as world:
        kit = world.kit(on_subscription_change=note)
        kit.run_once()
        session = kit.checkout.start("acme", "pro", success_url="https://a.example/", cancel_url="https://a.example/")
        world.stripe.pay(session.id)
        kit.webhooks.sync_org("acme")
        assert [row.plan for row in seen] == ["pro"]


def test_another_licenses_plans_are_applied_and_sold() -> None:
    """After the license key changed, its first catalog is not taken for an old one: not in the store, not at Stripe."""
    with make_world() as world:
        for _ in range(3):
            world.hub.put_plan(world.tenant_id, CATALOG.default)
        world.kit().run_once()
        other = world.hub.add_tenant("Other Hosting")
        key = world.hub.issue_license(other, tier="growth")
        gold = Plan("gold", "Gold", Price(9900, "cad"))
        world.hub.set_catalog(other, [CATALOG.default, gold])
        kit = world.kit(license_settings={"license_key": key})
        report = kit.run_once()
        assert report.problems == ()
        assert report.plans is not None
        assert report.plans.deactivated == ("pro",)
        assert set(world.store.load_mappings(kit.gateway.space())) == {"gold"}


def test_a_file_that_cannot_be_opened_is_a_problem_of_the_run(tmp_path: Path) -> None:
    """A scheduler's run raises nothing, and says what hindered it; the next one is whole."""
    folder = tmp_path / "later"
    with closing(SqlStore.from_url(f"sqlite:///{folder / 'kit.db'}")) as store:
        kit = SaasKit(LicenseConfig(trust="tls_only"), store)
        report = kit.run_once()
        assert report.sync.code == "store.unavailable"
        assert "cannot be opened" in report.problems[0]
        folder.mkdir()
        assert kit.run_once().problems == ()
