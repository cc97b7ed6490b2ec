"""The bounded meet-semilattice of rights on which the kit stands.

`a & b` is what both grant, `a <= b` says that b grants at least all of a; `TOP` grants everything and `BOTTOM`
nothing. The algebra knows no schema, no time and no storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from kuploy_saas_kit.model.features import ALL, AllFeatures, FeatureSet, feature_set, is_subset, meet
from kuploy_saas_kit.model.limits import UNLIMITED, Limits, LimitValue


class Entitlements:
    """A set of feature keys (or all of them), and a limit for every limit key. Immutable; `==` is by value."""

    __slots__ = ("_features", "_limits")

    TOP: ClassVar[Entitlements]
    BOTTOM: ClassVar[Entitlements]

    def __init__(
        self,
        features: Iterable[str] | AllFeatures = (),
        limits: Mapping[str, LimitValue] | None = None,
        *,
        default: LimitValue = 0,
    ) -> None:
        self._features = feature_set(features)
        self._limits = limits if isinstance(limits, Limits) else Limits(limits, default=default)

    @classmethod
    def of_checked(cls, features: FeatureSet, limits: Limits) -> Entitlements:
        """The entitlements of a set and a function that were made already."""
        made = cls.__new__(cls)
        made._features, made._limits = features, limits  # noqa: SLF001 - a constructor of this very class
        return made

    @property
    def features(self) -> FeatureSet:
        """The granted features: a frozenset of keys, or `ALL`."""
        return self._features

    @property
    def limits(self) -> Limits:
        """The limit of every key; those that it does not name have its default."""
        return self._limits

    def allows(self, feature: str) -> bool:
        """Whether *feature* is granted."""
        return feature in self._features

    def limit(self, key: str) -> LimitValue:
        """The cap for *key* in wire units: an int, 0 for not available, or `UNLIMITED`."""
        return self._limits[key]

    def __and__(self, other: Entitlements) -> Entitlements:
        if not isinstance(other, Entitlements):
            return NotImplemented
        return Entitlements(meet(self._features, other._features), self._limits & other._limits)

    def __le__(self, other: Entitlements) -> bool:
        if not isinstance(other, Entitlements):
            return NotImplemented
        return is_subset(self._features, other._features) and self._limits <= other._limits

    def __ge__(self, other: Entitlements) -> bool:
        if not isinstance(other, Entitlements):
            return NotImplemented
        return other <= self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Entitlements):
            return NotImplemented
        return self._features == other._features and self._limits == other._limits

    def __hash__(self) -> int:
        return hash((self._features, self._limits))

    def __repr__(self) -> str:
        if self == Entitlements.TOP:
            return "Entitlements.TOP"
        features = "ALL" if isinstance(self._features, AllFeatures) else sorted(self._features)
        return f"Entitlements({features}, {self._limits!r})"


Entitlements.TOP = Entitlements(ALL, Limits(default=UNLIMITED))
Entitlements.BOTTOM = Entitlements()
