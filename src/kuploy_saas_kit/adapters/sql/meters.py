"""Meters and announcements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from kuploy_saas_kit.adapters._rules import meter_sums, order_of
from kuploy_saas_kit.adapters.sql.connection import SqlVerbs, upsert
from kuploy_saas_kit.plans.ports import Announced, MeterEntry, MeterRecorded


class MeterVerbs(SqlVerbs):
    """`MeterStore` in SQL: the event's key and the totals are written in one transaction."""

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        sums = meter_sums(entries)
        events = self._tables.meter_event
        with self._writing() as connection:
            first = upsert(connection, events).values(event_key=event_key).on_conflict_do_nothing()
            is_new = connection.execute(first.returning(events.c.event_key)).first() is not None
            totals = self._add_up(connection, {place: amount if is_new else 0 for place, amount in sums.items()})
            return MeterRecorded(is_new, {place: totals[place] for place in sums})

    def _add_up(
        self, connection: Connection, sums: Mapping[tuple[str, str, datetime], int]
    ) -> dict[tuple[str, str, datetime], int]:
        meter = self._tables.meter
        totals = {}
        for (scope, limit, period), amount in sorted(sums.items(), key=lambda item: order_of(item[0])):
            row = {"scope": scope, "limit_key": limit, "period": period, "total": amount}
            added = upsert(connection, meter).values(row)
            added = added.on_conflict_do_update(
                index_elements=["scope", "limit_key", "period"], set_={"total": meter.c.total + amount}
            )
            totals[scope, limit, period] = connection.execute(added.returning(meter.c.total)).scalar_one()
        return totals

    def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        meter = self._tables.meter
        found = select(meter.c.total).where(
            meter.c.scope == scope, meter.c.limit_key == limit, meter.c.period == period
        )
        with self._reading() as connection:
            total: int | None = connection.execute(found).scalar_one_or_none()
        return total or 0


class AnnouncementVerbs(SqlVerbs):
    """`AnnouncementStore` in SQL."""

    def announce_once(self, name: str) -> Announced:
        table = self._tables.announcement
        with self._writing() as connection:
            first = upsert(connection, table).values(name=name).on_conflict_do_nothing().returning(table.c.name)
            return Announced(connection.execute(first).first() is not None)
