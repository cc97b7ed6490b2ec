"""The Stripe columns of `cloud_plans`: always the mappings of the current space."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select, update

from kuploy_saas_kit.adapters.sql.layout import Tables
from kuploy_saas_kit.adapters.sql.rows import space_row
from kuploy_saas_kit.model.subscription import StripeSpace


def is_shown(connection: Connection, tables: Tables, space: StripeSpace) -> bool:
    """Whether *space* is the current one."""
    return _shown(connection.execute(_current(tables)).one(), space)


def show_space(connection: Connection, tables: Tables, space: StripeSpace) -> bool:
    """Make *space* the current one; whether it was another one before."""
    if _shown(lock_space(connection, tables), space):
        return False
    connection.execute(update(tables.catalog).values(space_row(space)))
    show_mappings(connection, tables)
    return True


def lock_space(connection: Connection, tables: Tables) -> Row[Any]:
    """The current space's columns, which nobody else changes until this transaction ends."""
    return connection.execute(_current(tables).with_for_update()).one()


def _current(tables: Tables) -> Select[Any]:
    return select(tables.catalog.c.account_id, tables.catalog.c.livemode)


def _shown(row: Row[Any], space: StripeSpace) -> bool:
    return (row.account_id, row.livemode) == (space.account_id, space.livemode)


def show_mappings(connection: Connection, tables: Tables, slugs: Collection[str] | None = None) -> None:
    """Write the ids of the current space's mappings into the rows of these plans, or of all; no mapping is no id."""
    plans = tables.cloud_plans
    ids = {"stripeProductId": _mapped(tables, "product_id"), "stripePriceId": _mapped(tables, "price_id")}
    statement = update(plans).values(ids)
    connection.execute(statement if slugs is None else statement.where(plans.c.planId.in_(slugs)))


def _mapped(tables: Tables, column: str) -> Any:
    mapping, catalog = tables.mapping, tables.catalog
    is_shown = and_(mapping.c.account_id == catalog.c.account_id, mapping.c.livemode == catalog.c.livemode)
    found = select(mapping.c[column]).join_from(mapping, catalog, is_shown)
    return found.where(mapping.c.slug == tables.cloud_plans.c.planId).scalar_subquery()
