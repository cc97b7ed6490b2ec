"""The changes of a diff: each is one step at Stripe or in the store, and prints like a line of a plan.

+ creates   ~ changes   - takes out of sale   ! cannot be done   · is left alone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from kuploy_saas_kit.model.money import Price, format_amount
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision.ports import PriceMapping

NEW_PRICE = "the new price"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What all changes have: the account and mode that they are for, and the plan."""

    space: StripeSpace
    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateProduct(_Step):
    """Make the plan's Product under its own id."""

    product_id: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return f"+ {self.slug}: product {self.product_id} {self.fields.get('name')!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateProduct(_Step):
    """Write the fields of the Product that differ."""

    product_id: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return f"~ {self.slug}: product {self.product_id} {', '.join(sorted(self.fields))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePrice(_Step):
    """Make the Price that has these terms, under the lookup key that says so."""

    product_id: str
    lookup_key: str
    price: Price
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        return f"+ {self.slug}: price {self.price}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactivatePrice(_Step):
    """Sell an archived Price again that has the terms which the plan has now."""

    price_id: str
    price: Price

    def __str__(self) -> str:
        return f"~ {self.slug}: price {self.price_id} {self.price} is sold again"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDefaultPrice(_Step):
    """Point the Product to the Price; None is the price that was made just before."""

    product_id: str
    price_id: str | None

    def __str__(self) -> str:
        return f"~ {self.slug}: default price is {self.price_id or NEW_PRICE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistMapping(_Step):
    """Sell the plan by this Price from now on; None is the price that was made just before."""

    product_id: str
    price_id: str | None
    lookup_key: str
    fingerprint: str
    revision: int

    @property
    def mapping(self) -> PriceMapping | None:
        """The mapping to store, None while the price has no id yet."""
        return None if self.price_id is None else self.mapping_to(self.price_id)

    def mapping_to(self, price_id: str) -> PriceMapping:
        """The mapping to store once the price has an id."""
        return PriceMapping(
            slug=self.slug,
            product_id=self.product_id,
            price_id=price_id,
            fingerprint=self.fingerprint,
            revision=self.revision,
        )

    def __str__(self) -> str:
        since = f" (catalog revision {self.revision})" if self.revision else ""
        return f"~ {self.slug}: checkouts sell {self.price_id or NEW_PRICE}{since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePrice(_Step):
    """Take an old Price out of sale. Its *subscribers* keep it; None: not counted."""

    price_id: str
    amount: int | None
    currency: str
    subscribers: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        terms = "" if self.amount is None else f" {format_amount(self.amount, self.currency)}"
        stay = "" if self.subscribers is None else f" ({self.subscribers} subscriptions stay on it)"
        return f"- {self.slug}: price {self.price_id}{terms} is archived{stay}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropMapping(_Step):
    """Stop selling the plan, unless a catalog newer than *revision* sells it."""

    revision: int

    def __str__(self) -> str:
        return f"- {self.slug}: checkouts do not sell it any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeactivateProduct(_Step):
    """Take the Product out of sale; its subscribers keep what they have."""

    product_id: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return f"- {self.slug}: product {self.product_id} is inactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(_Step):
    """Nothing is done for the plan, because it must not be; *reason* says what to mend."""

    reason: str
    ownership: bool = False

    def __str__(self) -> str:
        return f"! {self.slug}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped(_Step):
    """Nothing is done for the plan, because a newer catalog was applied."""

    reason: str

    def __str__(self) -> str:
        return f"· {self.slug}: {self.reason}"


Change: TypeAlias = (
    CreateProduct
    | UpdateProduct
    | CreatePrice
    | ReactivatePrice
    | SetDefaultPrice
    | PersistMapping
    | ArchivePrice
    | DropMapping
    | DeactivateProduct
    | Blocked
    | Skipped
)
"""One step of a diff. Two changes are equal when they do the same in the same account and mode."""
