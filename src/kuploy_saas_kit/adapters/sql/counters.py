"""Counters: reading them, giving back, first and measured values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, func, literal, or_, select, update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import checked_amount, order_of
from kuploy_saas_kit.adapters.sql.connection import SqlVerbs, upsert
from kuploy_saas_kit.adapters.sql.take import locks_in_order
from kuploy_saas_kit.plans.ports import INSTANCE, CounterKey, GivenBack, UsagePut

_CHUNK: Final = 100
"""So many counters one statement asks for: databases bound both its parameters and its depth."""


class CounterVerbs(SqlVerbs):
    """The verbs of `UsageStore` that are no take."""

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        for (_, limit), amount in amounts.items():
            checked_amount(amount, limit)
        with self._writing() as connection:
            return self._subtract(connection, amounts)

    def _subtract(self, connection: Connection, amounts: Mapping[CounterKey, int]) -> GivenBack:
        held = self._locked_values(connection, amounts)
        returned = {counter: min(amounts[counter], used) for counter, used in held.items()}
        after = {counter: used - returned[counter] for counter, used in held.items()}
        self._set(connection, {counter: after[counter] for counter, amount in returned.items() if amount})
        drift = {counter: amount - returned.get(counter, 0) for counter, amount in amounts.items()}
        return GivenBack(
            used=after,
            returned={counter: amount for counter, amount in returned.items() if amount},
            drift={counter: amount for counter, amount in drift.items() if amount},
        )

    def usage_of(self, scope: str) -> Mapping[str, int]:
        usage = self._tables.usage
        with self._reading() as connection:
            rows = connection.execute(select(usage.c.limit_key, usage.c.used).where(usage.c.scope == scope)).all()
        return {row.limit_key: row.used for row in rows}

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        checked_amount(value, counter[1])
        with self._writing() as connection:
            self._seed(connection, counter, value)

    def _seed(self, connection: Connection, counter: CounterKey, value: int) -> None:
        scope, limit = counter
        row = {"scope": scope, "limit_key": limit, "used": value}
        connection.execute(upsert(connection, self._tables.usage).values(row).on_conflict_do_nothing())

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        checked_amount(value, limit)
        with self._writing() as connection:
            previous = self._first_values(connection, org_id, limit)
            instance = max(0, previous[INSTANCE, limit] + value - previous[org_id, limit])
            self._set(connection, {(org_id, limit): value, (INSTANCE, limit): instance})
            return UsagePut(previous[org_id, limit], instance)

    def _first_values(self, connection: Connection, org_id: str, limit: str) -> dict[CounterKey, int]:
        """The org's and the instance's counters, locked; made where they are missing, the instance's as the sum."""
        org, instance = both = (org_id, limit), (INSTANCE, limit)
        known = self._values(connection, both)
        if org not in known:
            self._seed(connection, org, 0)
        if instance not in known:
            self._locked_values(connection, [org])
            self._seed_sum(connection, limit)
        return self._locked_values(connection, both)

    def _seed_sum(self, connection: Connection, limit: str) -> None:
        usage = self._tables.usage
        total = func.coalesce(func.sum(usage.c.used), 0)
        summed = select(literal(INSTANCE), literal(limit), total).where(
            usage.c.limit_key == limit, usage.c.scope != INSTANCE
        )
        first = upsert(connection, usage).from_select(["scope", "limit_key", "used"], summed)
        connection.execute(first.on_conflict_do_nothing())

    def _values(self, connection: Connection, counters: Iterable[CounterKey]) -> dict[CounterKey, int]:
        return self._select(connection, counters, lock=False)

    def _locked_values(self, connection: Connection, counters: Iterable[CounterKey]) -> dict[CounterKey, int]:
        return self._select(connection, counters, lock=True)

    def _select(self, connection: Connection, counters: Iterable[CounterKey], *, lock: bool) -> dict[CounterKey, int]:
        usage = self._tables.usage
        found = select(usage.c.scope, usage.c.limit_key, usage.c.used)
        ordered = found.order_by(*locks_in_order(connection.dialect, usage))
        wanted = list(counters)
        in_order = sorted(wanted, key=order_of)
        values: dict[CounterKey, int] = {}
        for start in range(0, len(wanted), _CHUNK):
            # Not as pairs out of a list: SQLite would read the whole table.
            among = ordered.where(or_(*(_is(usage, counter) for counter in in_order[start : start + _CHUNK])))
            rows = connection.execute(among.with_for_update() if lock else among)
            values.update({(scope, limit): used for scope, limit, used in rows})
        return {counter: values[counter] for counter in wanted if counter in values}

    def _set(self, connection: Connection, values: Mapping[CounterKey, int]) -> None:
        """Write counters that this transaction has locked."""
        if not values:
            return
        usage = self._tables.usage
        statement = (
            update(usage)
            .where(usage.c.scope == bindparam("of_scope"), usage.c.limit_key == bindparam("of_limit"))
            .values(used=bindparam("value"))
        )
        rows: list[dict[str, Any]] = [
            {"of_scope": scope, "of_limit": limit, "value": value} for (scope, limit), value in values.items()
        ]
        connection.execute(statement, rows)


def _is(usage: Table, counter: CounterKey) -> ColumnElement[bool]:
    scope, limit = counter
    return and_(usage.c.scope == scope, usage.c.limit_key == limit)
