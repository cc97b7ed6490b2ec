"""The license, the instance's identity, and leases."""
# ruff: noqa: S101 - asserting is what these methods are for

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

from kuploy_saas_kit.license.ports import ClaimRecord, IdentityStore, Lease, LeaseStore, LicenseRecord, LicenseStore
from kuploy_saas_kit.model.limits import MAX_LIMIT
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW, RACES, Crew, StoreTests
from kuploy_saas_kit.testing.conformance.crashes import CrashTests, Deed
from kuploy_saas_kit.testing.conformance.crew import Opener, opened, stumbling
from kuploy_saas_kit.testing.conformance.overtaking import overtaken
from kuploy_saas_kit.testing.conformance.values import INSTANT, MICROSECOND, NAMES

RECORD: Final = LicenseRecord(
    body=b"eyJhbGciOiJFZDI1NTE5In0.\x00\xff", trust="pinned", epoch=2, revision=40, received_at=INSTANT, mark=INSTANT
)


def _record(number: int) -> LicenseRecord:
    return replace(RECORD, revision=number, body=f"license {number} ".encode() * 400)


def _save_whole(store: LicenseStore, number: int) -> None:
    store.save_license(_record(number))


class Saved(NamedTuple):
    """Whether the license of this number, or a newer one, is there; and whether the one that is there is whole."""

    is_there: bool
    is_whole: bool


def _is_whole(store: LicenseStore, number: int) -> Saved:
    stored = store.load_license()
    is_there = stored is not None and stored.revision >= number
    return Saved(is_there, stored is None or stored == _record(stored.revision))


class LicenseStoreTests(CrashTests):
    """What a `LicenseStore` must do."""

    deeds = (Deed(_save_whole, _is_whole),)

    def test_an_empty_store(self, store: LicenseStore) -> None:
        """Before the first answer of the hub there is no license, and no mark to move."""
        store.save_mark(NOW)
        assert store.load_license() is None

    def test_bytes_come_back_as_they_came(self, store: LicenseStore) -> None:
        """The answer's bytes are kept to the last bit, however many, with all that is known of them."""
        for record in (RECORD, replace(RECORD, body=RECORD.body * 5000, epoch=MAX_LIMIT, revision=MAX_LIMIT)):
            assert store.save_license(record).saved
            assert store.load_license() == record
        assert not store.save_license(replace(RECORD, epoch=MAX_LIMIT, revision=MAX_LIMIT - 1)).saved

    def test_only_a_newer_license_is_saved(self, store: LicenseStore) -> None:
        """(epoch, revision) only rises: the same or an older answer changes nothing."""
        store.save_license(RECORD)
        for epoch, revision in ((2, 40), (2, 39), (1, 99)):
            older = replace(RECORD, body=b"other", epoch=epoch, revision=revision)
            assert not store.save_license(older).saved
        assert store.load_license() == RECORD
        for epoch, revision in ((2, 41), (3, 1)):
            newer = replace(RECORD, body=b"newer", epoch=epoch, revision=revision)
            assert store.save_license(newer).saved
            assert store.load_license() == newer

    def test_a_record_that_is_to_be_replaced(self, store: LicenseStore) -> None:
        """A record of another license gives way whatever its revision, and only that one, wherever its mark is."""
        store.save_license(RECORD)
        fresh = replace(RECORD, body=b"another license", epoch=1, revision=1)
        for other in (replace(RECORD, body=b"not this one"), replace(RECORD, trust="tofu")):
            assert not store.save_license(fresh, instead_of=other).saved
        assert store.load_license() == RECORD
        store.save_mark(INSTANT + MINUTE)
        assert store.save_license(fresh, instead_of=RECORD).saved
        assert store.load_license() == fresh
        assert not store.save_license(replace(fresh, revision=0), instead_of=RECORD).saved
        assert store.save_license(replace(fresh, revision=2), instead_of=RECORD).saved

    def test_a_record_that_is_not_there_any_more(self, store: LicenseStore) -> None:
        """Whoever wants to replace a record that is lost saves the new one."""
        assert store.save_license(RECORD, instead_of=replace(RECORD, body=b"another license")).saved
        assert store.load_license() == RECORD

    def test_the_mark_moves_forward(self, store: LicenseStore) -> None:
        """The time mark is moved without touching the license, and never back."""
        store.save_license(RECORD)
        later = (INSTANT + MICROSECOND).astimezone(UTC)  # earlier by its text alone
        store.save_mark(later)
        store.save_mark(INSTANT)
        assert store.load_license() == replace(RECORD, mark=later)

    def test_a_newer_license_sets_the_mark(self, store: LicenseStore) -> None:
        """A mark that a fast clock pushed ahead ends with the next answer of the hub."""
        store.save_license(RECORD)
        store.save_mark(INSTANT + 600 * MINUTE)
        newer = replace(RECORD, revision=41)
        store.save_license(newer)
        assert store.load_license() == newer

    def test_a_race_leaves_the_newest(self, store: LicenseStore, crew: Crew, rounds: int) -> None:
        """Many that save different answers leave the newest, in whatever order they come."""
        for number in range(RACES * rounds):
            crew.race(partial(_save, 100 * (number + 1)))
            stored = store.load_license()
            assert stored is not None
            assert (stored.revision, stored.body) == (
                100 * (number + 1) + crew.workers - 1,
                str(crew.workers - 1).encode(),
            )

    def test_a_race_at_every_line(self, store: LicenseStore) -> None:
        """Wherever a newer answer comes in between, it is the one that is kept."""
        revisions = count(step=2)
        for number, (_, where) in enumerate(overtaken(store, lambda: partial(_save, next(revisions)))):
            stored = store.load_license()
            assert stored is not None
            assert (stored.revision, stored.body) == (2 * number + 1, b"1"), where

    def test_a_race_with_a_mark_at_every_line(self, store: LicenseStore) -> None:
        """Wherever a newer answer comes in between, moving the mark does not bring the older one back."""
        revisions = count()
        store.save_license(replace(RECORD, revision=next(revisions)))
        for number, (_, where) in enumerate(overtaken(store, lambda: partial(_mark_or_save, next(revisions))), 1):
            stored = store.load_license()
            assert stored is not None
            assert stored.revision == number, where


def _save(first: int, store: LicenseStore, worker: int) -> None:
    store.save_license(replace(RECORD, revision=first + worker, body=str(worker).encode()))


def _mark_or_save(revision: int, store: LicenseStore, worker: int) -> None:
    if worker:
        store.save_license(replace(RECORD, revision=revision))
    else:
        store.save_mark(INSTANT + revision * MINUTE)


CLAIM: Final = ClaimRecord(
    code="KPXY-4829",
    secret="bm90IGEgc2VjcmV0",  # noqa: S106 - it opens nothing
    expires_at=INSTANT + 15 * MINUTE,
    interval=MINUTE / 12,
)


class IdentityStoreTests(StoreTests):
    """What an `IdentityStore` must do."""

    def test_one_instance_id(self, store: IdentityStore) -> None:
        """The first candidate becomes the id; later ones are told it."""
        assert store.ensure_instance_id("inst_1") == "inst_1"
        assert store.ensure_instance_id("inst_2") == "inst_1"

    def test_a_race_for_the_id(self, store: IdentityStore, crew: Crew) -> None:
        """Of many that start at the same moment all get the same id."""
        assert set(crew.race(partial(stumbling, _ensure_id))) == {store.ensure_instance_id("inst_late")}

    def test_the_license_key(self, store: IdentityStore) -> None:
        """The claimed key is kept, replaced and forgotten, and the id stays."""
        store.ensure_instance_id("inst_1")
        assert store.load_license_key() is None
        for key in ("lic_one", "lic_two", None):
            store.save_license_key(key)
            assert store.load_license_key() == key
        assert store.ensure_instance_id("inst_2") == "inst_1"

    def test_a_claim_survives(self, store: IdentityStore) -> None:
        """A claim on its way can be taken up after a restart, before and after its approval, and forgotten."""
        assert store.load_claim() is None
        approved = replace(CLAIM, license_key="lic_one", tenant_name="ISP Conakry")
        for claim in (CLAIM, approved, None):
            store.save_claim(claim)
            assert store.load_claim() == claim

    def test_what_another_one_wrote_is_seen(self, store: IdentityStore, reopen: Opener) -> None:
        """Whoever looked before sees the key and the claim that somebody else saved, and that they are gone."""
        with opened(reopen) as other:
            for key, claim in ((None, None), ("lic_one", CLAIM), ("lic_two", None)):
                other.save_license_key(key)
                other.save_claim(claim)
                assert (store.load_license_key(), store.load_claim()) == (key, claim)

    def test_a_key_before_an_id(self, store: IdentityStore) -> None:
        """Whatever is saved first, the rest can follow."""
        store.save_license_key("lic_one")
        store.save_claim(CLAIM)
        assert store.ensure_instance_id("inst_1") == "inst_1"
        assert (store.load_license_key(), store.load_claim()) == ("lic_one", CLAIM)

    def test_each_is_kept_by_itself(self, store: Any) -> None:
        """Whatever is written or forgotten leaves all else, the license too where the store keeps one."""
        store.ensure_instance_id("inst_1")
        store.save_claim(CLAIM)
        store.save_license_key("lic_one")
        assert store.load_claim() == CLAIM
        store.save_claim(None)
        assert store.load_license_key() == "lic_one"
        store.save_claim(CLAIM)
        if not hasattr(store, "save_license"):
            return
        store.save_license(RECORD)
        store.save_mark(INSTANT + MINUTE)
        assert (store.ensure_instance_id("inst_2"), store.load_license_key()) == ("inst_1", "lic_one")
        assert store.load_claim() == CLAIM
        store.save_license_key(None)
        store.save_claim(None)
        assert store.load_license() == replace(RECORD, mark=INSTANT + MINUTE)


def _ensure_id(store: IdentityStore, worker: int) -> str:
    return store.ensure_instance_id(f"inst_{worker}")


class LeaseStoreTests(StoreTests):
    """What a `LeaseStore` must do."""

    def test_one_holder(self, store: LeaseStore, clock: ManualClock) -> None:
        """A lease has one holder, who may prolong it; others are told until when it is held."""
        assert store.take_lease("sync", "a", MINUTE).held
        other = store.take_lease("sync", "b", MINUTE)
        assert (other.held, other.until) == (False, NOW + MINUTE)
        clock.advance(MINUTE / 2)
        again = store.take_lease("sync", "a", MINUTE)
        assert (again.held, again.until) == (True, NOW + 3 * MINUTE / 2)
        assert store.take_lease("sweep", "b", MINUTE).held
        clock.advance(MINUTE * 0.99)
        assert store.take_lease("sync", "b", MINUTE) == Lease(held=False, until=again.until)

    def test_no_lease_is_taken_for_another(self, store: LeaseStore) -> None:
        """Leases and holders stay apart, however much alike their names are."""
        assert all(store.take_lease(name, f"holder {number}", MINUTE).held for number, name in enumerate(NAMES))
        first, *others = NAMES
        store.take_lease("sync", first, MINUTE)
        assert not any(store.take_lease("sync", other, MINUTE).held for other in others)
        store.drop_lease(first, "holder 0")
        assert [name for name in NAMES if store.take_lease(name, "somebody", MINUTE).held] == [first]

    def test_an_expired_lease_is_free(self, store: LeaseStore, clock: ManualClock) -> None:
        """A holder that died is followed by another once its time is over, not before."""
        store.take_lease("sync", "a", MINUTE)
        clock.advance(MINUTE * 0.99)
        assert not store.take_lease("sync", "b", MINUTE).held
        clock.advance(MINUTE * 0.01)
        assert store.take_lease("sync", "b", MINUTE).held
        assert not store.take_lease("sync", "a", MINUTE).held

    def test_giving_it_up(self, store: LeaseStore) -> None:
        """The holder may give the lease up; nobody else can."""
        store.take_lease("sync", "a", MINUTE)
        store.take_lease("sweep", "a", MINUTE)
        store.drop_lease("sync", "b")
        assert not store.take_lease("sync", "b", MINUTE).held
        store.drop_lease("sync", "a")
        store.drop_lease("never", "a")
        assert store.take_lease("sync", "b", MINUTE).held
        assert not store.take_lease("sweep", "b", MINUTE).held

    def test_a_race_for_a_lease(self, store: LeaseStore, crew: Crew, rounds: int) -> None:
        """Of many that ask at the same moment one holds the lease."""
        for number in range(RACES * rounds):
            assert sum(crew.race(partial(_elect, f"sync{number}"))) == 1

    def test_a_race_at_every_line(self, store: LeaseStore) -> None:
        """Wherever somebody else comes in between, one of the two holds the lease."""
        names = (f"sync{number}" for number in count())
        for held, where in overtaken(store, lambda: partial(_elect, next(names))):
            assert sum(held) == 1, where


def _elect(name: str, store: LeaseStore, worker: int) -> bool:
    return store.take_lease(name, str(worker), 60 * MINUTE).held
