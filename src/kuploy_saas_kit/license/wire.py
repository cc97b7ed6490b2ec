"""The hub's payload: strict pydantic models where the bytes enter, frozen values behind them.

Source: hub protocol v1, section 1. Times on the wire are whole seconds since the epoch, in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from kuploy_saas_kit.errors import InvalidValueError, NeverGateKeyError, PayloadRejectedError
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, Limits, LimitValue
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.product import ProductSchema, UnknownKey

SCHEMA_VERSION: Final = 1
_END_OF_TIME: Final = 221_845_391_999  # the last second of the year 8999: room to add to it
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]*$"
_BOUNDS: Final = frozenset({"string_too_long", "string_too_short", "string_pattern_mismatch", "too_long", "too_short"})

_Name = Annotated[str, Field(min_length=1, max_length=256, pattern=_PRINTABLE)]
_Text = Annotated[str, Field(max_length=1024, pattern=_PRINTABLE)]
_Key = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
_Count = Annotated[int, Field(ge=0, le=MAX_LIMIT)]
_Limit = Annotated[int, Field(ge=-1, le=MAX_LIMIT)]
_Instant = Annotated[int, Field(ge=0, le=_END_OF_TIME)]
_Features = Annotated[dict[_Key, bool], Field(max_length=256)]
_Limits = Annotated[dict[_Key, _Limit], Field(max_length=256)]
_Counts = Annotated[dict[_Key, _Count], Field(max_length=256)]
_Period = Annotated[list[_Instant], Field(min_length=2, max_length=2)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, hide_input_in_errors=True, alias_generator=to_camel
    )


class _WirePlan(_Wire):
    slug: _Name
    name: _Name
    price_cents: _Count | None = None
    currency: Annotated[str, Field(max_length=3)] | None = None
    billing_cycle: Literal["monthly", "annual"] = "monthly"
    limits: _Limits = {}
    features: _Features = {}
    is_default: bool = False
    is_active: bool = True
    description: Annotated[str, Field(max_length=4096)] = ""


class _WireCatalog(_Wire):
    revision: _Count
    plans: Annotated[list[_WirePlan], Field(max_length=500)]


class _WirePayload(_Wire):
    iss: _Name
    product_type: _Name
    license_id: _Name
    tenant_id: _Name
    instance_id: _Name
    key_hash: _Name
    epoch: _Count | None = None
    revision: _Count | None = None
    issued_at: _Instant
    fresh_until: _Instant
    grace_until: _Instant
    paid_until: _Instant | None = None
    status: Literal["active", "suspended", "revoked"]
    status_reason: _Text = ""
    plan: _Name
    features: _Features
    limits: _Limits
    periods: Annotated[dict[_Key, _Period], Field(max_length=256)] = {}
    usage_elsewhere: _Counts = {}
    allowances: _Limits = {}
    catalog: object = None
    nonce: _Name | None = None


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
        self._last_catalog: tuple[object, CatalogPart] = (None, CatalogPart())
        self._last_grant: tuple[object, LicenseGrant] = (None, LicenseGrant(""))

    def read(self, document: object) -> LicensePayload:
        """*document* (parsed JSON) as a payload; `PayloadRejectedError` with a `payload.` code otherwise."""
        if not isinstance(document, dict):
            raise PayloadRejectedError("the payload is not an object", code="payload.schema")
        _check_version(document.get("schema"))
        try:
            wire = _WirePayload.model_validate(document)
        except ValidationError as error:
            raise PayloadRejectedError(f"the payload is refused: {_what(error)}", code=_code(error)) from None
        _check_required_limits(wire, self._schema)
        return _payload(wire, self._schema, self._read_grant(wire), self._read_catalog(wire.catalog))

    def _read_catalog(self, document: object) -> CatalogPart:
        seen, part = self._last_catalog
        if document != seen or part.error is not None:
            part = read_catalog(document, self._schema)
            self._last_catalog = document, part
        return part

    def _read_grant(self, wire: _WirePayload) -> LicenseGrant:
        written = (wire.plan, wire.features, wire.limits)
        seen, grant = self._last_grant
        if written != seen:
            features, limits = _features(wire.features, self._schema), _limits(wire.limits, self._schema)
            grant = LicenseGrant(wire.plan, features, limits)
            self._last_grant = written, grant
        return grant


def _check_version(version: object) -> None:
    if type(version) is not int:
        raise PayloadRejectedError("the payload names no schema version", code="payload.schema")
    if version != SCHEMA_VERSION:
        raise PayloadRejectedError(
            f"the payload has schema version {version}, this kit reads {SCHEMA_VERSION}: upgrade kuploy-saas-kit",
            code="payload.schema_version",
        )


def _check_required_limits(wire: _WirePayload, schema: ProductSchema) -> None:
    missing = schema.required_limits - {schema.canonical(key) for key in wire.limits}
    if missing:
        raise PayloadRejectedError(
            f"the payload does not name the limits {', '.join(sorted(missing))}", code="payload.schema"
        )


def _payload(wire: _WirePayload, schema: ProductSchema, grant: LicenseGrant, catalog: CatalogPart) -> LicensePayload:
    return LicensePayload(
        issuer=wire.iss,
        product_type=wire.product_type,
        license_id=wire.license_id,
        tenant_id=wire.tenant_id,
        instance_id=wire.instance_id,
        key_hash=wire.key_hash,
        epoch=wire.epoch,
        revision=wire.revision,
        issued_at=_instant(wire.issued_at),
        fresh_until=_instant(wire.fresh_until),
        grace_until=_instant(wire.grace_until),
        paid_until=None if wire.paid_until is None else _instant(wire.paid_until),
        status=PayloadStatus(wire.status),
        status_reason=wire.status_reason,
        grant=grant,
        has_room=any(limit != 0 for limit in wire.limits.values()),
        periods=_periods(wire.periods, schema),
        usage_elsewhere=_counts(wire.usage_elsewhere, schema),
        allowances=MappingProxyType(_limits(wire.allowances, schema)),
        catalog=catalog,
        nonce=wire.nonce,
        unknown_keys=schema.unknown_keys(wire.features, wire.limits, where="the license"),
    )


def read_catalog(document: object, schema: ProductSchema) -> CatalogPart:
    """The payload's catalog; what is wrong with it is its `error` and harms nothing else."""
    if document is None:
        return CatalogPart()
    try:
        wire = _WireCatalog.model_validate(document)
    except ValidationError as error:
        return CatalogPart(error=f"the catalog is refused: {_what(error)}")
    if not wire.plans:
        return CatalogPart(revision=wire.revision, error="the catalog has no plans", is_empty=True)
    try:
        plans = [_plan(plan, schema) for plan in wire.plans]
        unknown = tuple(key for plan in plans for key in schema.check_plan(plan))
        return CatalogPart(wire.revision, PlanCatalog(plans), unknown_keys=unknown)
    except (InvalidValueError, NeverGateKeyError) as error:
        return CatalogPart(error=f"the catalog is refused: {error}")


def _plan(wire: _WirePlan, schema: ProductSchema) -> Plan:
    return Plan(
        wire.slug,
        wire.name,
        _price(wire),
        _features(wire.features, schema),
        Limits.of_checked(_limits(wire.limits, schema)),
        is_default=wire.is_default,
        is_active=wire.is_active,
        description=wire.description,
    )


def _price(wire: _WirePlan) -> Price | None:
    if wire.price_cents is None:
        return None
    if wire.currency is None:
        raise InvalidValueError(f"plan {wire.slug} has a price without a currency")
    return Price(wire.price_cents, wire.currency, wire.billing_cycle)


def _features(features: Mapping[str, bool], schema: ProductSchema) -> frozenset[str]:
    """The granted features; one that is spelled twice needs both."""
    if schema.aliases.keys().isdisjoint(features):
        return frozenset([key for key, granted in features.items() if granted])
    refused = {schema.canonical(key) for key, granted in features.items() if not granted}
    return frozenset(schema.canonical(key) for key, granted in features.items() if granted) - refused


def _limits(limits: Mapping[str, int], schema: ProductSchema) -> dict[str, LimitValue]:
    """The limits; of one that is spelled twice the smaller. The wire model has checked keys and numbers."""
    values = {key: UNLIMITED if number < 0 else number for key, number in limits.items()}
    if schema.aliases.keys().isdisjoint(values):
        return values
    merged: dict[str, LimitValue] = {}
    for spelling, value in values.items():
        key = schema.canonical(spelling)
        merged[key] = min(merged.get(key, value), value)
    return merged


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
