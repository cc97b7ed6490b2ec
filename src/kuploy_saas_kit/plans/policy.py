"""What a host decides about its gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeAlias

from kuploy_saas_kit.model.product import KUPLOY_CLOUD, ProductSchema

CountUsage: TypeAlias = Callable[[str | None], int]
"""Counts what an org has now, or with None what the whole instance has."""

DEFAULT_PAST_DUE_GRACE: Final = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """The product's schema, and the host's choices.

    *past_due_grace*: how long an org keeps its plan after its oldest unpaid invoice was created.
    *counts*: how a counter that has no row gets its first value, by limit key; without an entry it begins at 0.
    *max_kept_orgs*: how many orgs' answers are kept in memory; above it the oldest go.
    """

    schema: ProductSchema = KUPLOY_CLOUD
    past_due_grace: timedelta = DEFAULT_PAST_DUE_GRACE
    counts: Mapping[str, CountUsage] = field(default_factory=dict)
    max_kept_orgs: int = 2_000_000
