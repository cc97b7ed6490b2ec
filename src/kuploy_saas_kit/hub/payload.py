"""The answer as the wire writes it (hub protocol, section 1). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeAlias

from kuploy_saas_kit.hub.catalogs import plan_to_wire, product_schema
from kuploy_saas_kit.hub.ledger import LicenseTerms
from kuploy_saas_kit.hub.records import TenantCatalog
from kuploy_saas_kit.model.limits import limit_to_wire

SCHEMA_VERSION: Final = 1

Payload: TypeAlias = dict[str, Any]
"""JSON of the payload before it is signed; nothing in the hub reads it back."""


def payload_of(terms: LicenseTerms) -> Payload:
    """*terms* in camelCase: every feature of the product by name, every limit that a payload must name."""
    payload: Payload = {
        "schema": SCHEMA_VERSION,
        "iss": terms.issuer,
        "productType": terms.license.product_type,
        "licenseId": terms.license.license_id,
        "tenantId": terms.license.tenant_id,
        "instanceId": terms.instance.instance_id,
        "keyHash": terms.license.key_hash,
        "epoch": terms.instance.epoch,
        "revision": terms.instance.revision,
        "issuedAt": _seconds(terms.issued_at),
        "freshUntil": _seconds(terms.fresh_until),
        "graceUntil": _seconds(terms.grace_until),
        "status": terms.status.value,
        "statusReason": terms.status_reason,
        "plan": terms.grant.tier,
        "features": _features(terms),
        "limits": _limits(terms),
        "periods": {key: [_seconds(start), _seconds(end)] for key, (start, end) in terms.periods.items()},
        "usageElsewhere": dict(terms.usage_elsewhere),
        "nonce": terms.nonce,
    }
    if terms.paid_until is not None:
        payload["paidUntil"] = _seconds(terms.paid_until)
    if terms.instance.allowances:
        payload["allowances"] = dict(terms.instance.allowances)
    if terms.catalog is not None:
        payload["catalog"] = _catalog(terms.catalog)
    return payload


def _features(terms: LicenseTerms) -> dict[str, bool]:
    schema = product_schema(terms.license.product_type)
    return {key: key in terms.grant.features for key in schema.features}


def _limits(terms: LicenseTerms) -> dict[str, int]:
    schema = product_schema(terms.license.product_type)
    named = sorted({*schema.required_limits, *terms.grant.limits})
    return {key: limit_to_wire(terms.grant.limits[key]) for key in named}


def _catalog(catalog: TenantCatalog) -> Payload:
    return {"revision": catalog.revision, "plans": [plan_to_wire(plan) for plan in catalog.plans]}


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp() // 1)
