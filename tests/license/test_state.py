"""The status table of the hub protocol, at every boundary, and the pure parts around it."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.license.doubles import payload, plan

from kuploy_saas_kit.license import LicenseSnapshot, LicenseStatus, Operation, ServedFrom, Trust
from kuploy_saas_kit.license.exchange import ExchangeRules, SyncResult
from kuploy_saas_kit.license.ports import HubResponse, Lease, LicenseSaved, MeterReport, UsageReport
from kuploy_saas_kit.license.reading import Believed, LicenseReader
from kuploy_saas_kit.license.requests import Known, Refusal, refusal_in, sync_body
from kuploy_saas_kit.license.state import (
    NOTHING_YET,
    Judged,
    LicenseState,
    LicenseTime,
    Moment,
    Rules,
    SentWith,
    Verdict,
    judge,
    loaded,
    status_at,
    watched,
)
from kuploy_saas_kit.license.wire import PayloadReader
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, LimitSpec

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
READER = PayloadReader(KUPLOY_CLOUD)


def at(**fields: object) -> LicenseState:
    """The state that holds a payload issued at `START`."""
    believed = Believed(READER.read(payload(START, **fields)), b"token")
    return loaded(LicenseState(has_key=True), believed, (1, 1), START, Rules())


def seconds(text: str) -> int:
    """Seconds since the epoch of an instant after `START`."""
    return int((START + timedelta(seconds=float(text))).timestamp())


WINDOW = {"freshUntil": seconds("70"), "graceUntil": seconds("770")}


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (-5, LicenseStatus.ACTIVE),
        (0, LicenseStatus.ACTIVE),
        (69.999, LicenseStatus.ACTIVE),
        (70, LicenseStatus.STALE),
        (169.999, LicenseStatus.STALE),
        (170, LicenseStatus.GRACE),
        (769.999, LicenseStatus.GRACE),
        (770, LicenseStatus.EXPIRED),
        (10**8, LicenseStatus.EXPIRED),
    ],
)
def test_each_status_begins_at_its_instant(after: float, status: LicenseStatus) -> None:
    """STALE at freshUntil, GRACE a seventh later, EXPIRED at graceUntil, each to the microsecond."""
    assert status_at(at(**WINDOW), START + timedelta(seconds=after)) is status


def test_what_is_not_paid_is_expired_for_that_reason() -> None:
    """`paidUntil` ends it as graceUntil does, and the reason tells them apart."""
    state = at(**WINDOW, paidUntil=seconds("30"))
    assert LicenseSnapshot(state, START + 29 * SECOND).status is LicenseStatus.ACTIVE
    paid = LicenseSnapshot(state, START + 30 * SECOND)
    assert (paid.status, paid.status_reason, paid.paid_until) == (LicenseStatus.EXPIRED, "paid", START + 30 * SECOND)
    assert LicenseSnapshot(state, START + DAY).status_reason == "offline"


@pytest.mark.parametrize("after", [0, 100, 200, 10_000])
@pytest.mark.parametrize("status", [LicenseStatus.SUSPENDED, LicenseStatus.REVOKED])
def test_the_hubs_word_beats_the_clock(status: LicenseStatus, after: int) -> None:
    """Suspended and revoked hold at any time."""
    assert status_at(at(**WINDOW, status=status.value), START + after * SECOND) is status


def test_no_key_and_no_payload_come_first() -> None:
    """UNLICENSED without a key, PENDING without a payload, whatever the time."""
    assert status_at(LicenseState(), START) is LicenseStatus.UNLICENSED
    assert status_at(LicenseState(has_key=True), START) is LicenseStatus.PENDING
    pending = LicenseSnapshot(LicenseState(has_key=True, last_sync_code="transport.dns"), START)
    assert pending.status_reason == "transport.dns"


def test_without_a_license_everything_is_empty() -> None:
    """A snapshot of nothing answers every question with nothing."""
    snapshot = LicenseSnapshot(LicenseState(), START)
    unset = (
        *(snapshot.grant, snapshot.plan, snapshot.tier, snapshot.catalog, snapshot.catalog_revision, snapshot.revision),
        *(snapshot.catalog_error, snapshot.epoch, snapshot.age, snapshot.issued_at, snapshot.fresh_until),
        *(snapshot.grace_until, snapshot.paid_until, snapshot.tenant_id, snapshot.license_id),
        *(snapshot.meter_period("x"), snapshot.last_sync_code, snapshot.last_sync_at),
    )
    assert set(unset) == {None}
    assert (snapshot.unknown_keys, snapshot.over_limit, snapshot.status_reason) == ((), (), "")
    assert (snapshot.served_from, snapshot.trust) == (ServedFrom.NOWHERE, Trust.PINNED)
    assert not snapshot.clock_suspect
    assert not snapshot.held_payload
    assert [operation for operation in Operation if snapshot.permits(operation)] == [Operation.RUN]


def test_a_snapshot_has_what_a_status_page_needs() -> None:
    """Age, window, period, tier and what is over."""
    state = at(**WINDOW, periods={"buildMinutesPerMonth": [seconds("-100"), seconds("100")]})
    snapshot = LicenseSnapshot(state, START + MINUTE)
    assert (snapshot.age, snapshot.tier, snapshot.issued_at) == (MINUTE, "growth", START)
    assert snapshot.fresh_until == START + 70 * SECOND
    assert snapshot.meter_period("buildMinutesPerMonth") == (START - 100 * SECOND, START + 100 * SECOND)
    assert "ACTIVE" in repr(snapshot)


def test_an_operator_may_shorten_the_grace_and_not_lengthen_it() -> None:
    """The smaller of the hub's and the operator's window holds."""
    believed = Believed(READER.read(payload(START)), b"token")
    for own, until in ((timedelta(hours=1), timedelta(hours=1)), (30 * DAY, 7 * DAY)):
        state = loaded(LicenseState(has_key=True), believed, (1, 1), START, Rules(max_grace=own))
        assert LicenseSnapshot(state, START).grace_until == START + until


def test_license_time_never_runs_back() -> None:
    """Anchored time ignores the wall clock; wall time is never below the mark."""
    anchored = LicenseTime(START, 10 * SECOND)
    assert anchored.at_moment(Moment(START - DAY, 15 * SECOND)) == START + 5 * SECOND
    assert anchored.at_moment(Moment(START, SECOND)) == START
    assert LicenseTime(START).at_moment(Moment(START - DAY, SECOND)) == START
    assert LicenseTime(START).after(DAY) == START
    assert watched(LicenseState(), Moment(START, SECOND)) == LicenseState()


@pytest.mark.parametrize(
    ("order", "sent", "body", "verdict"),
    [
        ((1, 5), (1, 5), b"token", Verdict.UNCHANGED),
        ((1, 5), (1, 5), b"other", Verdict.EQUIVOCATION),
        ((1, 4), (1, 5), b"other", Verdict.ROLLBACK),
        ((0, 9), (1, 5), b"other", Verdict.ROLLBACK),
        ((1, 4), (1, 3), b"other", Verdict.OVERTAKEN),
        ((1, 6), (1, 5), b"other", Verdict.ACCEPTED),
        ((2, 0), (1, 5), b"other", Verdict.ACCEPTED),
    ],
)
def test_answers_are_ordered_by_epoch_and_revision(
    order: tuple[int, int], sent: tuple[int, int], body: bytes, verdict: Verdict
) -> None:
    """Newer wins, older is a rollback, merely overtaken is no news, the same under another content an alarm."""
    held = Believed(READER.read(payload(START, revision=5)), b"token")
    state = loaded(LicenseState(has_key=True), held, (1, 5), START, Rules())
    answer = Believed(READER.read(payload(START, epoch=order[0], revision=order[1])), body)
    judged = judge(state, answer, SentWith(sent, SECOND), Moment(START, SECOND), Rules())
    assert judged.verdict is verdict
    assert (judged.state == state) == (verdict is not Verdict.ACCEPTED)
    assert verdict.is_good == (verdict in {Verdict.ACCEPTED, Verdict.UNCHANGED, Verdict.OVERTAKEN})


def test_reports_are_numbered_in_order() -> None:
    """After an answer above all before it; between answers by attempt; within 64 bits for any payload."""
    numbers = [
        Known(epoch=epoch, revision=revision, attempt=attempt).report_seq
        for epoch, revision, attempt in [(0, 0, 1), (0, 0, 2), (1, 1, 1), (1, 1, 255), (1, 2, 1), (2, 0, 1)]
    ]
    assert numbers == sorted(set(numbers))
    top = Known(epoch=2**63 - 1, revision=2**63 - 1, attempt=10**9).report_seq
    assert 0 < top < 2**63


def test_a_report_is_written_as_the_protocol_says() -> None:
    """Counts by key, meters with the period's start in UTC."""
    report = UsageReport({"maxProjects": 3}, [MeterReport("buildMinutesPerMonth", START, 60)])
    known = Known(epoch=1, revision=2, attempt=1)
    body = sync_body(instance_id="i", product_type="p", kit_version="1", nonce="n", known=known, report=report)
    assert body["usage"] == {"maxProjects": 3}
    assert body["meters"] == [{"key": "buildMinutesPerMonth", "period": "2026-11-01T12:00:00Z", "total": 60}]
    assert (body["schema"], body["knownEpoch"], body["knownRevision"]) == (1, 1, 2)


@pytest.mark.parametrize("status", [100, 101, 200, 204, 304, 418, 599, 600, 999, 0])
def test_every_status_code_has_a_word(status: int) -> None:
    """Only 200 has a body worth reading; the rest is a refusal with a code."""
    refusal = refusal_in(HubResponse(status, {}, b""), START)
    assert (refusal is None) == (status == 200)
    if refusal is not None:
        assert refusal.code


def test_outcomes_are_no_truth_values() -> None:
    """An outcome in an `if` is a mistake and raises."""
    outcomes = [
        Judged(Verdict.ACCEPTED, LicenseState()),
        SyncResult(ok=True, code="ok", status=LicenseStatus.ACTIVE),
        LicenseSaved(saved=True),
        Lease(held=True, until=START),
    ]
    for outcome in outcomes:
        with pytest.raises(TypeError, match="use "):
            bool(outcome)


def test_the_mark_of_nothing_is_below_everything() -> None:
    """Any first answer is newer than none."""
    assert LicenseState().mark == NOTHING_YET
    rules = ExchangeRules(LicenseReader(KUPLOY_CLOUD, None), Rules(), "1")
    assert rules.reader.trust is Trust.TLS_ONLY
    assert Refusal("http.4xx", "license_revoked").demotes_to is not None


def test_two_spellings_of_a_key_need_both() -> None:
    """An alias beside its key never grants more than either says."""
    limits = {**payload(START)["limits"], "maxProjects": 9}
    read = READER.read(payload(START, features={"whiteLabel": True, "whitelabel": False}, limits=limits))
    assert read.grant.features == frozenset()
    read = READER.read(payload(START, features={"whitelabel": True}))
    assert read.grant.features == {"whiteLabel"}


def test_a_limit_that_is_spelled_twice_is_the_smaller() -> None:
    """-1 is unlimited and never the smaller one; plans are read as licenses are."""
    schema = KUPLOY_CLOUD.with_keys(limits=[LimitSpec("maxWidgets", "Widgets", aliases=("max_widgets",))])
    both = {"max_widgets": 3, "maxWidgets": -1}
    catalog = {"revision": 1, "plans": [plan("free", isDefault=True, limits={**both, "maxWidgets": 2})]}
    limits = {**payload(START)["limits"], **both}
    read = PayloadReader(schema).read(payload(START, limits=limits, catalog=catalog))
    assert read.grant.limits["maxWidgets"] == 3
    assert read.catalog.catalog is not None
    assert read.catalog.catalog.default.limits["maxWidgets"] == 2
