"""What is used: reports in any order, sums over instances, periods."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.hub.values import NOW, instance

from kuploy_saas_kit.hub.records import MeterTotal
from kuploy_saas_kit.hub.usage import (
    UsageReported,
    calendar_month,
    fold_report,
    license_usage,
    meter_periods,
    usage_elsewhere,
)
from kuploy_saas_kit.model.limits import MAX_LIMIT
from kuploy_saas_kit.model.product import KUPLOY_CLOUD, LEERAM_BUSINESS

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
MINUTES = "buildMinutesPerMonth"


def test_an_older_report_changes_no_gauge() -> None:
    """Gauges follow the highest sequence number; the same number again is the newer report."""
    first = fold_report(instance("inst_one"), UsageReported(report_seq=5, usage={"maxApps": 3}))
    late = fold_report(first, UsageReported(report_seq=4, usage={"maxApps": 9}))
    again = fold_report(late, UsageReported(report_seq=5, usage={"maxApps": 2}))
    assert [first.usage, late.usage, again.usage] == [{"maxApps": 3}, {"maxApps": 3}, {"maxApps": 2}]


def test_a_partial_report_keeps_the_rest() -> None:
    """A key that a report leaves out keeps its value."""
    first = fold_report(instance("inst_one"), UsageReported(usage={"maxApps": 3, "maxProjects": 1}))
    assert fold_report(first, UsageReported(report_seq=1, usage={"maxApps": 4})).usage == {
        "maxApps": 4,
        "maxProjects": 1,
    }


def test_keys_and_meters_are_bounded() -> None:
    """An instance cannot fill the hub: old periods and surplus keys fall away."""
    meters = tuple(MeterTotal(MINUTES, OCTOBER + timedelta(days=day), day) for day in range(600))
    folded = fold_report(
        instance("inst_one"), UsageReported(usage={f"key{number}": 1 for number in range(300)}, meters=meters)
    )
    assert (len(folded.usage), len(folded.meters)) == (128, 512)
    assert folded.meters[-1] == meters[-1]


@given(
    totals=st.lists(st.integers(0, 10_000), min_size=1, max_size=12).map(sorted),
    lost=st.lists(st.booleans(), min_size=12, max_size=12),
    data=st.data(),
)
def test_lost_repeated_and_reordered_reports_do_no_harm(
    totals: list[int], lost: list[bool], data: st.DataObject
) -> None:
    """Whatever happens to earlier reports, after the last one arrives the hub's totals are the true ones."""
    reports = [
        UsageReported(report_seq=seq, usage={"maxApps": total % 7}, meters=(MeterTotal(MINUTES, NOVEMBER, total),))
        for seq, total in enumerate(totals)
    ]
    arriving = [report for report, gone in zip(reports, lost, strict=False) if not gone]
    arriving = [*arriving, *arriving, reports[-1]]
    held = instance("inst_one")
    for report in data.draw(st.permutations(arriving)):
        held = fold_report(held, report)
    assert held.usage == {"maxApps": totals[-1] % 7}
    assert license_usage([held]).meters == {(MINUTES, NOVEMBER): totals[-1]}


def test_elsewhere_counts_live_instances_in_units_of_the_limit() -> None:
    """Gauges add up; build seconds of this month round up to minutes; the gone and the removed count nothing."""
    meters = (MeterTotal(MINUTES, NOVEMBER, 61), MeterTotal(MINUTES, OCTOBER, 6000))
    others = [
        instance("inst_a", usage={"maxProjects": 2, "maxApps": 0}, meters=meters),
        instance("inst_b", usage={"maxProjects": 3}, meters=(MeterTotal(MINUTES, NOVEMBER, 58),)),
        instance("inst_gone", usage={"maxProjects": 100}, held_until=NOW),
        instance("inst_removed", usage={"maxProjects": 100}, is_removed=True),
    ]
    assert usage_elsewhere(others, KUPLOY_CLOUD, NOW) == {MINUTES: 2, "maxProjects": 5}


def test_sums_stay_within_64_bits() -> None:
    """Absurd reports add up to the largest number that the wire has."""
    others = [instance(name, usage={"maxApps": MAX_LIMIT}) for name in ("inst_a", "inst_b")]
    assert usage_elsewhere(others, KUPLOY_CLOUD, NOW) == {"maxApps": MAX_LIMIT}


def test_foreign_keys_do_not_crowd_out_the_product_s() -> None:
    """What is sent stays bounded, and the product's own limits are in it whatever instances report."""
    others = [
        instance(f"inst_{name}", usage={f"{name}{number:03}": 1 for number in range(120)} | {"maxProjects": 1})
        for name in ("a", "b")
    ]
    elsewhere = usage_elsewhere(others, KUPLOY_CLOUD, NOW)
    assert (len(elsewhere), elsewhere["maxProjects"]) == (128, 2)


def test_periods_are_calendar_months() -> None:
    """A meter's period is the month in UTC, over the end of a year too; other products have none."""
    december = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert calendar_month(december) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert meter_periods(KUPLOY_CLOUD, NOW) == {MINUTES: (NOVEMBER, datetime(2026, 12, 1, tzinfo=UTC))}
    assert meter_periods(LEERAM_BUSINESS, NOW) == {}
