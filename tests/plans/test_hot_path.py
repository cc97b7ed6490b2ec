"""The hot path: no allocation, no clock, no lock, no I/O, and right while everything around it changes."""

import multiprocessing
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import repeat
from typing import Any

import pytest
from tests.plans.world import CATALOG, FREE, NOW, PRO, make_world

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.model.status import LicenseStatus
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Gate, GatePolicy, LicenseGrant, Plan, PlanCatalog, Reason
from kuploy_saas_kit.plans.answers import Answers
from kuploy_saas_kit.plans.standing import PlanResolution, PlanSource
from kuploy_saas_kit.plans.verdicts import license_facts
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.gates import FixedLicense, FixedSnapshot


class Exploding:
    """A store or clock that nobody may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the hot path asked for {name}")


@pytest.fixture
def warm() -> Gate:
    """A gate that knows acme, whose stores and clock then explode."""
    world = make_world("sync")
    world.subscribe("acme")
    gate = world.raw
    assert isinstance(gate, Gate)
    gate.begin_keeping(CATALOG)
    assert gate.allows("acme", "aiAssistant")
    broken: Any = Exploding()
    gate._plans = gate._subscriptions = gate._usage = gate._clock = broken
    gate._answers._lock = broken
    return gate


def test_a_warm_check_touches_nothing(warm: Gate) -> None:
    """A known org and feature are answered without store, clock or lock, by `allows` and by `check_feature`."""
    assert warm.allows("acme", "aiAssistant")
    assert not warm.allows("acme", "whitelabel")
    assert warm.check_feature("acme", "whiteLabel").reason is Reason.NOT_IN_LICENSE


def _peak(check: Callable[[str, str], object]) -> int:
    """The bytes that a thousand calls have in memory at the most, without what other threads add now and then."""
    return min(_peak_of_all(check) for _ in repeat(None, 10))


def _peak_of_all(check: Callable[[str, str], object]) -> int:
    """The bytes that the process had in memory at the most, beyond what was there before a thousand calls."""
    for _ in repeat(None, 1000):
        check("acme", "aiAssistant")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in repeat(None, 1000):
            check("acme", "aiAssistant")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before


def test_a_warm_check_allocates_nothing(warm: Gate) -> None:
    """Checks have not one byte more in memory at any moment than a function that does nothing."""

    def nothing(org_id: str, feature: str) -> bool:
        return True

    assert _peak(warm.allows) == _peak(nothing)
    assert _peak(warm.check_feature) == _peak(nothing)


def test_readers_see_old_or_new_and_never_nothing() -> None:
    """While licenses are published, readers in threads get the answer of one of them and no error."""
    world = make_world("sync")
    world.subscribe("acme")
    gate = world.raw
    assert isinstance(gate, Gate)
    gate.begin_keeping(CATALOG)
    gate.allows("acme", "aiAssistant")
    stop = threading.Event()
    wrong: list[str] = []
    answers: list[bool] = []

    def read() -> None:
        while not stop.is_set():
            if gate.allows("acme", "customDomains") is not True:
                wrong.append("customDomains")

    readers = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(300):
        features = {"customDomains", "aiAssistant"} if turn % 2 else {"customDomains"}
        gate.publish_license(world.license.set(grant=LicenseGrant("growth", features)))
        answers.append(gate.allows("acme", "aiAssistant"))
        if turn % 7 == 0:
            gate.forget("acme")
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert answers == [bool(turn % 2) for turn in range(300)]


def _answers(max_orgs: int = 100) -> Answers:
    answers = Answers(KUPLOY_CLOUD, max_orgs)
    answers.begin(license_facts(FixedSnapshot()), CATALOG)
    return answers


ON_PRO = PlanResolution(PRO, PlanSource.SUBSCRIPTION)
ON_FREE = PlanResolution(FREE, PlanSource.DEFAULT)


def test_orgs_on_one_plan_share_one_table() -> None:
    """A thousand orgs on a plan cost a thousand dict entries and one table, and follow a license at once."""
    answers = _answers(2000)
    for number in range(1000):
        answers.keep(f"org-{number}", ON_PRO, answers.generation)
    assert len({id(table) for table in answers.kept.values()}) == 1
    answers.publish(facts=license_facts(FixedSnapshot(LicenseGrant("none"))))
    assert not answers.kept["org-7"].granted["aiAssistant"]


def test_an_end_of_before_is_forgotten() -> None:
    """An org that is kept again, now for good, is kept without the end that it had."""
    answers = _answers()
    answers.keep("acme", replace(ON_PRO, valid_until=NOW), answers.generation)
    answers.keep("acme", ON_PRO, answers.generation)
    assert answers.resolution("acme") == ON_PRO
    answers.expire(NOW)
    assert "acme" in answers.kept


def test_what_was_read_before_a_drop_is_not_kept() -> None:
    """An answer that was read while the org changed is thrown away, and so is one for a plan not published here."""
    answers = _answers()
    generation = answers.generation
    answers.forget(["other"])
    answers.keep("acme", ON_PRO, generation)
    answers.keep("acme", PlanResolution(Plan("ahead", "Ahead"), PlanSource.SUBSCRIPTION), answers.generation)
    assert answers.kept == {}


def test_kept_orgs_are_bounded() -> None:
    """Above the bound the oldest org goes."""
    answers = _answers(max_orgs=3)
    for name in "abcde":
        answers.keep(name, ON_PRO, answers.generation)
    assert list(answers.kept) == ["c", "d", "e"]


def test_a_new_default_plan_moves_those_on_it() -> None:
    """Orgs on the default plan follow the catalog's new default without being read again."""
    answers = _answers()
    answers.keep("acme", ON_FREE, answers.generation)
    assert not answers.kept["acme"].granted["aiAssistant"]
    plain = Plan("free", "Free")
    richer = Plan("basic", "Basic", features={"aiAssistant"}, is_default=True)
    answers.publish(catalog=PlanCatalog([plain, richer, PRO]))
    assert answers.kept["acme"].granted["aiAssistant"]


def test_a_plan_that_vanishes_drops_what_is_kept() -> None:
    """A catalog without a plan that orgs are kept on makes the gate read the stores again."""
    answers = _answers()
    answers.keep("acme", ON_PRO, answers.generation)
    answers.publish(catalog=PlanCatalog([FREE]))
    assert answers.kept == {}


def test_unknown_orgs_are_not_kept() -> None:
    """Ids that nobody ever wrote about leave nothing in memory; an org that uses something is kept."""
    world = make_world("sync")
    gate = world.raw
    assert isinstance(gate, Gate)
    gate.begin_keeping(CATALOG)
    for number in range(50):
        gate.allows(f"made-up-{number}", "aiAssistant")
    assert gate._kept == {}
    gate.acquire("newcomer", "maxProjects")
    gate.allows("newcomer", "aiAssistant")
    assert set(gate._kept) == {"newcomer"}


def _in_child(gate: Gate, queue: Any) -> None:
    queue.put((len(gate._kept), gate.allows("acme", "aiAssistant"), len(gate._kept)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_nothing_is_kept() -> None:
    """A child answers from the stores and keeps nothing: nobody refreshes it there."""
    world = make_world("sync")
    world.subscribe("acme")
    gate = world.raw
    assert isinstance(gate, Gate)
    gate.begin_keeping(CATALOG)
    gate.allows("acme", "aiAssistant")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(gate, queue))
    child.start()
    assert queue.get(timeout=60) == (0, True, 0)
    child.join()
    assert set(gate._kept) == {"acme"}


def test_statuses_that_grant_nothing_empty_the_ceiling() -> None:
    """UNLICENSED, PENDING and REVOKED turn every kept feature off; the others leave features in use on."""
    license_ = FixedLicense()
    store = MemoryStore(ManualClock(NOW))
    gate = Gate(license=license_, plans=store, subscriptions=store, usage=store, policy=GatePolicy())
    store.replace_plans(CATALOG, revision=1)
    gate.begin_keeping(CATALOG)
    gate.assign("acme", "pro", actor="a", reason="b")
    gate.allows("acme", "aiAssistant")
    off = {LicenseStatus.UNLICENSED, LicenseStatus.PENDING, LicenseStatus.REVOKED}
    for status in LicenseStatus:
        gate.publish_license(license_.set(status=status))
        assert gate.allows("acme", "aiAssistant") is (status not in off)
