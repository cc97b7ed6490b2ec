"""What L1 permits: the rights in a license."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import feature_keys
from kuploy_saas_kit.model.limits import UNLIMITED, Limits, LimitValue


@dataclass(frozen=True, slots=True, init=False)
class LicenseGrant:
    """What the tenant's license permits: features that may be granted at all, and aggregate limits.

    A grant caps only the limits that it names; for all others (keys newer than the kit) it is `UNLIMITED`.
    """

    tier: str
    features: frozenset[str]
    limits: Limits
    entitlements: Entitlements = field(init=False, compare=False, repr=False)

    def __init__(
        self,
        tier: str,
        features: Iterable[str] = (),
        limits: Mapping[str, LimitValue] | None = None,
    ) -> None:
        assign: Any = object.__setattr__
        assign(self, "tier", tier)
        assign(self, "features", feature_keys(features))
        is_made = isinstance(limits, Limits) and limits.default is UNLIMITED
        assign(self, "limits", limits if is_made else Limits(limits, default=UNLIMITED))
        assign(self, "entitlements", Entitlements.of_checked(self.features, self.limits))
