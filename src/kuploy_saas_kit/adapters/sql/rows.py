"""The kit's values as rows, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from kuploy_saas_kit.adapters.sql.layout import LIMIT_COLUMNS
from kuploy_saas_kit.errors import CatalogError, InvalidValueError
from kuploy_saas_kit.license.ports import ClaimRecord
from kuploy_saas_kit.model.features import AllFeatures, FeatureSet
from kuploy_saas_kit.model.limits import Limits
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment, OrgSubscription, StripeSpace
from kuploy_saas_kit.plans.ports import CounterKey

_ASSIGNMENT: Final = tuple(field.name for field in fields(Assignment))
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, check_circular=False, separators=(",", ":"))
_SUBSCRIPTION: Final = tuple(field.name for field in fields(OrgSubscription) if field.name != "space")


def plan_row(plan: Plan) -> dict[str, Any]:
    """The plan's columns in `cloud_plans`, without those of Stripe; −1 is unlimited."""
    limits = plan.limits.to_wire()
    price = plan.price
    return {
        "planId": plan.slug,
        "name": plan.name,
        "price": price.amount if price is not None else None,
        "currency": price.currency if price is not None else None,
        "billingCycle": str(price.cycle) if price is not None else None,
        **{column: limits.pop(column, 0) for column in LIMIT_COLUMNS},
        "features": dict.fromkeys(_named(plan.features), True),
        "isDefault": plan.is_default,
        "isActive": plan.is_active,
        "description": plan.description,
        "limits": limits or None,
    }


def _named(features: FeatureSet) -> list[str]:
    if isinstance(features, AllFeatures):
        raise CatalogError("a row of plans names its features one by one")
    return sorted(features)


def catalog_digest(catalog: PlanCatalog) -> str:
    """The same for catalogs of the same plans in the same order, and for no others."""
    plans = [
        (
            *(plan.slug, plan.name, plan.description, plan.is_default, plan.is_active),
            (plan.price.amount, plan.price.currency, plan.price.cycle) if plan.price is not None else None,
            _named(plan.features),
            plan.limits.to_wire(),
        )
        for plan in catalog
    ]
    return sha256(_CANONICAL.encode(plans).encode()).hexdigest()


def plan_from_row(row: Mapping[Any, Any]) -> Plan:
    """The plan of a row of `cloud_plans`, which a host's own tools may have written: absent is 0, off or empty."""
    features = row["features"] or {}
    if not isinstance(features, dict):
        raise InvalidValueError('its features must be a JSON object such as {"customDomains": true}')
    named = {column: row[column] or 0 for column in LIMIT_COLUMNS}
    return Plan(
        row["planId"],
        row["name"],
        _price(row),
        [key for key, granted in features.items() if granted is True],
        Limits.from_wire({**(row["limits"] or {}), **named}),
        is_default=bool(row["isDefault"]),
        is_active=bool(row["isActive"]),
        description=row["description"] or "",
    )


def _price(row: Mapping[Any, Any]) -> Price | None:
    if row["price"] is None or row["currency"] is None:
        return None
    return Price(row["price"], row["currency"], BillingCycle(row["billingCycle"] or BillingCycle.MONTHLY))


def assignment_row(assignment: Assignment) -> dict[str, Any]:
    """The assignment's columns."""
    return asdict(assignment)


def assignment_from_row(row: Mapping[Any, Any]) -> Assignment:
    """The assignment of a row."""
    return Assignment(**{name: row[name] for name in _ASSIGNMENT})


def subscription_row(subscription: OrgSubscription) -> dict[str, Any]:
    """The subscription's columns, without the version."""
    return {**space_row(subscription.space), **{name: getattr(subscription, name) for name in _SUBSCRIPTION}}


def subscription_from_row(row: Mapping[Any, Any]) -> OrgSubscription:
    """The subscription of a row."""
    space = StripeSpace(row["account_id"], row["livemode"])
    return OrgSubscription(space=space, **{name: row[name] for name in _SUBSCRIPTION})


def space_row(space: StripeSpace) -> dict[str, Any]:
    """The columns that tell one side of one Stripe account from all others."""
    return {"account_id": space.account_id, "livemode": space.livemode}


def amounts_json(amounts: Mapping[CounterKey, int]) -> list[list[str | int]]:
    """What a holding holds, as JSON."""
    return [[scope, limit, amount] for (scope, limit), amount in sorted(amounts.items())]


def amounts_from_json(stored: list[list[Any]]) -> dict[CounterKey, int]:
    """What a holding holds."""
    return {(scope, limit): amount for scope, limit, amount in stored}


def claim_json(claim: ClaimRecord) -> dict[str, Any]:
    """A claim on its way, as JSON."""
    return {
        "code": claim.code,
        "secret": claim.secret,
        "expires_at": claim.expires_at.isoformat(),
        "interval_seconds": claim.interval.total_seconds(),
        "license_key": claim.license_key,
        "tenant_name": claim.tenant_name,
    }


def claim_from_json(stored: Mapping[str, Any]) -> ClaimRecord:
    """A claim on its way."""
    return ClaimRecord(
        code=stored["code"],
        secret=stored["secret"],
        expires_at=datetime.fromisoformat(stored["expires_at"]),
        interval=timedelta(seconds=stored["interval_seconds"]),
        license_key=stored["license_key"],
        tenant_name=stored["tenant_name"],
    )
