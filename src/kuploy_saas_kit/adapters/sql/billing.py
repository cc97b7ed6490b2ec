"""What was provisioned at Stripe, subscriptions and customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, or_, select, update
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.schema import Table

from kuploy_saas_kit.adapters.sql.connection import SqlVerbs, upsert
from kuploy_saas_kit.adapters.sql.feed import FeedVerbs
from kuploy_saas_kit.adapters.sql.projection import is_shown, lock_space, show_mappings, show_space
from kuploy_saas_kit.adapters.sql.rows import space_row, subscription_from_row, subscription_row
from kuploy_saas_kit.model.subscription import OrgSubscription, StripeSpace
from kuploy_saas_kit.stripe_provision.ports import (
    EventLookup,
    MadePrice,
    MappingDrop,
    MappingPut,
    OnChange,
    PriceMapping,
    PutOutcome,
    StoredSubscription,
    SubscriptionChange,
    SubscriptionPut,
)

_SPACE: Final = ["account_id", "livemode"]


def _in_space(table: Table, space: StripeSpace) -> ColumnElement[bool]:
    return and_(table.c.account_id == space.account_id, table.c.livemode == space.livemode)


class SpaceVerbs(FeedVerbs):
    """`CurrentSpace` in SQL; `cloud_plans` shows the Stripe ids of the current space."""

    def use_space(self, space: StripeSpace) -> None:
        with self._reading() as connection:
            if is_shown(connection, self._tables, space):
                return
        with self._writing() as connection:
            if show_space(connection, self._tables, space):
                self._changed(connection, [None])


class ProvisioningVerbs(SqlVerbs):
    """`ProvisioningStore` and `FingerprintStore` in SQL.

    Writers take their turn, so that `cloud_plans` shows what they wrote last.
    """

    def load_mappings(self, space: StripeSpace) -> Mapping[str, PriceMapping]:
        with self._reading() as connection:
            return self._mappings(connection, space)

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        made = {"slug": price.slug, "product_id": price.product_id, "lookup_key": price.lookup_key}
        sold = {
            "product_id": mapping.product_id,
            "price_id": mapping.price_id,
            "fingerprint": mapping.fingerprint,
            "revision": mapping.revision,
        }
        tables = self._tables
        with self._writing() as connection:
            lock_space(connection, tables)
            held = self._mappings(connection, space, mapping.slug).get(mapping.slug)
            if held is not None and held.revision > mapping.revision:
                return MappingPut(saved=False, revision=held.revision)
            _put(connection, tables.price, {**space_row(space), "price_id": price.price_id}, made)
            _put(connection, tables.mapping, {**space_row(space), "slug": mapping.slug}, sold)
            show_mappings(connection, tables, [mapping.slug])
            return MappingPut(saved=True, revision=mapping.revision)

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        table = self._tables.mapping
        with self._writing() as connection:
            lock_space(connection, self._tables)
            held = self._mappings(connection, space, slug).get(slug)
            if held is not None and held.revision > revision:
                return MappingDrop(dropped=False, revision=held.revision)
            connection.execute(delete(table).where(_in_space(table, space), table.c.slug == slug))
            show_mappings(connection, self._tables, [slug])
            return MappingDrop(dropped=True, revision=revision)

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        table = self._tables.price
        found = select(table.c.slug).where(_in_space(table, space), table.c.price_id == price_id)
        with self._reading() as connection:
            return connection.execute(found).scalar_one_or_none()

    def load_fingerprint(self, space: StripeSpace) -> str | None:
        table = self._tables.fingerprint
        with self._reading() as connection:
            found = select(table.c.fingerprint).where(_in_space(table, space))
            return connection.execute(found).scalar_one_or_none()

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        table = self._tables.fingerprint
        with self._writing() as connection:
            if fingerprint is None:
                connection.execute(delete(table).where(_in_space(table, space)))
            else:
                _put(connection, table, space_row(space), {"fingerprint": fingerprint})

    def _mappings(self, connection: Connection, space: StripeSpace, slug: str | None = None) -> dict[str, PriceMapping]:
        table = self._tables.mapping
        found = select(table).where(_in_space(table, space)).order_by(table.c.slug)
        rows = connection.execute(found if slug is None else found.where(table.c.slug == slug))
        return {
            row.slug: PriceMapping(
                slug=row.slug,
                product_id=row.product_id,
                price_id=row.price_id,
                fingerprint=row.fingerprint,
                revision=row.revision,
            )
            for row in rows
        }


def _put(connection: Connection, table: Table, key: dict[str, Any], values: dict[str, Any]) -> None:
    first = upsert(connection, table).values({**key, **values})
    connection.execute(first.on_conflict_do_update(index_elements=list(key), set_=values))


class SubscriptionVerbs(FeedVerbs):
    """`SubscriptionStore` in SQL: the row and the event's id are written in one transaction."""

    def look_up_event(self, event_id: str) -> EventLookup:
        with self._reading() as connection:
            return EventLookup(self._has_event(connection, event_id))

    def _has_event(self, connection: Connection, event_id: str) -> bool:
        table = self._tables.event
        return connection.execute(select(table.c.event_id).where(table.c.event_id == event_id)).first() is not None

    def load_subscription(self, subscription_id: str) -> StoredSubscription:
        with self._reading() as connection:
            return self._stored(connection, subscription_id, lock=False)

    def _stored(self, connection: Connection, subscription_id: str, *, lock: bool) -> StoredSubscription:
        table = self._tables.subscription
        found = select(table).where(table.c.subscription_id == subscription_id)
        row = connection.execute(found.with_for_update() if lock else found).mappings().one_or_none()
        if row is None:
            return StoredSubscription(None, 0)
        return StoredSubscription(subscription_from_row(row), row["version"])

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        with self._writing() as connection:
            held = self._stored(connection, row.subscription_id, lock=True)
            if event_id is not None and self._has_event(connection, event_id):
                return SubscriptionPut(PutOutcome.DUPLICATE, held.row)
            if held.version != expected_version:
                return SubscriptionPut(PutOutcome.CONFLICT, held.row)
            if event_id is not None and not self._insert_event(connection, event_id):
                return SubscriptionPut(PutOutcome.DUPLICATE, held.row)
            if held.row == row:
                return SubscriptionPut(PutOutcome.SAVED, held.row)
            if not self._write(connection, row, held.version):
                return self._lost(connection, row.subscription_id, event_id)
            self._enter(connection, SubscriptionChange(held.row, row), on_change)
            return SubscriptionPut(PutOutcome.SAVED, held.row)

    def _insert_event(self, connection: Connection, event_id: str) -> bool:
        table = self._tables.event
        first = upsert(connection, table).values(event_id=event_id).on_conflict_do_nothing()
        return connection.execute(first.returning(table.c.event_id)).first() is not None

    def _write(self, connection: Connection, row: OrgSubscription, version: int) -> bool:
        """Insert or update, only if the stored version still is *version*."""
        table = self._tables.subscription
        values = {**subscription_row(row), "version": version + 1}
        if version == 0:
            statement: Any = upsert(connection, table).values(values).on_conflict_do_nothing()
        else:
            at = and_(table.c.subscription_id == row.subscription_id, table.c.version == version)
            statement = update(table).where(at).values(values)
        return connection.execute(statement.returning(table.c.version)).first() is not None

    def _lost(self, connection: Connection, subscription_id: str, event_id: str | None) -> SubscriptionPut:
        # Somebody inserted the row after we had looked. The event is theirs to handle or ours to try again.
        if event_id is not None:
            connection.execute(delete(self._tables.event).where(self._tables.event.c.event_id == event_id))
        return SubscriptionPut(PutOutcome.CONFLICT, self._stored(connection, subscription_id, lock=False).row)

    def _enter(self, connection: Connection, change: SubscriptionChange, on_change: OnChange | None) -> None:
        if on_change is not None:
            on_change(change, connection)
        rows = [row for row in (change.before, change.after) if row is not None]
        org_ids = list(dict.fromkeys(row.org_id for row in rows if row.org_id is not None))
        self._raise_standings(connection, org_ids)
        self._changed(connection, org_ids)

    def subscriptions_of(self, org_id: str) -> Sequence[OrgSubscription]:
        return self._subscriptions(self._tables.subscription.c.org_id == org_id)

    def unmatched_subscriptions(self, space: StripeSpace) -> Sequence[OrgSubscription]:
        table = self._tables.subscription
        return self._subscriptions(and_(_in_space(table, space), or_(table.c.org_id.is_(None), table.c.plan.is_(None))))

    def _subscriptions(self, condition: ColumnElement[bool]) -> tuple[OrgSubscription, ...]:
        table = self._tables.subscription
        found = select(table).where(condition).order_by(table.c.created, table.c.subscription_id)
        with self._reading() as connection:
            return tuple(subscription_from_row(row) for row in connection.execute(found).mappings())


class CustomerVerbs(SqlVerbs):
    """`CustomerStore` in SQL."""

    def customer_of(self, space: StripeSpace, org_id: str) -> str | None:
        with self._reading() as connection:
            return self._customer(connection, space, org_id)

    def _customer(self, connection: Connection, space: StripeSpace, org_id: str) -> str | None:
        table = self._tables.customer
        found = select(table.c.customer_id).where(_in_space(table, space), table.c.org_id == org_id)
        customer_id: str | None = connection.execute(found).scalar_one_or_none()
        return customer_id

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        table = self._tables.customer
        row = {**space_row(space), "org_id": org_id, "customer_id": customer_id}
        with self._writing() as connection:
            connection.execute(upsert(connection, table).values(row).on_conflict_do_nothing())
            return self._customer(connection, space, org_id) or customer_id

    def replace_customer(self, space: StripeSpace, org_id: str, customer_id: str, *, instead_of: str) -> str:
        table = self._tables.customer
        row = {**space_row(space), "org_id": org_id, "customer_id": customer_id}
        with self._writing() as connection:
            first = upsert(connection, table).values(row)
            still = table.c.customer_id == instead_of
            set_ = {"customer_id": customer_id}
            connection.execute(first.on_conflict_do_update(index_elements=[*_SPACE, "org_id"], set_=set_, where=still))
            return self._customer(connection, space, org_id) or customer_id

    def org_of_customer(self, space: StripeSpace, customer_id: str) -> str | None:
        table = self._tables.customer
        found = select(table.c.org_id).where(_in_space(table, space), table.c.customer_id == customer_id)
        with self._reading() as connection:
            return connection.execute(found.order_by(table.c.org_id).limit(1)).scalar_one_or_none()
