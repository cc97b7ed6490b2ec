"""The hub's payload as frozen values, made of what `shapes.py` let in.

Source: hub protocol v1, section 1. Times on the wire are whole seconds since the epoch, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from kuploy_saas_kit.errors import CatalogError, InvalidValueError, NeverGateKeyError, PayloadRejectedError
from kuploy_saas_kit.license.shapes import (
    CATALOG,
    SCHEMA_VERSION,
    TERMS,
    CatalogShape,
    PlanShape,
    TermsShape,
    payload_at_once,
)
from kuploy_saas_kit.license.strict_json import parse_strict
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import UNLIMITED, Limits, LimitValue
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import ProductSchema, UnknownKey

_BOUNDS: Final = frozenset({"string_too_long", "string_too_short", "string_pattern_mismatch", "too_long", "too_short"})


class PayloadStatus(StrEnum):
    """What the hub says of the license."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class CatalogPart:
    """The payload's catalog, judged on its own: the plans, or why there are none (*error*).

    *revision* is None where the payload has no catalog or an unreadable one; *is_empty* says that the hub
    explicitly sent no plans.
    """

    revision: int | None = None
    catalog: PlanCatalog | None = None
    error: str | None = None
    is_empty: bool = False
    unknown_keys: tuple[UnknownKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensePayload:
    """What the hub says, as values. *epoch* and *revision* are None where an unsigned hub sends none.

    *has_room* says whether any named limit is above 0.
    """

    issuer: str
    product_type: str
    license_id: str
    tenant_id: str
    instance_id: str
    key_hash: str
    epoch: int | None
    revision: int | None
    issued_at: datetime
    fresh_until: datetime
    grace_until: datetime
    paid_until: datetime | None
    status: PayloadStatus
    status_reason: str
    grant: LicenseGrant
    has_room: bool
    periods: Mapping[str, tuple[datetime, datetime]]
    usage_elsewhere: Mapping[str, int]
    allowances: Mapping[str, LimitValue]
    catalog: CatalogPart
    nonce: str | None
    unknown_keys: tuple[UnknownKey, ...]


class PayloadReader:
    """Reads payloads of one product. A grant or a catalog that is written as the last one was is not built again."""

    def __init__(self, schema: ProductSchema) -> None:
        self._schema = schema
        self._last_catalog: tuple[CatalogShape | None, CatalogPart] = (None, CatalogPart())
        self._last_grant: tuple[object, LicenseGrant] = (None, LicenseGrant(""))

    def read_bytes(self, data: bytes) -> LicensePayload:
        """*data* (JSON) as a payload; `PayloadRejectedError` with a `payload.` code otherwise."""
        whole = payload_at_once(data)
        if whole is None:
            return self.read(parse_strict(data))
        return self._payload(whole, self._read_catalog(whole.get("catalog")))

    def read(self, document: object) -> LicensePayload:
        """*document* (parsed JSON) as a payload; `PayloadRejectedError` with a `payload.` code otherwise."""
        if not isinstance(document, dict):
            raise PayloadRejectedError("the payload is not an object", code="payload.schema")
        _check_version(document.get("schema"))
        try:
            terms = TERMS.validate_python(document)
        except ValidationError as error:
            raise PayloadRejectedError(f"the payload is refused: {_what(error)}", code=_code(error)) from None
        shape = _catalog_shape(document.get("catalog"))
        return self._payload(terms, shape if isinstance(shape, CatalogPart) else self._read_catalog(shape))

    def _read_catalog(self, shape: CatalogShape | None) -> CatalogPart:
        seen, part = self._last_catalog
        if shape != seen:
            part = _catalog(shape, self._schema)
            self._last_catalog = shape, part
        return part

    def _read_grant(self, terms: TermsShape) -> LicenseGrant:
        written = (terms["plan"], terms["features"], terms["limits"])
        seen, grant = self._last_grant
        if written != seen:
            limits = Limits.of_checked(_limits(terms["limits"], self._schema), default=UNLIMITED)
            grant = LicenseGrant(terms["plan"], _features(terms["features"], self._schema), limits)
            self._last_grant = written, grant
        return grant

    def _payload(self, terms: TermsShape, catalog: CatalogPart) -> LicensePayload:
        schema, paid_until = self._schema, terms.get("paid_until")
        _check_required_limits(terms, schema)
        return LicensePayload(
            issuer=terms["iss"],
            product_type=terms["product_type"],
            license_id=terms["license_id"],
            tenant_id=terms["tenant_id"],
            instance_id=terms["instance_id"],
            key_hash=terms["key_hash"],
            epoch=terms.get("epoch"),
            revision=terms.get("revision"),
            issued_at=_instant(terms["issued_at"]),
            fresh_until=_instant(terms["fresh_until"]),
            grace_until=_instant(terms["grace_until"]),
            paid_until=None if paid_until is None else _instant(paid_until),
            status=PayloadStatus(terms["status"]),
            status_reason=terms.get("status_reason", ""),
            grant=self._read_grant(terms),
            has_room=any(terms["limits"].values()),
            periods=_periods(terms.get("periods", {}), schema),
            usage_elsewhere=_counts(terms.get("usage_elsewhere", {}), schema),
            allowances=MappingProxyType(_limits(terms.get("allowances", {}), schema)),
            catalog=catalog,
            nonce=terms.get("nonce"),
            unknown_keys=schema.unknown_keys(terms["features"], terms["limits"], where="the license"),
        )


def _check_version(version: object) -> None:
    if type(version) is not int:
        raise PayloadRejectedError("the payload names no schema version", code="payload.schema")
    if version != SCHEMA_VERSION:
        raise PayloadRejectedError(
            f"the payload has schema version {version}, this kit reads {SCHEMA_VERSION}: upgrade kuploy-saas-kit",
            code="payload.schema_version",
        )


def _check_required_limits(terms: TermsShape, schema: ProductSchema) -> None:
    if terms["limits"].keys() >= schema.required_limits:
        return
    missing = schema.required_limits - {schema.canonical(key) for key in terms["limits"]}
    if missing:
        raise PayloadRejectedError(
            f"the payload does not name the limits {', '.join(sorted(missing))}", code="payload.schema"
        )


def read_catalog(document: object, schema: ProductSchema) -> CatalogPart:
    """The payload's catalog; what is wrong with it is its `error` and harms nothing else."""
    shape = _catalog_shape(document)
    return shape if isinstance(shape, CatalogPart) else _catalog(shape, schema)


def read_plan_file(document: bytes, schema: ProductSchema) -> PlanCatalog:
    """The plans in a file: `{"plans": […]}`, each as the payload writes it.

    Raises:
        CatalogError: the file is no such catalog; the message says what is wrong.
    """
    try:
        content = parse_strict(document)
    except PayloadRejectedError as error:
        raise CatalogError(f"the plans cannot be read: {error}") from None
    if isinstance(content, dict):
        content = {"revision": 0, **content}
    part = read_catalog(content, schema)
    if part.catalog is None:
        raise CatalogError(part.error or 'the file has no plans: it is to be {"plans": [...]}')
    return part.catalog


def _catalog_shape(document: object) -> CatalogShape | CatalogPart | None:
    """*document* in the catalog's shape, or the part that says why it has not got it."""
    try:
        return None if document is None else CATALOG.validate_python(document)
    except ValidationError as error:
        return CatalogPart(error=f"the catalog is refused: {_what(error)}")


def _catalog(shape: CatalogShape | None, schema: ProductSchema) -> CatalogPart:
    if shape is None:
        return CatalogPart()
    if not shape["plans"]:
        return CatalogPart(shape["revision"], error="the catalog has no plans", is_empty=True)
    try:
        plans, unknown = zip(*[_plan(plan, schema) for plan in shape["plans"]], strict=True)
        return CatalogPart(shape["revision"], PlanCatalog(plans), unknown_keys=tuple(chain(*unknown)))
    except (InvalidValueError, NeverGateKeyError) as error:
        return CatalogPart(error=f"the catalog is refused: {error}")


def _plan(shape: PlanShape, schema: ProductSchema) -> tuple[Plan, tuple[UnknownKey, ...]]:
    features, limits = shape.get("features", {}), shape.get("limits", {})
    is_plain = schema.has_plainly(features, limits)
    plan = Plan(
        shape["slug"],
        shape["name"],
        _price(shape),
        _granted(features) if is_plain else _features(features, schema),
        Limits.of_checked(_numbers(limits) if is_plain else _limits(limits, schema)),
        is_default=shape.get("is_default", False),
        is_active=shape.get("is_active", True),
        description=shape.get("description", ""),
    )
    return plan, () if is_plain else schema.check_plan(plan)


def _price(shape: PlanShape) -> Price | None:
    amount, currency = shape.get("price_cents"), shape.get("currency")
    if amount is None:
        return None
    if currency is None:
        raise InvalidValueError(f"plan {shape['slug']} has a price without a currency")
    return Price(amount, currency, shape.get("billing_cycle", BillingCycle.MONTHLY))


def _features(features: Mapping[str, bool], schema: ProductSchema) -> frozenset[str]:
    """The granted features; one that is spelled twice needs both."""
    if schema.aliases.keys().isdisjoint(features):
        return _granted(features)
    refused = {schema.canonical(key) for key, granted in features.items() if not granted}
    return frozenset(schema.canonical(key) for key, granted in features.items() if granted) - refused


def _granted(features: Mapping[str, bool]) -> frozenset[str]:
    return frozenset([key for key, granted in features.items() if granted])


def _limits(limits: Mapping[str, int], schema: ProductSchema) -> Mapping[str, LimitValue]:
    """The limits; of one that is spelled twice the smaller. Their shape has checked keys and numbers."""
    values = _numbers(limits)
    if schema.aliases.keys().isdisjoint(values):
        return values
    merged: dict[str, LimitValue] = {}
    for spelling, value in values.items():
        key = schema.canonical(spelling)
        merged[key] = min(merged.get(key, value), value)
    return merged


def _numbers(limits: Mapping[str, int]) -> Mapping[str, LimitValue]:
    if -1 not in limits.values():
        return limits
    return {key: UNLIMITED if number < 0 else number for key, number in limits.items()}


def _counts(counts: Mapping[str, int], schema: ProductSchema) -> Mapping[str, int]:
    return MappingProxyType({schema.canonical(key): value for key, value in counts.items()})


def _periods(periods: Mapping[str, Iterable[int]], schema: ProductSchema) -> Mapping[str, tuple[datetime, datetime]]:
    read: dict[str, tuple[datetime, datetime]] = {}
    for key, (start, end) in periods.items():
        if start >= end:
            raise PayloadRejectedError(f"the period of {key} ends before it begins", code="payload.schema")
        read[schema.canonical(key)] = _instant(start), _instant(end)
    return MappingProxyType(read)


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _code(error: ValidationError) -> str:
    kinds = {problem["type"] for problem in error.errors(include_url=False, include_input=False)}
    return "payload.bounds" if kinds <= _BOUNDS else "payload.schema"


def _what(error: ValidationError) -> str:
    """Where the first problem is and what is wrong; never a value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part)[:64] for part in problem["loc"] if str(part).isprintable())
    return f"{place[:200]}: {problem['msg'][:200]} ({error.error_count()} in all)"
