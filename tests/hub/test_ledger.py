"""Who is answered what: seats, statuses, revisions."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.values import NOW, contract, instance, refusal, sync, terms, with_instances

from kuploy_saas_kit.hub.ledger import Contract, LicenseTerms
from kuploy_saas_kit.hub.records import HubStatus, Instance, RefusalCode
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED

DAY = timedelta(days=1)


def test_another_product_is_not_entitled() -> None:
    """A license of one product says nothing to an instance of another."""
    refused = refusal(contract("studio", product="leeram-business"), "inst_one")
    assert (refused.status, refused.code) == (403, RefusalCode.PRODUCT_NOT_ENTITLED)


def test_a_new_instance_over_the_limit_is_refused() -> None:
    """409 for an instance that never had a seat; the message says how to go on."""
    full = with_instances(contract("growth"), instance("inst_one"))
    refused = refusal(full, "inst_two")
    assert (refused.status, refused.code) == (409, RefusalCode.INSTANCE_LIMIT_REACHED)
    assert "(1 on growth)" in refused.error


@pytest.mark.parametrize(("tier", "seats"), [("hobby", 1), ("starter", 1), ("growth", 1), ("business", 3)])
def test_each_tier_has_its_seats(tier: str, seats: int) -> None:
    """As many instances as the tier includes are seated, and one more is refused."""
    seated = with_instances(contract(tier), *(instance(f"inst_{number}") for number in range(seats)))
    assert seated.seats == seats
    assert refusal(seated, "inst_more").code is RefusalCode.INSTANCE_LIMIT_REACHED


def test_enterprise_and_other_products_have_no_limit_of_instances() -> None:
    """Where the tier names no number, any number is seated."""
    many = with_instances(contract("enterprise"), *(instance(f"inst_{number}") for number in range(50)))
    assert many.seats is UNLIMITED
    assert terms(many, "inst_more").status is HubStatus.ACTIVE
    assert contract("solo", product="leeram-business").seats is UNLIMITED


def test_known_instances_over_the_limit_get_terms() -> None:
    """After a downgrade the earliest seats stay active and the others are suspended, with a payload."""
    three = [instance("inst_b"), instance("inst_a", place=2), instance("inst_c", place=3)]
    downgraded = with_instances(contract("growth"), *three)
    got = {one.instance_id: terms(downgraded, one.instance_id) for one in three}
    assert {name: answer.status for name, answer in got.items()} == {
        "inst_b": HubStatus.ACTIVE,
        "inst_a": HubStatus.SUSPENDED,
        "inst_c": HubStatus.SUSPENDED,
    }
    assert "Instance limit reached" in got["inst_a"].status_reason


def test_a_silent_instance_gives_its_seat_back() -> None:
    """Once its last answer has run out an instance holds no seat; when it returns it comes last."""
    gone = instance("inst_old", held_until=NOW)
    base = with_instances(contract("growth"), gone)
    newcomer = terms(base, "inst_new").instance
    assert newcomer.place == 2
    both = with_instances(contract("growth"), gone, newcomer)
    later = NOW + DAY
    returned = terms(both, "inst_old", now=later)
    assert (returned.status, returned.instance.place) == (HubStatus.SUSPENDED, 3)
    assert terms(with_instances(contract("growth"), gone), "inst_old", now=later).status is HubStatus.ACTIVE


def test_a_removed_instance_is_told_so_and_holds_nothing() -> None:
    """Removal frees the seat, and the instance gets a payload that says revoked; its reports count no more."""
    removed = instance("inst_one", is_removed=True, usage={"maxProjects": 5})
    base = with_instances(contract("growth"), removed)
    answer = terms(base, "inst_one", report_seq=9, usage={"maxProjects": 7})
    assert (answer.status, answer.instance.usage) == (HubStatus.REVOKED, {"maxProjects": 5})
    assert "removed" in answer.status_reason
    assert terms(base, "inst_two").usage_elsewhere == {}


@pytest.mark.parametrize("status", [HubStatus.SUSPENDED, HubStatus.REVOKED])
def test_a_stopped_license_is_answered_with_terms(status: HubStatus) -> None:
    """Suspension and revocation are in the payload with their reason, for known and new instances."""
    stopped = contract("business", status=status, status_reason="unpaid")
    known = with_instances(stopped, instance("inst_one"))
    assert (terms(known, "inst_one").status, terms(known, "inst_one").status_reason) == (status, "unpaid")
    assert terms(known, "inst_two").status is status


def test_terms_carry_what_was_asked_and_decided() -> None:
    """Times follow the policy, the nonce is the request's, the kit's version is kept."""
    answer = terms(contract("growth"), "inst_one")
    assert (answer.fresh_until - NOW, answer.grace_until - NOW) == (timedelta(seconds=180), 7 * DAY)
    assert (answer.issued_at, answer.nonce, answer.instance.kit_version) == (NOW, "nonce", "0.1.0")
    assert answer.instance.held_until == answer.grace_until


def test_revisions_go_on_after_the_hub_lost_its_store() -> None:
    """What an instance knows of this epoch is passed, so that a hub restored from a backup is no rollback."""
    assert terms(contract("growth"), "inst_one", known=(1, 41)).instance.revision == 42
    assert terms(contract("growth"), "inst_one", known=(0, 41)).instance.revision == 1
    assert terms(contract("growth"), "inst_one", known=(1, MAX_LIMIT)).instance.revision == MAX_LIMIT


def test_a_new_epoch_begins_anew() -> None:
    """Once the epoch rises, even the highest revision of the old one is behind."""
    worn_out = terms(contract("growth"), "inst_one", known=(1, MAX_LIMIT)).instance
    fresh = terms(with_instances(contract("growth"), worn_out), "inst_one", known=(1, MAX_LIMIT), epoch=2).instance
    assert (fresh.epoch, fresh.revision) == (2, 1)


@given(
    known=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), min_size=1, max_size=20),
    statuses=st.lists(st.sampled_from(HubStatus), min_size=1),
)
def test_revisions_always_rise(known: list[tuple[int, int]], statuses: list[HubStatus]) -> None:
    """Whatever the instance claims to know and however the license stands, every answer is above the last."""
    held: list[Instance] = []
    for number, claimed in enumerate(known):
        base = contract("growth", status=statuses[number % len(statuses)])
        answer = terms(with_instances(base, *held[-1:]), "inst_one", known=claimed)
        assert not held or answer.instance.revision > held[-1].revision
        held.append(answer.instance)


@given(
    tier=st.sampled_from(["hobby", "growth", "business"]),
    steps=st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 10 * 24)), max_size=40),
)
def test_never_more_active_instances_than_seats(tier: str, steps: list[tuple[str, int]]) -> None:
    """Whoever syncs whenever, no more instances than the tier includes hold active terms at any instant."""
    base, now = contract(tier), NOW
    active_until: dict[str, LicenseTerms] = {}
    for name, hours in steps:
        now += timedelta(hours=hours)
        answer = sync(base, f"inst_{name}", now=now)
        if isinstance(answer, LicenseTerms):
            base = _kept(base, answer.instance)
            active_until[name] = answer
        holders = [one for one in active_until.values() if one.status is HubStatus.ACTIVE and now < one.grace_until]
        assert base.seats >= len(holders)


def _kept(base: Contract, changed: Instance) -> Contract:
    return replace(base, instances={**base.instances, changed.instance_id: changed})
