"""The shapes of the hub's payload: what pydantic holds the bytes against, strict and bounded.

Source: hub protocol v1, section 1. A shape is a plain dict with the names of Python, which lives only until the frozen
values of `wire.py` are made of it. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from kuploy_saas_kit.model.limits import MAX_LIMIT

SCHEMA_VERSION: Final = 1
_END_OF_TIME: Final = 221_845_391_999  # the last second of the year 8999: room to add to it
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f-\x9f\x{2028}\x{2029}]*$"

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=_PRINTABLE)]
Text = Annotated[str, Field(max_length=1024, pattern=_PRINTABLE)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
Count = Annotated[int, Field(ge=0, le=MAX_LIMIT)]
Limit = Annotated[int, Field(ge=-1, le=MAX_LIMIT)]
Instant = Annotated[int, Field(ge=0, le=_END_OF_TIME)]
Features = Annotated[dict[Key, bool], Field(max_length=256)]
Limits = Annotated[dict[Key, Limit], Field(max_length=256)]
Counts = Annotated[dict[Key, Count], Field(max_length=256)]
Period = Annotated[list[Instant], Field(min_length=2, max_length=2)]
Periods = Annotated[dict[Key, Period], Field(max_length=256)]
Currency = Annotated[str, Field(max_length=3)]
Cycle = Literal["monthly", "annual"]
Description = Annotated[str, Field(max_length=4096)]

_STRICT: Final = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, alias_generator=to_camel)


class PlanShape(TypedDict):
    """A plan of the catalog."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]  # how pydantic wants it; type checkers know only fields here
    slug: Name
    name: Name
    price_cents: NotRequired[Count | None]
    currency: NotRequired[Currency | None]
    billing_cycle: NotRequired[Cycle]
    limits: NotRequired[Limits]
    features: NotRequired[Features]
    is_default: NotRequired[bool]
    is_active: NotRequired[bool]
    description: NotRequired[Description]


class CatalogShape(TypedDict):
    """The catalog, which is judged on its own."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    revision: Count
    plans: Annotated[list[PlanShape], Field(max_length=500)]


class TermsShape(TypedDict):
    """The payload without its catalog."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    iss: Name
    product_type: Name
    license_id: Name
    tenant_id: Name
    instance_id: Name
    key_hash: Name
    epoch: NotRequired[Count | None]
    revision: NotRequired[Count | None]
    issued_at: Instant
    fresh_until: Instant
    grace_until: Instant
    paid_until: NotRequired[Instant | None]
    status: Literal["active", "suspended", "revoked"]
    status_reason: NotRequired[Text]
    plan: Name
    features: Features
    limits: Limits
    periods: NotRequired[Periods]
    usage_elsewhere: NotRequired[Counts]
    allowances: NotRequired[Limits]
    nonce: NotRequired[Name | None]


class WholeShape(TermsShape):
    """The payload with a good catalog, or without one."""

    schema: Annotated[int, Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    catalog: NotRequired[CatalogShape | None]


class _EnvelopeShape(TypedDict):
    """A 200 answer with a signed license."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    success: bool
    license: str


TERMS: Final = TypeAdapter(TermsShape)
CATALOG: Final = TypeAdapter(CatalogShape)
_WHOLE: Final = TypeAdapter(WholeShape)
_ENVELOPE: Final = TypeAdapter(_EnvelopeShape)

# One pass of pydantic over the bytes is much faster than `parse_strict` and a second look at what it made, and proves
# as much: if the bytes have just as many strings as the names and texts of the result need, then no name came twice and
# none is unknown, so that every number, flag and text of theirs is in the result. Whatever this does not prove, right
# or wrong, is read the other way.


def payload_at_once(data: bytes) -> WholeShape | None:
    """*data* as `parse_strict`, `TERMS` and `CATALOG` read it; None where they have to be asked."""
    try:
        whole = _WHOLE.validate_json(data)
    except ValidationError:
        return None
    return whole if _strings_in(data) == _strings_of(whole) else None


def token_at_once(body: bytes) -> str | None:
    """The token in *body*, if that is `{"success": true, "license": "…"}`; None where `parse_strict` is to say."""
    try:
        envelope = _ENVELOPE.validate_json(body)
    except ValidationError:
        return None
    return envelope["license"] if envelope["success"] and _strings_in(body) == len(envelope) + 1 else None


def _strings_in(data: bytes) -> float:
    """How many strings *data*, which is JSON, has: each is between two quotation marks that are not escaped."""
    marks = data.count(b'"')
    if b"\\" in data:
        marks -= data.replace(rb"\\", b"").count(rb"\"")
    return marks / 2


def _strings_of(whole: WholeShape) -> int:
    """How many strings JSON needs to write *whole*: all names, and the values that are texts."""
    strings = len(whole) + [*map(type, whole.values())].count(str) + len(whole["features"]) + len(whole["limits"])
    strings += len(whole.get("periods", ())) + len(whole.get("usage_elsewhere", ())) + len(whole.get("allowances", ()))
    catalog = whole.get("catalog")
    if catalog is None:
        return strings
    return strings + len(catalog) + sum(map(_strings_of_plan, catalog["plans"]))


def _strings_of_plan(plan: PlanShape) -> int:
    texts = 2 + (plan.get("currency") is not None) + ("billing_cycle" in plan) + ("description" in plan)
    return len(plan) + texts + len(plan.get("limits", ())) + len(plan.get("features", ()))
