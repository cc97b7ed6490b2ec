"""What the instance reports to the hub: what its gate has counted."""

from __future__ import annotations

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.license.ports import MeterReport, UsageReport
from kuploy_saas_kit.model.product import LimitKind, ProductSchema
from kuploy_saas_kit.plans.metering import license_period
from kuploy_saas_kit.plans.ports import INSTANCE, CountingStore, LicenseView


class CountedUsage:
    """Reports to the hub what the gate has counted."""

    license: LicenseView | None = None

    def __init__(self, usage: CountingStore, schema: ProductSchema, clock: Clock) -> None:
        self._usage = usage
        self._schema = schema
        self._clock = clock

    def usage_report(self) -> UsageReport:
        counted = self._usage.usage_of(INSTANCE)
        known = {key: used for key, used in counted.items() if key in self._schema.limits}
        return UsageReport(known, [self._meter(key) for key in self._meters()])

    def _meters(self) -> list[str]:
        return [key for key, spec in self._schema.limits.items() if spec.kind is LimitKind.METER]

    def _meter(self, key: str) -> MeterReport:
        named = None if self.license is None else self.license.snapshot().meter_period(key)
        start, _ = license_period(named, self._clock.now())
        return MeterReport(key, start, self._usage.meter_total(INSTANCE, key, start))
