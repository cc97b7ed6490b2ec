"""What orgs are on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, delete, insert, or_, select, true
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters._rules import trail_entry
from kuploy_saas_kit.adapters.sql.connection import upsert
from kuploy_saas_kit.adapters.sql.feed import FeedVerbs
from kuploy_saas_kit.adapters.sql.layout import Tables
from kuploy_saas_kit.adapters.sql.rows import assignment_from_row, assignment_row, subscription_from_row
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding, effective_subscription
from kuploy_saas_kit.plans.ports import AssignmentSaved, TrailEntry, TrailKind

_ASSIGNMENT = "assignment_"
_SUBSCRIPTION = "subscription_"


class StandingVerbs(FeedVerbs):
    """`StandingStore` and `AuditStore` in SQL.

    Every change of an org raises its row of `standing`, so one read finds all there is.
    """

    def standing(self, org_id: str) -> OrgStanding:
        with self._reading() as connection:
            rows = connection.execute(_found(self._tables, org_id)).mappings().all()
        if not rows:
            return OrgStanding()
        subscriptions = [
            subscription_from_row(_part(row, _SUBSCRIPTION)) for row in rows if row["subscription_status"] is not None
        ]
        given = _part(rows[0], _ASSIGNMENT)
        return OrgStanding(
            subscription=effective_subscription(subscriptions),
            assignment=assignment_from_row(given) if given["plan"] is not None else None,
            version=rows[0]["version"],
        )

    def put_assignment(self, assignment: Assignment) -> AssignmentSaved:
        table = self._tables.assignment
        with self._writing() as connection:
            self._raise_standings(connection, [assignment.org_id])
            previous = self._assignment(connection, assignment.org_id)
            row = assignment_row(assignment)
            given = upsert(connection, table).values(row)
            connection.execute(given.on_conflict_do_update(index_elements=["org_id"], set_=row))
            self._remember(connection, TrailKind.GIVEN, assignment)
            return AssignmentSaved(previous)

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        standing, table = self._tables.standing, self._tables.assignment
        with self._writing() as connection:
            # The org's standing is locked before its assignment, as every writer does.
            connection.execute(select(standing).where(standing.c.org_id == org_id).with_for_update())
            previous = self._assignment(connection, org_id)
            if previous is None:
                return AssignmentSaved(None)
            self._raise_standings(connection, [org_id])
            connection.execute(delete(table).where(table.c.org_id == org_id))
            ended = replace(previous, actor=actor, reason=reason, assigned_at=at, until=at)
            self._remember(connection, TrailKind.ENDED, ended)
            return AssignmentSaved(previous)

    def trail_of(self, org_id: str) -> Sequence[TrailEntry]:
        trail = self._tables.assignment_trail
        with self._reading() as connection:
            found = select(trail).where(trail.c.org_id == org_id).order_by(trail.c.id)
            rows = connection.execute(found).mappings().all()
        return tuple(trail_entry(TrailKind(row["kind"]), assignment_from_row(row)) for row in rows)

    def _assignment(self, connection: Connection, org_id: str) -> Assignment | None:
        table = self._tables.assignment
        row = connection.execute(select(table).where(table.c.org_id == org_id)).mappings().first()
        return assignment_from_row(row) if row is not None else None

    def _remember(self, connection: Connection, kind: TrailKind, assignment: Assignment) -> None:
        row = {"kind": kind, **assignment_row(assignment)}
        connection.execute(insert(self._tables.assignment_trail).values(row))
        self._changed(connection, [assignment.org_id])


def _found(tables: Tables, org_id: str) -> Select[Any]:
    standing, assignment, subscription = tables.standing, tables.assignment, tables.subscription
    joined = (
        standing.join(tables.catalog, true())
        .outerjoin(assignment, assignment.c.org_id == standing.c.org_id)
        .outerjoin(subscription, and_(subscription.c.org_id == standing.c.org_id, _counts(tables)))
    )
    columns = [*_labelled(assignment, _ASSIGNMENT), *_labelled(subscription, _SUBSCRIPTION)]
    return select(standing.c.version, *columns).select_from(joined).where(standing.c.org_id == org_id)


def _counts(tables: Tables) -> ColumnElement[bool]:
    """Whether a subscription is one of the current space; without a current space all of them count."""
    subscription, current = tables.subscription.c, tables.catalog.c
    is_current = and_(subscription.account_id == current.account_id, subscription.livemode == current.livemode)
    return or_(current.account_id.is_(None), is_current)


def _labelled(table: Table, prefix: str) -> list[Any]:
    return [column.label(prefix + column.name) for column in table.c]


def _part(row: RowMapping, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
