"""What was provisioned at Stripe, subscriptions and customers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from kuploy_saas_kit.adapters.memory.state import Verbs
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


class SpaceVerbs(Verbs):
    """`CurrentSpace` in memory."""

    def use_space(self, space: StripeSpace) -> None:
        with self._lock:
            if self._state.space != space:
                self._state.space = space
                self._changed(None)


class ProvisioningVerbs(Verbs):
    """`ProvisioningStore` and `FingerprintStore` in memory."""

    def load_mappings(self, space: StripeSpace) -> Mapping[str, PriceMapping]:
        with self._lock:
            return dict(self._state.mappings.get(space, {}))

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        with self._lock:
            held = self._state.mappings.get(space, {}).get(mapping.slug)
            if held is not None and held.revision > mapping.revision:
                return MappingPut(saved=False, revision=held.revision)
            self._state.prices[space, price.price_id] = price
            self._state.mappings.setdefault(space, {})[mapping.slug] = mapping
            return MappingPut(saved=True, revision=mapping.revision)

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        with self._lock:
            mappings = self._state.mappings.get(space, {})
            held = mappings.get(slug)
            if held is not None and held.revision > revision:
                return MappingDrop(dropped=False, revision=held.revision)
            mappings.pop(slug, None)
            return MappingDrop(dropped=True, revision=revision)

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        with self._lock:
            price = self._state.prices.get((space, price_id))
            return price.slug if price is not None else None

    def load_fingerprint(self, space: StripeSpace) -> str | None:
        with self._lock:
            return self._state.fingerprints.get(space)

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        with self._lock:
            if fingerprint is None:
                self._state.fingerprints.pop(space, None)
            else:
                self._state.fingerprints[space] = fingerprint


class SubscriptionVerbs(Verbs):
    """`SubscriptionStore` in memory."""

    def look_up_event(self, event_id: str) -> EventLookup:
        with self._lock:
            return EventLookup(event_id in self._state.events)

    def load_subscription(self, subscription_id: str) -> StoredSubscription:
        with self._lock:
            return self._state.subscriptions.get(subscription_id, StoredSubscription(None, 0))

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        with self._lock:
            held = self.load_subscription(row.subscription_id)
            if event_id in self._state.events:
                return SubscriptionPut(PutOutcome.DUPLICATE, held.row)
            if held.version != expected_version:
                return SubscriptionPut(PutOutcome.CONFLICT, held.row)
            if held.row != row:
                self._write(row, held, on_change)
            if event_id is not None:
                self._state.events.add(event_id)
            return SubscriptionPut(PutOutcome.SAVED, held.row)

    def _write(self, row: OrgSubscription, held: StoredSubscription, on_change: OnChange | None) -> None:
        self._state.subscriptions[row.subscription_id] = StoredSubscription(row, held.version + 1)
        try:
            if on_change is not None:
                on_change(SubscriptionChange(held.row, row), None)
        except BaseException:
            if held.row is None:
                del self._state.subscriptions[row.subscription_id]
            else:
                self._state.subscriptions[row.subscription_id] = held
            raise
        owners = {row.org_id, held.row.org_id if held.row is not None else None}
        for org_id in sorted(owner for owner in owners if owner is not None):
            self._changed(org_id)

    def subscriptions_of(self, org_id: str) -> Sequence[OrgSubscription]:
        return self._rows(lambda row: row.org_id == org_id)

    def unmatched_subscriptions(self, space: StripeSpace) -> Sequence[OrgSubscription]:
        return self._rows(lambda row: row.space == space and (row.org_id is None or row.plan is None))

    def _rows(self, wanted: Callable[[OrgSubscription], bool]) -> tuple[OrgSubscription, ...]:
        with self._lock:
            rows = (stored.row for stored in self._state.subscriptions.values())
            chosen = [row for row in rows if row is not None and wanted(row)]
        return tuple(sorted(chosen, key=lambda row: (row.created, row.subscription_id)))


class CustomerVerbs(Verbs):
    """`CustomerStore` in memory."""

    def customer_of(self, space: StripeSpace, org_id: str) -> str | None:
        with self._lock:
            return self._state.customers.get((space, org_id))

    def keep_customer(self, space: StripeSpace, org_id: str, customer_id: str) -> str:
        with self._lock:
            return self._state.customers.setdefault((space, org_id), customer_id)

    def replace_customer(self, space: StripeSpace, org_id: str, customer_id: str, *, instead_of: str) -> str:
        with self._lock:
            if self._state.customers.get((space, org_id), instead_of) == instead_of:
                self._state.customers[space, org_id] = customer_id
            return self._state.customers[space, org_id]

    def org_of_customer(self, space: StripeSpace, customer_id: str) -> str | None:
        with self._lock:
            owned = self._state.customers.items()
            return next((org for (where, org), held in owned if where == space and held == customer_id), None)
