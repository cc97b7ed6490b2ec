"""Plans over `cloud_plans`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, RowMapping, select, update

from kuploy_saas_kit.adapters._rules import PlansUpdate, catalog_update, may_apply, plan_update
from kuploy_saas_kit.adapters.sql.connection import Ask, upsert
from kuploy_saas_kit.adapters.sql.feed import FeedVerbs
from kuploy_saas_kit.adapters.sql.layout import Tables
from kuploy_saas_kit.adapters.sql.projection import show_mappings
from kuploy_saas_kit.adapters.sql.rows import catalog_digest, plan_from_row, plan_row
from kuploy_saas_kit.errors import InvalidValueError, StorageError, StoredPlansError
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.plans.ports import PlanSaved, PlansReplaced, StoredPlans


class PlanVerbs(FeedVerbs):
    """`PlanStore` over `cloud_plans`; versions and the order of plans are in a table of the kit's own.

    The digest of the catalog that was stored last says that they are that catalog still; the plans are only counted.
    """

    def load_plans(self) -> StoredPlans:
        with self._reading() as connection:
            catalog = self._tables.catalog.c
            applied = connection.execute(select(catalog.revision, catalog.source)).one_or_none()
            rows = self._plan_rows(connection)
        revision, source = (None, "") if applied is None else applied
        stored = StoredPlans(None, revision, _versions(rows), source)
        return replace(stored, catalog=_catalog(_plans(rows), stored)) if rows else stored

    def replace_plans(self, catalog: PlanCatalog, *, revision: int, source: str = "") -> PlansReplaced:
        digest = catalog_digest(catalog)
        if revision >= 0:
            with self._asking() as ask:
                if self._stays(ask, (digest, len(catalog)), revision, source):
                    return PlansReplaced(applied=True)
        with self._writing() as connection:
            held = self._lock_catalog(connection)
            rows = self._plan_rows(connection)
            if not may_apply(held, revision, has_plans=bool(rows)):
                return PlansReplaced(applied=False)
            changes = catalog_update(_plans(rows), catalog)
            self._apply(connection, rows, changes)
            written = {"revision": revision, "source": source, "digest": digest}
            connection.execute(update(self._tables.catalog).values(written))
            return PlansReplaced(applied=True, changed=changes.changed, deactivated=changes.deactivated)

    def _stays(self, ask: Ask, plans: tuple[str, int], revision: int, source: str) -> bool:
        """Whether these *plans*, a digest and a number, are stored already, and under this revision from now on."""
        look, move = _of_the_same_plans(self._tables, ask.dialect)
        held = list(ask.rows(look, plans))
        if not held or held == [(revision, source)]:
            return bool(held)
        return bool(ask.rows(move, (plans[0], revision, source)))

    def put_plan(self, plan: Plan, *, expected_version: int) -> PlanSaved:
        with self._writing() as connection:
            self._lock_catalog(connection)
            rows = self._plan_rows(connection)
            version = _versions(rows).get(plan.slug, 0)
            if version != expected_version:
                return PlanSaved(saved=False, version=version)
            self._apply(connection, rows, plan_update(_plans(rows), plan))
            connection.execute(update(self._tables.catalog).values(digest=None))
            return PlanSaved(saved=True, version=version + 1)

    def _lock_catalog(self, connection: Connection) -> int | None:
        """The revision as stored, which nobody else changes until this transaction ends."""
        held: int | None = connection.execute(select(self._tables.catalog.c.revision).with_for_update()).scalar_one()
        return held

    def _plan_rows(self, connection: Connection) -> Sequence[RowMapping]:
        plans, versions = self._tables.cloud_plans, self._tables.plan_version
        found = (
            select(plans, versions.c.version, versions.c.position)
            .select_from(plans.outerjoin(versions, plans.c.planId == versions.c.slug))
            .order_by(versions.c.position.asc().nulls_last(), plans.c.planId)
        )
        return connection.execute(found).mappings().all()

    def _apply(self, connection: Connection, rows: Sequence[RowMapping], changes: PlansUpdate) -> None:
        if changes.rows:
            statement = upsert(connection, self._tables.cloud_plans)
            written = [plan_row(plan) for plan in changes.rows]
            columns = {name: statement.excluded[name] for name in written[0] if name != "planId"}
            connection.execute(statement.on_conflict_do_update(index_elements=["planId"], set_=columns), written)
            known = _versions(rows)
            added = [plan.slug for plan in changes.rows if plan.slug not in known]
            if added:
                show_mappings(connection, self._tables, added)
        risen = _risen(rows, changes)
        if risen:
            statement = upsert(connection, self._tables.plan_version)
            columns = {name: statement.excluded[name] for name in ("version", "position")}
            connection.execute(statement.on_conflict_do_update(index_elements=["slug"], set_=columns), risen)
        if changes.rows:
            self._changed(connection, [None])


@lru_cache(maxsize=64)
def _of_the_same_plans(tables: Tables, dialect: Dialect) -> tuple[str, str]:
    """Look for the revision and source of a catalog of this digest and size; give that digest others.

    The first plans, as many as the catalog has, are counted, and one is the default: a host's own tools may have
    deleted some, or taken the flag away.
    """
    written = dialect.identifier_preparer.format_table
    catalog, plans, versions = map(written, (tables.catalog, tables.cloud_plans, tables.plan_version))
    present = f'SELECT count(*) FROM {plans} JOIN {versions} ON "planId" = slug WHERE position < ?2'  # noqa: S608 - the host's own names
    has_default = f'EXISTS (SELECT 1 FROM {plans} WHERE "isDefault")'  # noqa: S608 - as above
    look = f"SELECT revision, source FROM {catalog} WHERE digest = ?1 AND ({present}) = ?2 AND {has_default}"  # noqa: S608 - as above
    move = f"UPDATE {catalog} SET revision = ?2, source = ?3 WHERE digest = ?1 AND revision <= ?2 RETURNING id"  # noqa: S608 - as above
    return look, move


def _risen(rows: Sequence[RowMapping], changes: PlansUpdate) -> list[dict[str, Any]]:
    versions, positions = _versions(rows), {row["planId"]: row["position"] for row in rows}
    written = {plan.slug for plan in changes.rows}
    return [
        {"slug": slug, "version": versions.get(slug, 0) + (slug in written), "position": position}
        for position, slug in enumerate(changes.order)
        if slug in written or positions.get(slug) != position
    ]


def _versions(rows: Sequence[RowMapping]) -> Mapping[str, int]:
    # A row that the host's own seed made has no version yet: it is as if it had been saved once.
    return {row["planId"]: row["version"] or 1 for row in rows}


def _plans(rows: Sequence[RowMapping]) -> dict[str, Plan]:
    return {row["planId"]: _plan(row) for row in rows}


def _plan(row: RowMapping) -> Plan:
    try:
        return plan_from_row(row)
    except (TypeError, ValueError) as error:
        raise StorageError(f"the stored plan {row['planId']!r} cannot be read: {error}") from error


def _catalog(plans: Mapping[str, Plan], stored: StoredPlans) -> PlanCatalog:
    try:
        return PlanCatalog(plans.values())
    except InvalidValueError as error:
        raise StoredPlansError(f"the stored plans are no catalog: {error}", stored) from error
