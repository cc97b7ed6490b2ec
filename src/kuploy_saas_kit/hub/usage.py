"""What instances use: folding reports in, and adding up what the other instances of a license hold. Pure.

Gauges are ordered by the reporter's sequence number and meters only ever grow, so a report that is lost, repeated
or late does no harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from kuploy_saas_kit.hub.records import Instance, MeterTotal
from kuploy_saas_kit.model.limits import MAX_LIMIT
from kuploy_saas_kit.model.product import LimitKind, ProductSchema

_MAX_KEYS: Final = 128
_MAX_METERS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReported:
    """The usage part of a sync: absolute counts, and absolute totals of meters."""

    report_seq: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    meters: tuple[MeterTotal, ...] = ()


@dataclass(frozen=True, slots=True)
class LicenseUsage:
    """What all instances of a license use together: gauges by key, meters by (key, start of the period)."""

    gauges: Mapping[str, int]
    meters: Mapping[tuple[str, datetime], int]


def fold_report(instance: Instance, report: UsageReported) -> Instance:
    """The instance after *report*: gauges unless a later report was seen, and the larger total of each meter.

    A gauge that the report leaves out keeps its value: a part of a report is no report of zero.
    """
    meters = _largest((*instance.meters, *report.meters))
    if report.report_seq < instance.report_seq:
        return replace(instance, meters=meters)
    usage = dict(sorted({**instance.usage, **report.usage}.items())[:_MAX_KEYS])
    return replace(instance, report_seq=report.report_seq, usage=usage, meters=meters)


def usage_elsewhere(others: Iterable[Instance], schema: ProductSchema, now: datetime) -> dict[str, int]:
    """What the live ones of *others* hold together, in the units of the limits; keys with nothing are left out.

    A meter counts in its period at *now*, rounded up to whole units.
    """
    together = license_usage(instance for instance in others if instance.is_live(now))
    held = Counter(together.gauges)
    for key, spec in schema.limits.items():
        if spec.kind is LimitKind.METER:
            base_units = together.meters.get((key, calendar_month(now)[0]), 0)
            held[key] = -(-base_units // spec.base_units)
    # Instances bound what they read: where other keys would crowd it, those of the product stay.
    kept = sorted((key for key, total in held.items() if total), key=lambda key: (key not in schema.limits, key))
    return {key: min(held[key], MAX_LIMIT) for key in sorted(kept[:_MAX_KEYS])}


def license_usage(instances: Iterable[Instance]) -> LicenseUsage:
    """The sums over *instances*."""
    gauges: Counter[str] = Counter()
    meters: Counter[tuple[str, datetime]] = Counter()
    for instance in instances:
        gauges.update(instance.usage)
        meters.update({(meter.key, meter.period): meter.total for meter in instance.meters})
    return LicenseUsage(dict(gauges), dict(meters))


def meter_periods(schema: ProductSchema, now: datetime) -> dict[str, tuple[datetime, datetime]]:
    """The period [start, end) at *now* of each meter of the product."""
    month = calendar_month(now)
    return {key: month for key, spec in schema.limits.items() if spec.kind is LimitKind.METER}


def calendar_month(now: datetime) -> tuple[datetime, datetime]:
    """The month of *now* in UTC: its first instant and that of the next."""
    start = datetime(now.year, now.month, 1, tzinfo=UTC)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start, end


def _largest(meters: Iterable[MeterTotal]) -> tuple[MeterTotal, ...]:
    """One total for each (key, period), the newest periods first where there are too many."""
    totals: dict[tuple[datetime, str], int] = {}
    for meter in meters:
        slot = (meter.period, meter.key)
        totals[slot] = max(totals.get(slot, 0), meter.total)
    kept = sorted(totals, reverse=True)[:_MAX_METERS]
    return tuple(MeterTotal(key, period, totals[period, key]) for period, key in sorted(kept))
