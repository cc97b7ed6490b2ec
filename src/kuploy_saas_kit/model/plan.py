"""Plans (L2) and the catalog of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kuploy_saas_kit.errors import CatalogError, InvalidValueError, UnknownPlanError
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import ALL, AllFeatures, FeatureSet, feature_set
from kuploy_saas_kit.model.limits import UNLIMITED, Limits, LimitValue
from kuploy_saas_kit.model.money import Price

INTERNAL_SLUG: Final = "internal"
_MAX_SLUG: Final = 200


@dataclass(frozen=True, slots=True, init=False)
class Plan:
    """What an org may be on. Fully explicit: a feature that it does not name is off, a limit is 0.

    Prices are in minor units. A default plan is given to new orgs and never sold; an inactive plan is not sold
    and keeps its rights for those who are on it.
    """

    slug: str
    name: str
    price: Price | None
    features: FeatureSet
    limits: Limits
    is_default: bool
    is_active: bool
    description: str
    entitlements: Entitlements = field(init=False, compare=False, repr=False)

    def __init__(  # noqa: PLR0913 - a plan is a row of `cloud_plans`; each column is one argument
        self,
        slug: str,
        name: str,
        price: Price | None = None,
        features: Iterable[str] | AllFeatures = (),
        limits: Mapping[str, LimitValue] | None = None,
        *,
        is_default: bool = False,
        is_active: bool = True,
        description: str = "",
    ) -> None:
        assign: Any = object.__setattr__
        assign(self, "slug", _checked_slug(slug))
        assign(self, "name", name)
        assign(self, "price", price)
        assign(self, "features", feature_set(features))
        assign(self, "limits", limits if isinstance(limits, Limits) else Limits(limits))
        assign(self, "is_default", is_default)
        assign(self, "is_active", is_active)
        assign(self, "description", description)
        assign(self, "entitlements", Entitlements.of_checked(self.features, self.limits))
        _check_explicit(self)

    @property
    def is_internal(self) -> bool:
        """Whether this is `INTERNAL`."""
        return self.slug == INTERNAL_SLUG

    @property
    def is_billable(self) -> bool:
        """Whether the plan is to be sold: active, not the default, with a price above 0."""
        return self.is_active and not self.is_default and self.price is not None and self.price.amount > 0


class PlanCatalog:
    """The plans of an instance: unique slugs, exactly one active default. Immutable; `==` is by value."""

    __slots__ = ("_by_slug", "_default")

    def __init__(self, plans: Iterable[Plan]) -> None:
        listed = tuple(plans)
        self._by_slug: dict[str, Plan] = {plan.slug: plan for plan in listed}
        if len(self._by_slug) != len(listed):
            raise _not_unique(listed)
        if INTERNAL_SLUG in self._by_slug:
            raise CatalogError(f"the slug {INTERNAL_SLUG!r} is reserved for the plan that the kit brings itself")
        self._default = _only_default(listed)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All plans in the given order, inactive ones too."""
        return tuple(self._by_slug.values())

    @property
    def default(self) -> Plan:
        """The plan of an org that has neither subscription nor assignment."""
        return self._default

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and probably not meant."""
        return tuple(warning for plan in self for warning in _plan_warnings(plan))

    def plan(self, slug: str) -> Plan:
        """The plan with this slug, `INTERNAL` included; `UnknownPlanError` for others."""
        plan = self.get(slug)
        if plan is None:
            known = ", ".join([*self._by_slug, INTERNAL_SLUG])
            raise UnknownPlanError(f"there is no plan {slug!r}; the catalog has {known}")
        return plan

    def get(self, slug: str) -> Plan | None:
        """The plan with this slug, `INTERNAL` included, or None."""
        return INTERNAL if slug == INTERNAL_SLUG else self._by_slug.get(slug)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._by_slug.values())

    def __len__(self) -> int:
        return len(self._by_slug)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PlanCatalog):
            return NotImplemented
        return self._by_slug == other._by_slug

    def __hash__(self) -> int:
        return hash(frozenset(self._by_slug.values()))

    def __repr__(self) -> str:
        return f"PlanCatalog({', '.join(self._by_slug)})"


def _checked_slug(slug: object) -> str:
    if not isinstance(slug, str) or not 0 < len(slug) <= _MAX_SLUG or not slug.isprintable() or slug != slug.strip():
        raise InvalidValueError(f"a plan slug is 1 to {_MAX_SLUG} printable characters; got {str(slug)[:40]!r}")
    return slug


def _check_explicit(plan: Plan) -> None:
    if plan.is_internal:
        if plan.entitlements != Entitlements.TOP:
            raise InvalidValueError(f"the slug {INTERNAL_SLUG!r} is reserved for the plan that the kit brings itself")
    elif isinstance(plan.features, AllFeatures) or plan.limits.default != 0:
        raise InvalidValueError(
            f"plan {plan.slug!r} must name its features and limits one by one; only Internal has all"
        )


def _not_unique(plans: tuple[Plan, ...]) -> CatalogError:
    twice = sorted(slug for slug, count in Counter(plan.slug for plan in plans).items() if count > 1)
    return CatalogError(f"plan slugs must be unique; more than once: {', '.join(twice)}")


def _only_default(plans: tuple[Plan, ...]) -> Plan:
    defaults = [plan for plan in plans if plan.is_default]
    if len(defaults) != 1:
        named = ", ".join(plan.slug for plan in defaults) or "none is"
        raise CatalogError(f"exactly one plan must be the default; marked as default: {named}")
    if not defaults[0].is_active:
        raise CatalogError(f"the default plan {defaults[0].slug!r} must be active")
    return defaults[0]


def _plan_warnings(plan: Plan) -> Iterator[str]:
    if plan.is_default and plan.price is not None and plan.price.amount > 0:
        yield f"{plan.slug}: the default plan has a price, and is never sold"
    if plan.price is not None and plan.price.below_minimum:
        yield f"{plan.slug}: {plan.price} is below the smallest amount that can be charged"


INTERNAL: Final = Plan(
    INTERNAL_SLUG,
    "Internal",
    features=ALL,
    limits=Limits(default=UNLIMITED),
    description="Everything that the license grants, without billing.",
)
"""The plan for the operator's own orgs: up to, never above, the ceiling. It is assigned and never sold."""
