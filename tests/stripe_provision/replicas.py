"""A shop that replicas provision step by step: each request to Stripe and each verb of the store is a step."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

import stripe
from tests.stripe_provision.explore import Ask, Program, Question
from tests.stripe_provision.world import TEST_SPACE, World

from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import KitError
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import StripeProvisioner
from kuploy_saas_kit.stripe_provision.ports import MadePrice, MappingDrop, MappingPut, PriceMapping


class Shop:
    """A simulator and a store.

    What is saved of them is all that provisioning can read there, and nothing else is left when it is loaded: no
    events, no requests, and no idempotency keys (each write has a fresh one).
    """

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.world = World(store=self.store)
        self.space = self.world.gateway.space()
        self._data = self.world.sim._spaces[False]

    def save(self) -> tuple[Hashable, Any]:
        """The products, the prices and all that was provisioned."""
        tables = {kind: self._data.table(kind) for kind in ("product", "price")}
        state = self.store._state
        provisioned = (state.space, state.mappings, state.prices, state.fingerprints)
        kept = copy.deepcopy((tables, self._data.lookup_keys, self.world.sim._world.counts["price"], provisioned))
        return repr(kept), kept

    def load(self, saved: Any) -> None:
        """Bring this state back."""
        tables, self._data.lookup_keys, made, provisioned = copy.deepcopy(saved)
        state, counts = self.store._state, self.world.sim._world.counts
        state.space, state.mappings, state.prices, state.fingerprints = provisioned
        self._data.tables.clear()
        self._data.tables.update(tables)
        counts.clear()
        counts["price"] = made
        self.world.sim.requests.clear()
        for memory in self.world.sim._engine._memories.values():
            memory.saved.clear()

    def replica(self, catalog: PlanCatalog, revision: int | None) -> Program:
        """A process that provisions the catalog once; how its run ends is its own affair."""

        def run(ask: Ask) -> None:
            gateway = self.world.gateway_on(_AskingWire(self.world.sim.http_client(), ask))  # type: ignore[arg-type]
            gateway._spaces.update(self.world.gateway._spaces)
            try:
                StripeProvisioner(gateway, _AskingStore(self.store, ask)).provision(catalog, revision=revision)
            except KitError:
                return

        return run

    def sold(self) -> dict[str, tuple[PriceMapping, int, bool]]:
        """What checkouts sell, for how much, and whether it can be bought."""
        prices, products = self._data.table("price"), self._data.table("product")
        return {
            slug: (
                mapping,
                prices[mapping.price_id]["unit_amount"],
                prices[mapping.price_id]["active"] and products[mapping.product_id]["active"],
            )
            for slug, mapping in self.store.load_mappings(TEST_SPACE).items()
        }


class _AskingWire(stripe.HTTPClient):
    name = "asking"

    def __init__(self, inner: stripe.HTTPClient, ask: Ask) -> None:
        super().__init__()
        self._inner = inner
        self._ask = ask

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **_: Any) -> Any:
        def put() -> Any:
            body, status, _ = self._inner.request(method, url, headers, post_data)
            return body, status, {}

        return self._ask(Question(f"{method} {url} {post_data}", put))


class _AskingStore:
    """A `CatalogStore` whose verbs are questions."""

    def __init__(self, inner: MemoryStore, ask: Ask) -> None:
        self._inner = inner
        self._ask = ask

    def use_space(self, space: StripeSpace) -> None:
        self._ask(Question(f"use {space}", lambda: self._inner.use_space(space)))

    def load_mappings(self, space: StripeSpace) -> dict[str, PriceMapping]:
        found: dict[str, PriceMapping] = self._ask(Question("mappings", lambda: dict(self._inner.load_mappings(space))))
        return found

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        put = Question(f"put {mapping} {price}", lambda: self._inner.put_mapping(space, mapping, price))
        outcome: MappingPut = self._ask(put)
        return outcome

    def drop_mapping(self, space: StripeSpace, slug: str, *, revision: int) -> MappingDrop:
        drop = Question(f"drop {slug} {revision}", lambda: self._inner.drop_mapping(space, slug, revision=revision))
        outcome: MappingDrop = self._ask(drop)
        return outcome

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        slug: str | None = self._ask(
            Question(f"plan of {price_id}", lambda: self._inner.plan_of_price(space, price_id))
        )
        return slug

    def load_fingerprint(self, space: StripeSpace) -> str | None:
        found: str | None = self._ask(Question("fingerprint", lambda: self._inner.load_fingerprint(space)))
        return found

    def save_fingerprint(self, space: StripeSpace, fingerprint: str | None) -> None:
        save = Question(f"save {fingerprint}", lambda: self._inner.save_fingerprint(space, fingerprint))
        self._ask(save)
