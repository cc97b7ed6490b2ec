"""The plans that a tenant sells: edits under the ceiling of its tier, and how the wire writes them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from kuploy_saas_kit.errors import CatalogError, InvalidValueError
from kuploy_saas_kit.hub.records import TenantCatalog, TenantSubscription
from kuploy_saas_kit.model.features import AllFeatures, FeatureSet
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import SCHEMAS, ProductSchema
from kuploy_saas_kit.plans.ceiling import require_within_ceiling

_MAX_PLANS: Final = 200
_MAX_NAME: Final = 256
_MAX_DESCRIPTION: Final = 4096
_MAX_KEYS: Final = 256
# The whole answer, in base64, must stay under the 1 MiB that instances read.
_MAX_BYTES: Final = 512 * 1024


def product_schema(product_type: str) -> ProductSchema:
    """The schema of a product that this hub sells; `InvalidValueError` for others."""
    if product_type not in SCHEMAS:
        raise InvalidValueError(f"this hub sells {', '.join(sorted(SCHEMAS))}; there is no {product_type[:64]!r}")
    return SCHEMAS[product_type]


def tier_grant(product_type: str, tier: str) -> LicenseGrant:
    """What *tier* of the product grants; `InvalidValueError` for a tier that it does not have."""
    tiers = product_schema(product_type).tiers
    if tier not in tiers:
        raise InvalidValueError(f"{product_type} has no tier {tier[:64]!r}; its tiers are {', '.join(tiers)}")
    return tiers[tier]


def edit_catalog(held: TenantCatalog | None, subscription: TenantSubscription, plans: Iterable[Plan]) -> TenantCatalog:
    """The tenant's catalog once its plans are *plans*; the revision rises only if they differ.

    Raises:
        CatalogError: the plans contradict each other.
        CeilingExceededError: a plan has a feature that the tenant's tier does not grant.
        NeverGateKeyError: a plan names a key that must never be gated.
    """
    listed = PlanCatalog(plans).plans
    if len(listed) > _MAX_PLANS:
        raise CatalogError(f"a catalog has at most {_MAX_PLANS} plans; this one has {len(listed)}")
    for plan in listed:
        _check_plan(plan, subscription)
    _check_size(listed)
    if held is None:
        return TenantCatalog(
            tenant_id=subscription.tenant_id, product_type=subscription.product_type, revision=1, plans=listed
        )
    if held.plans == listed:
        return held
    return replace(held, revision=held.revision + 1, plans=listed)


def put_plan(held: TenantCatalog | None, subscription: TenantSubscription, plan: Plan) -> TenantCatalog:
    """The catalog with *plan* in the place of the one with its slug, or at the end; it raises as `edit_catalog`."""
    before = () if held is None else held.plans
    if any(known.slug == plan.slug for known in before):
        return edit_catalog(held, subscription, (plan if known.slug == plan.slug else known for known in before))
    return edit_catalog(held, subscription, (*before, plan))


def _check_plan(plan: Plan, subscription: TenantSubscription) -> None:
    if not 0 < len(plan.name) <= _MAX_NAME or not plan.name.isprintable():
        raise InvalidValueError(f"plan {plan.slug!r} needs a name of 1 to {_MAX_NAME} printable characters")
    if len(plan.description) > _MAX_DESCRIPTION:
        raise InvalidValueError(f"the description of plan {plan.slug!r} is over {_MAX_DESCRIPTION} characters")
    if len(_listed(plan.features)) > _MAX_KEYS or len(plan.limits) > _MAX_KEYS:
        raise InvalidValueError(f"plan {plan.slug!r} names more than {_MAX_KEYS} features or limits")
    product_schema(subscription.product_type).check_plan(plan)
    require_within_ceiling(plan, tier_grant(subscription.product_type, subscription.tier))


def _check_size(plans: tuple[Plan, ...]) -> None:
    size = len(json.dumps([plan_to_wire(plan) for plan in plans], ensure_ascii=False).encode())
    if size > _MAX_BYTES:
        raise CatalogError(f"the catalog has {size} bytes, and {_MAX_BYTES} at most can be sent: shorten descriptions")


def plan_to_wire(plan: Plan) -> dict[str, object]:
    """One plan as the payload writes it; one without a price has none of the three price fields."""
    return {
        "slug": plan.slug,
        "name": plan.name,
        **({} if plan.price is None else _price_to_wire(plan.price)),
        "limits": plan.limits.to_wire(),
        "features": dict.fromkeys(_listed(plan.features), True),
        "isDefault": plan.is_default,
        "isActive": plan.is_active,
        "description": plan.description,
    }


def _price_to_wire(price: Price) -> dict[str, object]:
    return {"priceCents": price.amount, "currency": price.currency, "billingCycle": price.cycle.value}


def _listed(features: FeatureSet) -> list[str]:
    """The keys in order; only Internal has all, and it is never in a catalog."""
    return [] if isinstance(features, AllFeatures) else sorted(features)
