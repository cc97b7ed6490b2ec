"""The Stripe columns of `cloud_plans`: always the mappings of the space that was written to last."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, and_, select, update

from kuploy_saas_kit.adapters.sql.layout import Tables
from kuploy_saas_kit.adapters.sql.rows import space_row
from kuploy_saas_kit.model.subscription import StripeSpace


def show_space(connection: Connection, tables: Tables, space: StripeSpace) -> None:
    """Make *space* the one that is shown; nothing happens if it is already."""
    catalog = tables.catalog
    shown = connection.execute(select(catalog.c.account_id, catalog.c.livemode).with_for_update()).one()
    if (shown.account_id, shown.livemode) != (space.account_id, space.livemode):
        connection.execute(update(catalog).values(space_row(space)))
        show_mappings(connection, tables)


def show_mappings(connection: Connection, tables: Tables, slugs: Collection[str] | None = None) -> None:
    """Write the ids of the shown space's mappings into the rows of these plans, or of all; no mapping is no id."""
    plans = tables.cloud_plans
    ids = {"stripeProductId": _mapped(tables, "product_id"), "stripePriceId": _mapped(tables, "price_id")}
    statement = update(plans).values(ids)
    connection.execute(statement if slugs is None else statement.where(plans.c.planId.in_(slugs)))


def _mapped(tables: Tables, column: str) -> Any:
    mapping, catalog = tables.mapping, tables.catalog
    is_shown = and_(mapping.c.account_id == catalog.c.account_id, mapping.c.livemode == catalog.c.livemode)
    found = select(mapping.c[column]).join_from(mapping, catalog, is_shown)
    return found.where(mapping.c.slug == tables.cloud_plans.c.planId).scalar_subquery()
