"""What must change at Stripe so that it sells the catalog: pure, total, the same for any order of what was seen.

The order of the changes is the safety argument. For each plan: product, price, default price, then the mapping from
which checkouts sell, then the archive of old prices. So at every instant the mapping points to an active price of an
active product or is absent; a process may die between any two changes and the next run goes on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.changes import (
    ArchivePrice,
    Blocked,
    Change,
    CreatePrice,
    CreateProduct,
    DeactivateProduct,
    DropMapping,
    PersistMapping,
    ReactivatePrice,
    SetDefaultPrice,
    Skipped,
    UpdateProduct,
)
from kuploy_saas_kit.stripe_provision.ports import PriceMapping, RemotePrice, RemoteProduct


@dataclass(frozen=True, slots=True)
class Offer:
    """The terms that a plan is to be sold on, and the lookup key that names them."""

    price: Price
    lookup_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPlan:
    """What Stripe should have for one plan. Without *offer* it is not to be sold."""

    slug: str
    name: str
    description: str
    product_id: str
    offer: Offer | None
    fingerprint: str

    @property
    def is_sold(self) -> bool:
        """Whether the plan is to have a Price."""
        return self.offer is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What Stripe should have for a catalog: its plans by slug, in order of their slugs."""

    namespace: str
    revision: int | None
    plans: Mapping[str, WantedPlan]
    allow_empty: bool = False

    @property
    def fingerprint(self) -> str:
        """Tells whether anything is to be done; compared with what was provisioned completely last."""
        return naming.catalog_fingerprint((plan.fingerprint for plan in self.plans.values()), self.revision)

    @property
    def sells(self) -> bool:
        """Whether any plan is to be sold."""
        return any(plan.is_sold for plan in self.plans.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen, by id: the namespace's active prices and their products, and what else was asked for."""

    space: StripeSpace
    products: Mapping[str, RemoteProduct] = field(default_factory=dict)
    prices: Mapping[str, RemotePrice] = field(default_factory=dict)
    mappings: Mapping[str, PriceMapping] = field(default_factory=dict)


def wanted_catalog(
    catalog: PlanCatalog, *, namespace: str, revision: int | None = None, allow_empty: bool = False
) -> Wanted:
    """The names and prices that *catalog* asks for. Default, free and inactive plans have no price."""
    plans = sorted(catalog.plans, key=lambda plan: plan.slug)
    return Wanted(
        namespace=namespace,
        revision=revision,
        allow_empty=allow_empty,
        plans={
            plan.slug: WantedPlan(
                slug=plan.slug,
                name=plan.name,
                description=plan.description,
                product_id=naming.product_id(namespace, plan.slug),
                offer=_offer(namespace, plan),
                fingerprint=naming.plan_fingerprint(namespace, plan),
            )
            for plan in plans
        },
    )


def _offer(namespace: str, plan: Plan) -> Offer | None:
    if plan.price is None or not plan.is_billable:
        return None
    return Offer(plan.price, naming.lookup_key(namespace, plan.slug, plan.price))


def is_in_place(wanted: Wanted, fingerprint: str | None, mappings: Mapping[str, PriceMapping]) -> bool:
    """Whether, by local knowledge alone, nothing is to be done: no call to Stripe is needed."""
    if fingerprint != wanted.fingerprint:
        return False
    sold = {slug: plan.fingerprint for slug, plan in wanted.plans.items() if plan.is_sold}
    return sold == {slug: mapping.fingerprint for slug, mapping in mappings.items()}


def is_overtaken(wanted: Wanted, mappings: Mapping[str, PriceMapping]) -> bool:
    """Whether another replica has applied a newer catalog to all that is sold: nothing to look at."""
    if wanted.revision is None or not mappings:
        return False
    return all(mapping.revision > wanted.revision for mapping in mappings.values())


def products_to_find(wanted: Wanted, observed: Observed) -> tuple[str, ...]:
    """The ids of products that must be asked for: to be sold, and without an active price that would show them."""
    sold = (plan for plan in wanted.plans.values() if plan.is_sold)
    return tuple(plan.product_id for plan in sold if plan.product_id not in observed.products)


def keys_to_find(wanted: Wanted, observed: Observed) -> tuple[str, ...]:
    """The lookup keys that an archived price may hold, because no active one does."""
    held = {price.lookup_key for price in observed.prices.values()}
    keys = (plan.offer.lookup_key for plan in wanted.plans.values() if plan.offer is not None)
    return tuple(key for key in keys if key not in held)


def provision_changes(wanted: Wanted, observed: Observed) -> tuple[Change, ...]:
    """The changes that make Stripe sell *wanted*, in the order in which they are safe. Nothing to do: none."""
    twice = _ambiguous_ids(wanted)
    changes: list[Change] = []
    for plan in wanted.plans.values():
        if plan.product_id in twice:
            changes.append(_blocked(observed, plan, f"another slug has the product id {plan.product_id!r} too: rename"))
        elif plan.offer is not None:
            changes.extend(_sell(plan, plan.offer, wanted, observed))
        else:
            changes.extend(_retire(plan, wanted, observed))
    for plan in _absent(wanted, observed):
        changes.extend(_remove(plan, wanted, observed))
    return tuple(changes)


def _ambiguous_ids(wanted: Wanted) -> set[str]:
    counts = Counter(plan.product_id for plan in wanted.plans.values())
    return {product_id for product_id, count in counts.items() if count > 1}


def _absent(wanted: Wanted, observed: Observed) -> tuple[WantedPlan, ...]:
    """The plans that were made once and that the catalog does not have any more."""
    made = {product.metadata.get(naming.PLAN, "") for product in _owned(wanted, observed)}
    slugs = (made | set(observed.mappings)) - set(wanted.plans) - {""}
    return tuple(
        WantedPlan(
            slug=slug,
            name="",
            description="",
            product_id=naming.product_id(wanted.namespace, slug),
            offer=None,
            fingerprint="",
        )
        for slug in sorted(slugs)
    )


def _owned(wanted: Wanted, observed: Observed) -> Iterator[RemoteProduct]:
    return (item for item in observed.products.values() if naming.is_ours(item.metadata, wanted.namespace))


def _sell(plan: WantedPlan, offer: Offer, wanted: Wanted, observed: Observed) -> Iterator[Change]:
    product = observed.products.get(plan.product_id)
    found = _price_with_key(offer, observed)
    problem = _guard(plan, wanted, observed, product)
    if problem is not None:
        yield from _mend(plan, wanted, observed, product)
        yield problem
        return
    if found is not None and not _sells(found, plan, offer, wanted):
        yield _blocked(observed, plan, _wrong_holder(found, offer))
        return
    yield from _make_product(plan, wanted, observed, product, found)
    yield from _make_price(plan, offer, wanted, observed, found)
    price_id = found.id if found is not None else None
    if price_id is None or product is None or product.default_price != price_id:
        yield SetDefaultPrice(space=observed.space, slug=plan.slug, product_id=plan.product_id, price_id=price_id)
    yield from _persist(plan, offer, wanted, observed, price_id)
    for price in _active_prices(plan, wanted, observed):
        if price.id != price_id:
            yield _archive(plan, observed, price)


def _guard(
    plan: WantedPlan, wanted: Wanted, observed: Observed, product: RemoteProduct | None
) -> Blocked | Skipped | None:
    if product is not None and not naming.is_ours(product.metadata, wanted.namespace):
        reason = (
            f"product {product.id} exists and does not carry the mark of {wanted.namespace!r} in its metadata; "
            "it is left alone: give the plan another slug, or put the mark back"
        )
        return _blocked(observed, plan, reason, ownership=True)
    written = _written_revision(plan, observed, product)
    if wanted.revision is not None and written > wanted.revision:
        reason = f"catalog revision {written} was applied already, newer than {wanted.revision}"
        return Skipped(space=observed.space, slug=plan.slug, reason=reason)
    return None


def _mend(plan: WantedPlan, wanted: Wanted, observed: Observed, product: RemoteProduct | None) -> Iterator[Change]:
    """What an older catalog may have done to a plan while a newer one was applied: whoever sees it mends it.

    What the newer one sells can be bought; what it has taken out of sale is not offered.
    """
    held, space = observed.mappings.get(plan.slug), observed.space
    if product is None or product.active or held is None or not naming.is_ours(product.metadata, wanted.namespace):
        return
    if held.revision < naming.written_revision(product.metadata):
        yield DropMapping(space=space, slug=plan.slug, revision=held.revision)
    else:
        yield UpdateProduct(space=space, slug=plan.slug, product_id=product.id, fields={"active": True})


def _written_revision(plan: WantedPlan, observed: Observed, product: RemoteProduct | None) -> int:
    mapping = observed.mappings.get(plan.slug)
    return max(
        naming.written_revision(product.metadata) if product is not None else 0,
        mapping.revision if mapping is not None else 0,
    )


def _make_product(
    plan: WantedPlan, wanted: Wanted, observed: Observed, product: RemoteProduct | None, found: RemotePrice | None
) -> Iterator[Change]:
    if product is None:
        marks = naming.product_metadata(wanted.namespace, plan.slug, wanted.revision)
        fields: dict[str, object] = {"name": plan.name, "active": True, "metadata": marks}
        if plan.description:
            fields["description"] = plan.description
        yield CreateProduct(space=observed.space, slug=plan.slug, product_id=plan.product_id, fields=fields)
        return
    fields = _product_fields(plan, wanted, product)
    moves = found is None or product.default_price != found.id
    if _is_news(wanted, product) and (fields or moves):
        fields["metadata"] = _marks(plan, wanted, product)
    if fields:
        yield UpdateProduct(space=observed.space, slug=plan.slug, product_id=plan.product_id, fields=fields)


def _product_fields(plan: WantedPlan, wanted: Wanted, product: RemoteProduct) -> dict[str, object]:
    fields: dict[str, object] = {}
    if product.name != plan.name:
        fields["name"] = plan.name
    if product.description != plan.description:
        fields["description"] = plan.description
    if not product.active:
        fields["active"] = True
    if product.metadata.get(naming.PLAN) != plan.slug:
        fields["metadata"] = _marks(plan, wanted, product)
    return fields


def _is_news(wanted: Wanted, product: RemoteProduct) -> bool:
    """Whether the revision is to be announced before the price moves: an older catalog then keeps its hands off."""
    return naming.written_revision(product.metadata) < (wanted.revision or 0)


def _marks(plan: WantedPlan, wanted: Wanted, product: RemoteProduct) -> dict[str, str]:
    return naming.product_metadata(wanted.namespace, plan.slug, wanted.revision, seen=product.metadata)


def _price_with_key(offer: Offer, observed: Observed) -> RemotePrice | None:
    holders = [price for price in observed.prices.values() if price.lookup_key == offer.lookup_key]
    return min(holders, key=lambda price: price.id) if holders else None


def _sells(price: RemotePrice, plan: WantedPlan, offer: Offer, wanted: Wanted) -> bool:
    """Whether the price is ours and has exactly the offer's terms. The tax behaviour may be set by hand."""
    terms = (plan.product_id, offer.price.amount, offer.price.currency, naming.interval_of(offer.price), 1, "licensed")
    found = (price.product, price.amount, price.currency, price.interval, price.interval_count, price.usage_type)
    return found == terms and naming.is_ours(price.metadata, wanted.namespace)


def _wrong_holder(price: RemotePrice, offer: Offer) -> str:
    return (
        f"price {price.id} of product {price.product} holds the lookup key {offer.lookup_key!r} and sells something "
        "else; take the key away from it at Stripe"
    )


def _make_price(
    plan: WantedPlan, offer: Offer, wanted: Wanted, observed: Observed, found: RemotePrice | None
) -> Iterator[Change]:
    if found is None:
        yield CreatePrice(
            space=observed.space,
            slug=plan.slug,
            product_id=plan.product_id,
            lookup_key=offer.lookup_key,
            price=offer.price,
            metadata=naming.price_metadata(wanted.namespace, plan.slug),
        )
    elif not found.active:
        yield ReactivatePrice(space=observed.space, slug=plan.slug, price_id=found.id, price=offer.price)


def _persist(
    plan: WantedPlan, offer: Offer, wanted: Wanted, observed: Observed, price_id: str | None
) -> Iterator[Change]:
    held = observed.mappings.get(plan.slug)
    change = PersistMapping(
        space=observed.space,
        slug=plan.slug,
        product_id=plan.product_id,
        price_id=price_id,
        lookup_key=offer.lookup_key,
        fingerprint=plan.fingerprint,
        revision=_revision_to_write(wanted, held),
    )
    if change.mapping is None or change.mapping != held:
        yield change


def _revision_to_write(wanted: Wanted, held: PriceMapping | None) -> int:
    """The catalog's revision; without one that of what was seen, so that what came meanwhile is newer."""
    if wanted.revision is not None:
        return wanted.revision
    return held.revision if held is not None else 0


def _active_prices(plan: WantedPlan, wanted: Wanted, observed: Observed) -> Sequence[RemotePrice]:
    """The plan's active prices that we made; prices made by hand are left alone."""
    ours = (
        price
        for price in observed.prices.values()
        if price.product == plan.product_id and price.active and naming.is_ours(price.metadata, wanted.namespace)
    )
    return sorted(ours, key=lambda price: price.id)


def _archive(plan: WantedPlan, observed: Observed, price: RemotePrice) -> ArchivePrice:
    return ArchivePrice(
        space=observed.space, slug=plan.slug, price_id=price.id, amount=price.amount, currency=price.currency
    )


def _retire(plan: WantedPlan, wanted: Wanted, observed: Observed) -> Iterator[Change]:
    """Stop selling: no mapping, then no prices, then no product. The default price stays and cannot be bought."""
    product = observed.products.get(plan.product_id)
    if product is not None and not naming.is_ours(product.metadata, wanted.namespace):
        product = None
    is_offered = product is not None and product.active
    if plan.slug not in observed.mappings and not is_offered:
        return
    problem = _guard(plan, wanted, observed, product)
    if problem is not None:
        yield from _mend(plan, wanted, observed, product)
        yield problem
        return
    held = observed.mappings.get(plan.slug)
    if held is not None:
        if product is not None and _is_news(wanted, product):
            fields = {"metadata": _marks(plan, wanted, product)}
            yield UpdateProduct(space=observed.space, slug=plan.slug, product_id=plan.product_id, fields=fields)
        yield DropMapping(space=observed.space, slug=plan.slug, revision=_revision_to_write(wanted, held))
    if product is not None and is_offered:
        yield from _take_out_of_sale(plan, wanted, observed, product)


def _take_out_of_sale(plan: WantedPlan, wanted: Wanted, observed: Observed, product: RemoteProduct) -> Iterator[Change]:
    for price in _active_prices(plan, wanted, observed):
        if price.id != product.default_price:
            yield _archive(plan, observed, price)
    fields: dict[str, object] = {"active": False}
    if wanted.revision is not None:
        fields["metadata"] = _marks(plan, wanted, product)
    yield DeactivateProduct(space=observed.space, slug=plan.slug, product_id=plan.product_id, fields=fields)


def _remove(plan: WantedPlan, wanted: Wanted, observed: Observed) -> Iterator[Change]:
    changes = tuple(_retire(plan, wanted, observed))
    if changes and not wanted.sells and not wanted.allow_empty:
        reason = "the catalog lacks it and sells nothing at all; it stays on sale, for the shop is never emptied so"
        yield _blocked(observed, plan, reason)
        return
    yield from changes


def _blocked(observed: Observed, plan: WantedPlan, reason: str, *, ownership: bool = False) -> Blocked:
    return Blocked(space=observed.space, slug=plan.slug, reason=reason, ownership=ownership)
