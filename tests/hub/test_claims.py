"""The hub's side of a claim: codes, limits on guessing, polls."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.hub.values import NOW, claim_asked

from kuploy_saas_kit.hub.claims import (
    INTERVAL,
    LIFETIME,
    CodeFound,
    CodesLocked,
    CodeWrong,
    Polled,
    PolledTooSoon,
    approve_claim,
    deny_claim,
    find_code,
    normal_code,
    poll_claim,
    register_claim,
)
from kuploy_saas_kit.hub.records import Claim, ClaimStatus, Refusal, RefusalCode, WrongCode, WrongCodes

SECOND = timedelta(seconds=1)


def registered(**changes: Any) -> Claim:
    """A claim registered at NOW."""
    claim = register_claim({}, claim_asked(**changes), NOW)
    assert isinstance(claim, Claim)
    return claim


def live(*claims: Claim) -> dict[str, Claim]:
    """Claims by secret hash."""
    return {claim.secret_hash: claim for claim in claims}


@pytest.mark.parametrize("typed", ["KPXY-4829", "kpxy-4829", " kpxy 4829 ", "KPXY4829"])
def test_codes_are_read_as_people_type_them(typed: str) -> None:
    """Case, spaces and the dash do not matter."""
    assert normal_code(typed) == "KPXY-4829"


@pytest.mark.parametrize("typed", ["", "KPXY-482", "KPXY-48290", "4829-KPXY", "KPXÝ-4829", "KPXY-٤٨٢٩", "K" * 500])
def test_other_texts_are_no_codes(typed: str) -> None:
    """What has not four letters and four digits is no code."""
    assert normal_code(typed) is None


def test_a_claim_lives_for_fifteen_minutes() -> None:
    """A fresh claim is pending, and expires 15 minutes after its registration."""
    claim = registered()
    assert (claim.status, claim.expires_at - NOW, claim.interval) == (ClaimStatus.PENDING, LIFETIME, INTERVAL)
    assert poll_claim(claim, "inst_one", NOW + LIFETIME - SECOND).claim is not None
    assert poll_claim(claim, "inst_one", NOW + LIFETIME) == Polled(ClaimStatus.EXPIRED, None)


def test_registering_again_is_the_same_claim() -> None:
    """The same instance, code and secret again, because the answer was lost, is no second claim."""
    claim = registered()
    assert register_claim(live(claim), claim_asked(), NOW + SECOND) is claim


@pytest.mark.parametrize("changes", [{"instance_id": "inst_two", "secret_hash": "sha256:other"}, {"code": "ABCD-0000"}])
def test_a_code_belongs_to_one_secret(changes: dict[str, str]) -> None:
    """A code that another secret has, and a secret that has another code, are taken."""
    refused = register_claim(live(registered()), claim_asked(**changes), NOW)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (409, RefusalCode.CODE_TAKEN)


def test_open_claims_are_bounded() -> None:
    """One instance cannot open claims without end, nor can all together."""
    own = [registered(code=f"ABCD-000{number}", secret_hash=f"sha256:{number}") for number in range(5)]
    refused = register_claim(live(*own), claim_asked(), NOW)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code) == (429, RefusalCode.RATE_LIMITED)
    all_full = {f"sha256:{number}": own[0] for number in range(1000)}
    assert isinstance(register_claim(all_full, claim_asked(instance_id="inst_two"), NOW), Refusal)
    assert isinstance(register_claim(live(*own), claim_asked(instance_id="inst_two"), NOW), Claim)


def test_polls_have_a_pace() -> None:
    """A poll before its time is told to slow down, by 5 s more each time up to a minute."""
    polled = poll_claim(registered(), "inst_one", NOW)
    assert isinstance(polled, Polled)
    assert polled.claim is not None
    kept, now = polled.claim, NOW
    intervals = []
    for _ in range(13):
        now += SECOND
        early = poll_claim(kept, "inst_one", now)
        assert isinstance(early, PolledTooSoon)
        kept = early.claim
        intervals.append(int(kept.interval.total_seconds()))
    assert intervals[:3] == [10, 15, 20]
    assert intervals[-1] == 60
    assert isinstance(poll_claim(kept, "inst_one", now + kept.interval), Polled)


@pytest.mark.parametrize("status", [ClaimStatus.APPROVED, ClaimStatus.DENIED])
def test_a_decided_claim_answers_at_any_pace_until_it_is_over(status: ClaimStatus) -> None:
    """A lost answer is no lockout: it is there for 15 minutes from the decision, for the same secret."""
    decided_at = NOW + LIFETIME - SECOND
    claim = registered()
    decided = (
        approve_claim(claim, "lic_key", "Acme", decided_at)
        if status is ClaimStatus.APPROVED
        else deny_claim(claim, decided_at)
    )
    for _ in range(3):
        assert poll_claim(decided, "inst_one", decided_at + LIFETIME - SECOND) == Polled(status, decided)
    assert poll_claim(decided, "inst_one", decided_at + LIFETIME).claim is None


def test_nothing_is_told_to_others() -> None:
    """An unknown secret and the right secret of another instance look like an expired claim."""
    expired = Polled(ClaimStatus.EXPIRED, None)
    assert poll_claim(None, "inst_one", NOW) == expired
    assert poll_claim(registered(), "inst_two", NOW) == expired


def test_secrets_are_in_no_repr() -> None:
    """Neither the license key nor the secret's hash is shown."""
    claim = approve_claim(registered(), "lic_secret", "Acme", NOW)
    assert "lic_secret" not in repr(claim)
    assert claim.secret_hash not in repr(claim)


def test_a_code_is_found_once() -> None:
    """Only a pending claim that is not over is found; a decided one is used up."""
    claim = registered()
    assert find_code([claim], "kpxy4829", "tenant_1", WrongCodes(), NOW) == CodeFound(claim)
    for gone in (deny_claim(claim, NOW), replace(claim, expires_at=NOW)):
        assert isinstance(find_code([gone], "KPXY-4829", "tenant_1", WrongCodes(), NOW), CodeWrong)


def test_a_tenant_has_five_wrong_codes() -> None:
    """The sixth code is not looked at, right or wrong, until the first is 15 minutes old; others go on."""
    claim, wrong, now = registered(), WrongCodes(), NOW
    for _ in range(5):
        now += SECOND
        answer = find_code([claim], "AAAA-0000", "tenant_1", wrong, now)
        assert isinstance(answer, CodeWrong)
        wrong = answer.wrong_codes
    locked = find_code([claim], claim.code, "tenant_1", wrong, now)
    assert locked == CodesLocked(LIFETIME - 4 * SECOND)
    assert find_code([claim], claim.code, "tenant_2", wrong, now) == CodeFound(claim)
    longer = replace(claim, expires_at=NOW + 2 * LIFETIME)
    assert find_code([longer], claim.code, "tenant_1", wrong, now + locked.retry_after) == CodeFound(longer)


def test_all_tenants_together_have_forty_five() -> None:
    """The forty-sixth code of the window is not looked at, whoever types it."""
    claim = registered()
    wrong = WrongCodes(entries=tuple(_wrong_codes(45)))
    assert find_code([claim], claim.code, "tenant_new", wrong, NOW + 45 * SECOND) == CodesLocked(LIFETIME - 45 * SECOND)
    one_less = replace(wrong, entries=wrong.entries[1:])
    assert find_code([claim], claim.code, "tenant_new", one_less, NOW + 45 * SECOND) == CodeFound(claim)


def test_old_wrong_codes_are_forgotten() -> None:
    """What left the window is not kept."""
    wrong = WrongCodes(entries=tuple(_wrong_codes(44)))
    answer = find_code([], "AAAA-0000", "tenant_1", wrong, NOW + LIFETIME + 40 * SECOND)
    assert isinstance(answer, CodeWrong)
    assert len(answer.wrong_codes.entries) == 4


def _wrong_codes(count: int) -> Iterable[WrongCode]:
    return (WrongCode(f"tenant_{number}", NOW + number * SECOND) for number in range(count))
