"""Plans, what orgs are on, and the change feed."""
# ruff: noqa: S101 - asserting that values are right is what these methods are for

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

import pytest

from kuploy_saas_kit.errors import CatalogError
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, LimitValue
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding
from kuploy_saas_kit.plans.ports import (
    AuditStore,
    ChangeFeed,
    Everyone,
    PlanSaved,
    PlanStore,
    StandingStore,
    TrailEntry,
    TrailKind,
)
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW, RACES, Crew, StoreTests
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, Deed, Stepping, Steps
from kuploy_saas_kit.testing.conformance.crew import opened
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.values import INSTANT, NAMES, SLUGS

FREE = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
PRO = Plan(
    "pro",
    "Pro",
    Price(2000, "cad", "annual"),
    {"customDomains", "aiAssistant"},
    {"maxProjects": 10, "maxApps": UNLIMITED, "maxStorageBytes": 250_000_000_000, "maxMailboxes": MAX_LIMIT},
    description="For teams – «tout compris»",
)
BUSINESS = Plan("business", "Business", Price(290_000, "gnf"), {"customDomains"})
CATALOG = PlanCatalog([FREE, PRO, BUSINESS])
_AWHILE: Final = 0.1
"""Seconds after which somebody who has not ended is taken to wait for a lock."""


def assignment(org_id: str = "acme", plan: str = "internal", reason: str = "ours") -> Assignment:
    """A plan given by hand."""
    return Assignment(
        org_id=org_id, plan=plan, actor="root@isp", reason=reason, assigned_at=INSTANT, until=INSTANT + 60 * MINUTE
    )


def _has_feed(store: object) -> bool:
    return hasattr(store, "changes") and hasattr(store, "put_assignment")


def follow(store: Any, number: int) -> None:
    """Keep where the feed ends, if the store has one, as an assignment's reason: any process can read on from there."""
    if _has_feed(store):
        store.put_assignment(assignment(f"reader{number}", reason=store.changes(None).cursor))


def is_told(store: Any, number: int, org_id: str | None = None) -> bool:
    """Whether the feed has named the org, or everyone, since `follow`. A store that has no feed is not asked."""
    reader = store.standing(f"reader{number}").assignment if _has_feed(store) else None
    if reader is None:
        return True
    news = store.changes(reader.reason).org_ids
    return news is Everyone.ALL or org_id in news


def _catalog(number: int) -> PlanCatalog:
    return PlanCatalog([FREE, *(Plan(f"pro{n}", f"Pro {number}", limits={"maxProjects": number}) for n in range(3))])


def _apply(store: PlanStore, number: int) -> None:
    store.replace_plans(_catalog(number), revision=number)


class Applied(NamedTuple):
    """Whether the catalog of this number, or a newer one, is there; if so, whether it is told; whether it is whole."""

    is_there: bool
    feed_agrees: bool
    is_whole: bool


def _applied(store: PlanStore, number: int) -> Applied:
    stored = store.load_plans()
    held = {} if stored.catalog is None else {plan.slug: plan for plan in stored.catalog}
    whole = () if stored.revision is None else _catalog(stored.revision)
    is_there = stored.revision is not None and stored.revision >= number
    is_whole = all(held.get(plan.slug) == plan for plan in whole)
    return Applied(is_there, not is_there or is_told(store, number), is_whole)


def _save_own(store: PlanStore, number: int) -> None:
    store.put_plan(Plan(f"own{number}", "Own"), expected_version=0)


class SavedPlan(NamedTuple):
    """Whether the plan is there; if so, whether it is told; whether it has a version."""

    is_there: bool
    feed_agrees: bool
    has_version: bool


def _saved_own(store: PlanStore, number: int) -> SavedPlan:
    stored = store.load_plans()
    is_there = stored.catalog is not None and stored.catalog.get(f"own{number}") is not None
    return SavedPlan(is_there, not is_there or is_told(store, number), f"own{number}" in stored.versions)


class PlanStoreTests(CrashTests):
    """What a `PlanStore` must do.

    Where it is a `StandingStore` and a `ChangeFeed` too, a change that is there has entered the feed.
    """

    deeds = (Deed(_apply, _applied, follow), Deed(_save_own, _saved_own, follow))

    def test_an_empty_store(self, store: PlanStore) -> None:
        """Before the first plan there is no catalog and no revision."""
        stored = store.load_plans()
        assert (stored.catalog, stored.revision, dict(stored.versions)) == (None, None, {})

    def test_plans_come_back_as_they_went(self, store: PlanStore) -> None:
        """Prices, features, 64-bit and unlimited limits, flags and texts survive, in the catalog's order."""
        replaced = store.replace_plans(CATALOG, revision=7)
        assert (replaced.applied, set(replaced.changed), replaced.deactivated) == (
            True,
            {"free", "pro", "business"},
            (),
        )
        stored = store.load_plans()
        assert stored.catalog == CATALOG
        assert stored.catalog is not None
        assert [plan.slug for plan in stored.catalog] == ["free", "pro", "business"]
        assert (stored.revision, set(stored.versions)) == (7, {"free", "pro", "business"})
        assert all(version > 0 for version in stored.versions.values())

    def test_another_catalog_leaves_nothing_of_the_one_before(self, store: PlanStore) -> None:
        """A feature, a limit or a text that a plan has no more is gone, and so are its place and its flags."""
        bare = PlanCatalog([Plan("business", "", is_active=False), Plan("pro", "Pro"), FREE])
        for number, catalog in enumerate((CATALOG, bare, CATALOG)):
            store.replace_plans(catalog, revision=number)
            stored = store.load_plans().catalog
            assert stored is not None
            assert stored.plans == catalog.plans

    def test_a_plan_of_a_products_own(self, store: PlanStore) -> None:
        """Features and limits that the kit has never heard of are kept, and long texts are kept whole."""
        limits: dict[str, LimitValue] = {
            "own.limit": 2**53 + 1,
            "x" * 64: UNLIMITED,
        }  # not in a float, and as long as keys may be
        own = Plan("own", "é" * 256, features={"own.feature"}, limits=limits, description="é" * 4096)
        store.replace_plans(PlanCatalog([FREE, own]), revision=1)
        assert _stored(store, "own") == own

    def test_what_changes_a_plan_raises_its_version(self, store: PlanStore) -> None:
        """Whoever read it before is told, whether a catalog changed it, retired it, or its default went elsewhere."""
        store.replace_plans(CATALOG, revision=1)
        before = store.load_plans().versions
        store.replace_plans(PlanCatalog([FREE, Plan("pro", "Pro 2")]), revision=2)
        store.put_plan(Plan("mine", "Mine", is_default=True), expected_version=0)
        after = store.load_plans().versions
        assert {slug: after[slug] > version for slug, version in before.items()} == dict.fromkeys(before, True)
        assert not store.put_plan(FREE, expected_version=before["free"]).saved

    def test_a_revision_has_64_bits(self, store: PlanStore) -> None:
        """The highest is kept, and told from the one below it."""
        assert store.replace_plans(CATALOG, revision=MAX_LIMIT).applied
        assert not store.replace_plans(CATALOG, revision=MAX_LIMIT - 1).applied
        assert store.load_plans().revision == MAX_LIMIT

    def test_the_same_catalog_again(self, store: PlanStore) -> None:
        """Applying what is stored already changes no plan and raises no version."""
        store.replace_plans(CATALOG, revision=7)
        versions = store.load_plans().versions
        again = store.replace_plans(CATALOG, revision=8)
        assert (again.applied, again.changed, again.deactivated) == (True, (), ())
        assert store.load_plans().revision == 8
        assert store.load_plans().versions == versions

    def test_plans_that_stand_in_before_the_first_catalog(self, store: PlanStore) -> None:
        """They are stored under a revision that is below every hub's, and do not come back after one was applied."""
        assert store.replace_plans(PlanCatalog([FREE]), revision=-1, source="bootstrap").applied
        stored = store.load_plans()
        assert (stored.catalog, stored.revision, stored.source) == (PlanCatalog([FREE]), -1, "bootstrap")
        assert store.replace_plans(CATALOG, revision=0).applied
        assert not store.replace_plans(PlanCatalog([FREE]), revision=-1, source="bootstrap").applied
        assert store.load_plans().catalog == CATALOG

    def test_plans_that_stand_in_only_where_there_are_none(self, store: PlanStore) -> None:
        """A revision below 0 is not applied where any plan is: not one that was saved, and not the same ones again."""
        saved = Plan("mine", "Mine", is_default=True)
        store.put_plan(saved, expected_version=0)
        assert not store.replace_plans(PlanCatalog([FREE]), revision=-1, source="bootstrap").applied
        assert not store.replace_plans(PlanCatalog([saved]), revision=-1, source="bootstrap").applied
        stored = store.load_plans()
        assert (stored.catalog, stored.revision, stored.source) == (PlanCatalog([saved]), None, "")

    def test_plans_that_stand_in_are_stored_once(self, store: PlanStore) -> None:
        """Neither they nor others under a revision below 0 are applied again."""
        seed = PlanCatalog([FREE])
        store.replace_plans(seed, revision=-1, source="bootstrap")
        before = store.load_plans()
        for catalog in (seed, CATALOG):
            assert not store.replace_plans(catalog, revision=-1, source="another").applied
        assert store.load_plans() == before

    def test_a_race_of_plans_that_stand_in(self, store: PlanStore, crew: Crew) -> None:
        """Of many at once one is stored; a plan that is saved among them, as the default, is not undone."""
        applied = crew.race(_stand_in_or_save)
        mine = _stored(store, "mine")
        assert (mine.is_default, mine.is_active) == (True, True)
        assert sum(applied) == (store.load_plans().revision == -1)

    def test_a_source_is_kept_with_its_revision(self, store: PlanStore) -> None:
        """Whose catalog was applied is known, and a catalog that was not applied changes nothing of it."""
        store.replace_plans(CATALOG, revision=7, source="license-1")
        store.replace_plans(PlanCatalog([FREE]), revision=6, source="license-2")
        stored = store.load_plans()
        assert (stored.revision, stored.source) == (7, "license-1")

    def test_an_equal_revision_of_another_source(self, store: PlanStore) -> None:
        """A catalog that is applied is its source's from then on, even if neither revision nor plans changed."""
        store.replace_plans(CATALOG, revision=7, source="license-1")
        assert store.replace_plans(CATALOG, revision=7, source="license-2").applied
        stored = store.load_plans()
        assert (stored.revision, stored.source, stored.catalog) == (7, "license-2", CATALOG)

    def test_an_older_catalog_is_not_applied(self, store: PlanStore) -> None:
        """A revision below the stored one changes nothing; an equal one is applied again."""
        store.replace_plans(CATALOG, revision=7)
        assert not store.replace_plans(PlanCatalog([FREE]), revision=6).applied
        assert not store.replace_plans(CATALOG, revision=6).applied
        assert store.load_plans().revision == 7
        assert store.load_plans().catalog == CATALOG
        assert store.replace_plans(PlanCatalog([FREE]), revision=7).deactivated == ("pro", "business")

    def test_a_plan_that_is_gone_becomes_inactive(self, store: PlanStore) -> None:
        """It keeps its rights for those who are on it, is not sold, and returns when the catalog has it again."""
        store.replace_plans(CATALOG, revision=1)
        replaced = store.replace_plans(PlanCatalog([FREE, BUSINESS]), revision=2)
        assert (replaced.changed, replaced.deactivated) == ((), ("pro",))
        gone = _stored(store, "pro")
        assert not gone.is_active
        assert gone.entitlements == PRO.entitlements
        assert store.replace_plans(PlanCatalog([FREE, BUSINESS]), revision=3).deactivated == ()
        assert store.replace_plans(CATALOG, revision=4).changed == ("pro",)
        assert _stored(store, "pro") == PRO
        store.replace_plans(PlanCatalog([FREE]), revision=5)
        changed = PlanCatalog([FREE, Plan("pro", "Pro 2")])
        store.replace_plans(changed, revision=6)
        assert _stored(store, "pro") == changed.plan("pro")

    def test_another_default(self, store: PlanStore) -> None:
        """The default may move to another plan, and the one before may go at the same time."""
        store.replace_plans(CATALOG, revision=1)
        starter = Plan("starter", "Starter", is_default=True)
        store.replace_plans(PlanCatalog([starter, PRO]), revision=2)
        catalog = store.load_plans().catalog
        assert catalog is not None
        assert catalog.default == starter
        swapped = PlanCatalog([Plan("starter", "Starter"), Plan("pro", "Pro", is_default=True)])
        store.replace_plans(swapped, revision=3)
        assert _stored(store, "pro").is_default

    def test_saving_one_plan(self, store: PlanStore) -> None:
        """A save with the version that was read raises it; the hub's catalog is still the one that was applied."""
        store.replace_plans(CATALOG, revision=7, source="license-1")
        dearer = Plan("pro", "Pro", Price(2500, "cad"), PRO.features, PRO.limits)
        before = _version(store, "pro")
        saved = store.put_plan(dearer, expected_version=before)
        assert saved.saved
        assert saved.version == _version(store, "pro") > before
        assert _stored(store, "pro") == dearer
        bare = Plan("pro", "Pro", is_active=False)
        assert store.put_plan(bare, expected_version=saved.version).saved
        assert _stored(store, "pro") == bare
        stored = store.load_plans()
        assert (stored.revision, stored.source) == (7, "license-1")

    def test_saving_over_somebody_else(self, store: PlanStore) -> None:
        """A save with an older version changes nothing and says which version stands there."""
        store.replace_plans(CATALOG, revision=7)
        before = _version(store, "pro")
        stands = store.put_plan(Plan("pro", "Pro 2"), expected_version=before).version
        for wrong in (0, before, stands + 1):
            lost = store.put_plan(Plan("pro", "Pro 3"), expected_version=wrong)
            assert (lost.saved, lost.version) == (False, stands)
        assert _stored(store, "pro").name == "Pro 2"
        assert store.put_plan(Plan("none", "None"), expected_version=1) == PlanSaved(saved=False, version=0)
        assert set(store.load_plans().versions) == {"free", "pro", "business"}

    def test_no_plan_is_taken_for_another(self, store: PlanStore) -> None:
        """Plans stay apart, however much alike their slugs are."""
        alike = PlanCatalog([FREE, *(Plan(slug, f"Plan {number}") for number, slug in enumerate(SLUGS))])
        store.replace_plans(alike, revision=1)
        before = store.load_plans()
        assert before.catalog == alike
        first, *others = SLUGS
        assert store.put_plan(Plan(first, "Saved"), expected_version=before.versions[first]).saved
        after = store.load_plans()
        assert after.catalog is not None
        assert {slug: (after.catalog.get(slug), after.versions[slug]) for slug in others} == {
            slug: (alike.get(slug), before.versions[slug]) for slug in others
        }

    def test_the_first_plan_is_the_default(self, store: PlanStore) -> None:
        """Plans can be saved one by one, the default first; others without it would be no catalog."""
        with pytest.raises(CatalogError):
            store.put_plan(PRO, expected_version=0)
        assert store.load_plans().catalog is None
        assert store.put_plan(FREE, expected_version=0).saved
        assert store.put_plan(PRO, expected_version=0).version == _version(store, "pro") > 0
        assert store.load_plans().catalog == PlanCatalog([FREE, PRO])

    def test_saving_another_default(self, store: PlanStore) -> None:
        """A plan that is saved as the default takes that over; taking it from the only one is refused."""
        store.replace_plans(CATALOG, revision=1)
        before = _version(store, "business")
        default = store.put_plan(Plan("business", "Business", is_default=True), expected_version=before).version
        assert not _stored(store, "free").is_default
        with pytest.raises(CatalogError):
            store.put_plan(Plan("business", "Business"), expected_version=default)
        assert _stored(store, "business").is_default
        assert _version(store, "business") == default > before

    def test_what_is_never_stored(self, store: PlanStore) -> None:
        """The plan that the kit brings itself is no row."""
        store.replace_plans(CATALOG, revision=1)
        with pytest.raises(CatalogError):
            store.put_plan(INTERNAL, expected_version=0)
        assert store.load_plans().catalog == CATALOG

    def test_a_race_of_catalogs(self, store: PlanStore, crew: Crew, rounds: int) -> None:
        """Of many that are applied at the same moment the newest stays, in whatever order they come."""
        for number in range(RACES * rounds):
            first = number * crew.workers
            applied = crew.race(partial(_replace, first))
            newest = first + crew.workers - 1
            assert applied[-1]
            assert (store.load_plans().revision, _stored(store, "pro").name) == (newest, f"Pro {newest}")

    def test_a_race_for_the_default(self, store: PlanStore, crew: Crew, rounds: int) -> None:
        """Of many plans that are saved as the default one is it."""
        store.replace_plans(CATALOG, revision=1)
        for number in range(RACES * rounds):
            saves = crew.race(partial(_save_default, number))
            assert all(save.saved for save in saves)
            catalog = store.load_plans().catalog
            assert catalog is not None
            assert [plan.slug for plan in catalog if plan.is_default] == [catalog.default.slug]

    def test_a_race_to_save(self, store: PlanStore, crew: Crew, rounds: int) -> None:
        """Of many saves with the same version one wins."""
        store.replace_plans(CATALOG, revision=1)
        for _ in range(RACES * rounds):
            before = _version(store, "pro")
            saves = crew.race(partial(_save, before))
            assert sum(save.saved for save in saves) == 1
            assert {save.version for save in saves} == {_version(store, "pro")}
            assert _version(store, "pro") > before

    def test_a_race_at_every_line(self, store: PlanStore) -> None:
        """Wherever another save with the same version comes in between, one of the two is saved."""
        store.replace_plans(CATALOG, revision=1)
        for saves, where in overtaken(store, lambda: partial(_save, _version(store, "pro"))):
            assert sum(save.saved for save in saves) == 1, where


def _stand_in_or_save(store: PlanStore, worker: int) -> bool:
    """Whether this worker's plans are stored as those that stand in; the first worker saves a plan instead."""
    if worker:
        return store.replace_plans(CATALOG, revision=-1, source="bootstrap").applied
    assert store.put_plan(Plan("mine", "Mine", is_default=True), expected_version=0).saved
    return False


def _replace(first: int, store: PlanStore, worker: int) -> bool:
    revision = first + worker
    catalog = PlanCatalog([FREE, Plan("pro", f"Pro {revision}")])
    return store.replace_plans(catalog, revision=revision).applied


def _save_default(number: int, store: PlanStore, worker: int) -> PlanSaved:
    return store.put_plan(Plan(f"own{number}-{worker}", "Own", is_default=True), expected_version=0)


def _save(version: int, store: PlanStore, worker: int) -> PlanSaved:
    return store.put_plan(Plan("pro", f"Pro {version} of {worker}"), expected_version=version)


def _stored(store: PlanStore, slug: str) -> Plan:
    catalog = store.load_plans().catalog
    assert catalog is not None
    return catalog.plan(slug)


def _version(store: PlanStore, slug: str) -> int:
    return store.load_plans().versions[slug]


def _give(store: StandingStore, number: int) -> None:
    store.put_assignment(assignment(f"org{number}"))


class Changed(NamedTuple):
    """Whether the assignment is changed; if so, whether that is told; and whether the version rose."""

    is_done: bool
    feed_agrees: bool
    version_rose: bool


def _given(store: StandingStore, number: int) -> Changed:
    """Of one that is given."""
    standing = store.standing(f"org{number}")
    is_given = standing.assignment is not None
    return Changed(is_given, not is_given or is_told(store, number, f"org{number}"), standing.version > 0)


def _give_and_mark(store: StandingStore, number: int) -> None:
    """The mark is another org's version, given after this one's: what rises from here on is above it."""
    _give(store, number)
    store.put_assignment(assignment(f"mark{number}"))
    follow(store, number)


def _end(store: StandingStore, number: int) -> None:
    store.end_assignment(f"org{number}", actor="root@isp", reason="over", at=NOW)


def _ended(store: StandingStore, number: int) -> Changed:
    """Of one that is taken away."""
    standing, mark = store.standing(f"org{number}"), store.standing(f"mark{number}")
    is_ended = standing.assignment is None
    return Changed(is_ended, not is_ended or is_told(store, number, f"org{number}"), standing.version > mark.version)


class StandingStoreTests(CrashTests):
    """What a `StandingStore` must do. Where it is a `ChangeFeed` too, a change that is there has entered the feed."""

    deeds = (Deed(_give, _given, follow), Deed(_end, _ended, _give_and_mark))

    def test_an_unknown_org(self, store: StandingStore) -> None:
        """An org that nobody has written about has an empty standing."""
        assert store.standing("acme") == OrgStanding()

    def test_an_assignment(self, store: StandingStore) -> None:
        """An assignment is the org's until another is put in its place; each raises the version."""
        assert store.put_assignment(assignment()).previous is None
        first = store.standing("acme")
        assert first.assignment == assignment()
        comp = replace(assignment(plan="pro", reason="a comp"), until=None)
        assert store.put_assignment(comp).previous == assignment()
        second = store.standing("acme")
        assert second.assignment == comp
        assert second.version > first.version > 0

    def test_the_end_of_an_assignment(self, store: StandingStore) -> None:
        """Ending it leaves none; where there is none nothing happens."""
        store.put_assignment(assignment())
        before = store.standing("acme").version
        assert store.end_assignment("acme", actor="root@isp", reason="over", at=NOW).previous == assignment()
        ended = store.standing("acme")
        assert ended.assignment is None
        assert ended.version > before
        assert store.end_assignment("acme", actor="root@isp", reason="over", at=NOW).previous is None
        assert store.standing("acme") == ended

    def test_no_org_sees_another(self, store: StandingStore) -> None:
        """An assignment of one org is nobody else's, however much alike their ids are."""
        for name in NAMES:
            assert store.put_assignment(assignment(name, reason=name)).previous is None
        assert store.standing("acm") == OrgStanding()
        first, *others = NAMES
        store.end_assignment(first, actor="root@isp", reason="over", at=INSTANT)
        assert store.standing(first).assignment is None
        assert {name: store.standing(name).assignment for name in others} == {
            name: assignment(name, reason=name) for name in others
        }

    def test_a_race_of_writers(self, store: StandingStore, crew: Crew, rounds: int) -> None:
        """Writers of the same org at the same moment each raise its version."""
        for _ in range(RACES * rounds):
            before = store.standing("acme").version
            crew.race(_assign)
            assert store.standing("acme").version >= before + crew.workers

    def test_a_race_at_every_line(self, store: StandingStore) -> None:
        """Wherever another writer of an org comes in between, each raises its version, and one finds the other's."""
        reasons = count(step=2)
        for number, (found, where) in enumerate(overtaken(store, lambda: partial(_assign_as, next(reasons))), 1):
            assert store.standing("acme").version >= 2 * number, where
            assert sum(found) == 1, where


def _assign(store: StandingStore, worker: int) -> None:
    store.put_assignment(assignment(reason=str(worker)))


def _assign_as(first: int, store: StandingStore, worker: int) -> bool:
    """Whether the assignment of the other one was in force before."""
    previous = store.put_assignment(assignment(reason=str(first + worker))).previous
    return previous is not None and previous.reason == str(first + 1 - worker)


class AuditedStore(AuditStore, StandingStore, Protocol):
    """A store whose assignments leave a trail."""


class Audited(NamedTuple):
    """Whether an assignment is there, and how many lines the trail has."""

    has_assignment: bool
    lines: int


def _give_and_tell(store: AuditedStore, number: int) -> Audited:
    return Audited(store.standing(f"org{number}").assignment is not None, len(store.trail_of(f"org{number}")))


class AuditStoreTests(CrashTests):
    """What an `AuditStore` must do; the store is a `StandingStore` too."""

    deeds = (Deed(_give, _give_and_tell, repeatable=False), Deed(_end, _give_and_tell, _give))

    def test_every_change_leaves_a_line(self, store: AuditedStore) -> None:
        """Each assignment and each end of one is a line with actor, reason and instant, oldest first."""
        store.put_assignment(assignment())
        comp = replace(assignment(plan="pro", reason="a comp"), actor="ann", assigned_at=INSTANT + MINUTE, until=None)
        store.put_assignment(comp)
        store.end_assignment("acme", actor="bob", reason="over", at=INSTANT + 2 * MINUTE)
        assert list(store.trail_of("acme")) == [
            TrailEntry(TrailKind.GIVEN, "acme", "internal", "root@isp", "ours", INSTANT, INSTANT + 60 * MINUTE),
            TrailEntry(TrailKind.GIVEN, "acme", "pro", "ann", "a comp", INSTANT + MINUTE),
            TrailEntry(TrailKind.ENDED, "acme", "pro", "bob", "over", INSTANT + 2 * MINUTE),
        ]

    def test_what_changed_nothing_leaves_no_line(self, store: AuditedStore) -> None:
        """Ending what was not there is not told, and an org that nobody wrote about has no trail."""
        store.end_assignment("acme", actor="bob", reason="over", at=NOW)
        assert list(store.trail_of("acme")) == []

    def test_no_org_sees_anothers_trail(self, store: AuditedStore) -> None:
        """A trail is one org's, however much alike others' ids are."""
        for name in NAMES:
            store.put_assignment(assignment(name))
        assert {name: [entry.org_id for entry in store.trail_of(name)] for name in NAMES} == {
            name: [name] for name in NAMES
        }

    def test_a_race_leaves_every_line(self, store: AuditedStore, crew: Crew, rounds: int) -> None:
        """Of many that give a plan at the same moment each leaves a line, and the last one is what stands."""
        for number in range(1, 1 + RACES * rounds):
            crew.race(_assign)
            trail = store.trail_of("acme")
            assert len(trail) == number * crew.workers
            given = store.standing("acme").assignment
            assert given is not None
            assert trail[-1].reason == given.reason


class ChangingStore(ChangeFeed, StandingStore, PlanStore, Protocol):
    """A store whose writes enter its feed."""


class ChangeFeedTests(StoreTests):
    """What a `ChangeFeed` must do; the store is a `StandingStore` too, and where it keeps plans a `PlanStore`."""

    stepping = CrashTests.stepping

    @pytest.mark.parametrize("cursor", [None, "", "nonsense", "nonsense.1", "0", "-1", "x.y"])
    def test_without_a_cursor_of_its_own(self, store: ChangingStore, cursor: str | None) -> None:
        """Whoever comes without a cursor, or with one that the feed never gave, must look at everyone."""
        if cursor == store.changes(None).cursor:
            pytest.skip("a cursor of its own: this feed begins with it")
        assert store.changes(cursor).org_ids is Everyone.ALL

    def test_nothing_changed(self, store: ChangingStore) -> None:
        """Without a write there is nothing new."""
        cursor = store.changes(None).cursor
        news = store.changes(cursor)
        assert news.org_ids == frozenset()
        assert store.changes(news.cursor).org_ids == frozenset()

    def test_changes_of_orgs(self, store: ChangingStore) -> None:
        """Each org that changed since the cursor is named, to every reader, and no other."""
        store.put_assignment(assignment("before"))
        cursor = store.changes(None).cursor
        store.put_assignment(assignment("acme"))
        store.put_assignment(assignment("umbrella"))
        store.end_assignment("acme", actor="root@isp", reason="over", at=NOW)
        store.end_assignment("nobody", actor="root@isp", reason="over", at=NOW)
        news = store.changes(cursor)
        assert news.org_ids == frozenset({"acme", "umbrella"})
        assert store.changes(cursor).org_ids == news.org_ids
        assert store.changes(news.cursor).org_ids == frozenset()

    def test_each_change_of_an_org_is_told(self, store: ChangingStore) -> None:
        """A plan that is given for the first time, another one, and its end."""
        cursor = store.changes(None).cursor
        changes: Sequence[Callable[[], object]] = (
            lambda: store.put_assignment(assignment("acme")),
            lambda: store.put_assignment(assignment("acme", "pro")),
            lambda: store.end_assignment("acme", actor="root@isp", reason="over", at=NOW),
        )
        for change in changes:
            change()
            news, cursor = _news(store, cursor)
            assert news == frozenset({"acme"})

    def test_every_name_is_told_as_it_is(self, store: ChangingStore) -> None:
        """Ids that are much alike are all named."""
        cursor = store.changes(None).cursor
        for name in NAMES:
            store.put_assignment(assignment(name))
        assert store.changes(cursor).org_ids == frozenset(NAMES)

    def test_changes_of_plans(self, store: ChangingStore) -> None:
        """A change of the plans is a change of everyone; applying the same plans again is none."""
        if not hasattr(store, "replace_plans"):
            pytest.skip("no plans: this store keeps none, and the feed of the one that does tells of them")
        cursor = store.changes(None).cursor
        store.replace_plans(CATALOG, revision=1)
        store.put_assignment(assignment("acme"))
        news = store.changes(cursor)
        assert news.org_ids is Everyone.ALL
        store.replace_plans(CATALOG, revision=2)
        assert store.changes(news.cursor).org_ids == frozenset()
        changes: Sequence[Callable[[], object]] = (
            lambda: store.put_plan(Plan("pro", "Pro 2"), expected_version=_version(store, "pro")),
            lambda: store.put_plan(Plan("mine", "Mine"), expected_version=0),
            lambda: store.replace_plans(PlanCatalog([FREE, Plan("pro", "Pro 2")]), revision=2),
        )
        for change in changes:
            news = store.changes(news.cursor)
            change()
            assert store.changes(news.cursor).org_ids is Everyone.ALL

    def test_a_race_at_each_step(self, store: ChangingStore, stepping: Stepping) -> None:
        """Whoever writes and reads on while another change is on its way misses neither, whichever commits first."""
        cursor, quick = store.changes(None).cursor, list[Future[tuple[frozenset[str], str]]]()

        def overtake() -> None:
            quick.append(pool.submit(_write_and_look, store, f"quick{len(quick)}", cursor))
            wait(quick, timeout=_AWHILE)  # no longer: it may wait for a lock

        steps = Steps(overtake)
        with ThreadPoolExecutor(1) as pool, opened(partial(stepping, steps)) as slow:
            for at in count(1):
                steps.arm(at)
                slow.put_assignment(assignment(f"slow{at}"))
                if not steps.disarm():
                    break
                seen, end = quick[-1].result()
                assert f"slow{at}" in seen | _news(store, end)[0], f"overtaken before statement {at}"

    def test_a_race_misses_nothing(self, store: ChangingStore, crew: Crew, rounds: int) -> None:
        """Whoever follows the feed while others write sees every org in the end."""
        cursor, turns = store.changes(None).cursor, 3 * rounds
        told = crew.race(partial(_write_and_follow, cursor, turns))
        last, _ = _news(store, cursor)
        assert last == {f"org{worker}-{turn}" for worker in range(crew.workers) for turn in range(turns)}
        for seen, end in told:
            assert seen | _news(store, end)[0] == last


def _write_and_look(store: ChangingStore, org_id: str, cursor: str) -> tuple[frozenset[str], str]:
    store.put_assignment(assignment(org_id))
    return _news(store, cursor)


def _write_and_follow(cursor: str, turns: int, store: ChangingStore, worker: int) -> tuple[set[str], str]:
    """All that this worker saw, reading on from where it stood, and where it stands in the end."""
    seen: set[str] = set()
    for turn in range(turns):
        store.put_assignment(assignment(f"org{worker}-{turn}"))
        news, cursor = _news(store, cursor)
        seen |= news
    return seen, cursor


def _news(store: ChangeFeed, cursor: str) -> tuple[frozenset[str], str]:
    news = store.changes(cursor)
    assert not isinstance(news.org_ids, Everyone)
    return news.org_ids, news.cursor
