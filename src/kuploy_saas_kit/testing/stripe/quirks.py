"""What Stripe's documents leave open, as switches; and what an account may set, as settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Answers that Stripe does not document; code that is right is right under each of them."""

    reuses_deleted_ids: bool = False
    """A product id may be used again after its product was deleted."""
    lists_archived_prices: bool = False
    """`prices.list` without `active` answers archived prices as well."""
    sells_archived_prices: bool = True
    """A checkout session that was open before its price was archived can still be paid."""
    saves_refusals: bool = True
    """An idempotency key remembers a 400 or 404 that its endpoint answered, as it does any other outcome."""
    drops_stale_cursors: bool = True
    """A cursor whose object no longer matches the list's filter is `resource_missing`."""
    clamps_limits: bool = True
    """A `limit` outside 1 to 100 is taken as the nearest bound; otherwise it is a 400."""
    async_starts_active: bool = False
    """A subscription paid by a delayed method is active while its first payment is on the way."""
    unpaid_recovers: bool = True
    """Paying an open invoice of an unpaid subscription makes it active."""
    voids_unpaid_invoices: bool = False
    """Invoices made while a subscription is unpaid are closed at once; otherwise they stay drafts."""
    bare_key_conflicts: bool = False
    """The refusal of a taken lookup key names no parameter."""
    default_tax_behavior: Literal["unspecified", "exclusive", "inclusive"] = "unspecified"
    """What a price reads back that was made without a `tax_behavior`."""

    @classmethod
    def variants(cls) -> tuple[Quirks, ...]:
        """The documented answers, and one variant for each switch with only that one turned."""
        switches = [field for field in fields(cls) if isinstance(field.default, bool)]
        turned: list[dict[str, Any]] = [{switch.name: not switch.default} for switch in switches]
        return (cls(), *(cls(**change) for change in turned), cls(default_tax_behavior="exclusive"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator of the simulated account chose in Stripe's dashboard."""

    country: str = "CA"
    currency: str = "cad"
    retries: tuple[timedelta, ...] = (timedelta(days=3), timedelta(days=5), timedelta(days=7))
    """How long after each failed payment the next attempt comes."""
    after_retries: Literal["cancel", "unpaid", "pause", "past_due"] = "cancel"
    """What becomes of a subscription when its last attempt failed."""
    has_portal: bool = True
    """A default configuration of the customer portal was saved."""
    keeps_keys: timedelta = timedelta(hours=24)
    """How long idempotency keys are remembered."""
