"""Requests held against the parameter types of the installed SDK.

stripe-python generates `stripe.params` from Stripe's OpenAPI description, so the TypedDicts there say which parameters
an endpoint has, which it needs and what each may be. What they do not allow is the 400 that Stripe would answer.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from types import UnionType
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions
from typing_extensions import is_typeddict

from kuploy_saas_kit.testing.stripe.form import bracketed
from kuploy_saas_kit.testing.stripe.refusals import RefusalError, missing_param, unacceptable, unknown_param

# What the annotations of the SDK name without importing it at run time.
_NAMES = {"StripeContext": object, "Mapping": Mapping}
_OPTIONS = frozenset(RequestOptions.__annotations__)
# Plain strings in Stripe's description that an update nevertheless clears with an empty value.
_CLEARABLE = frozenset({"default_price", "lookup_key", "nickname"})
_INTEGER = re.compile(r"-?\d{1,18}")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Accepts:
    """What one parameter may be, read from its annotation."""

    scalars: frozenset[type]
    choices: tuple[str, ...]
    unsets: bool
    item: Any
    value: Any
    fields: Any


def params_type(name: str) -> type:
    """The TypedDict of the SDK called *name*, such as `PriceCreateParams` or `checkout.SessionCreateParams`."""
    module, _, attribute = f"stripe.params.{name}".rpartition(".")
    found: type = getattr(importlib.import_module(module), attribute)
    return found


def read(raw: Mapping[str, Any], params: type, path: str = "") -> dict[str, Any]:
    """*raw* as typed values, or the refusal of the first parameter that *params* does not allow."""
    fields = _fields(params)
    for name in raw:
        if name not in fields:
            raise unknown_param(bracketed(path, name))
    for name, (_, required) in fields.items():
        if required and name not in raw:
            raise missing_param(bracketed(path, name))
    return {name: _value(value, _accepts(fields[name][0]), bracketed(path, name)) for name, value in raw.items()}


@cache
def _fields(params: type) -> Mapping[str, tuple[Any, bool]]:
    hints = get_type_hints(params, localns=_NAMES, include_extras=True)
    found = {}
    for name, hint in hints.items():
        if name not in _OPTIONS:
            optional = get_origin(hint) is NotRequired
            found[name] = (get_args(hint)[0] if optional else hint, not optional)
    return found


@cache
def _accepts(hint: Any) -> Accepts:
    parts = list(_alternatives(hint))
    literals = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    return Accepts(
        scalars=frozenset(part for part in parts if part in (bool, int, float, Decimal, str)),
        choices=tuple(choice for choice in literals if choice != ""),
        unsets="" in literals,
        item=next((get_args(part)[0] for part in parts if get_origin(part) is list), None),
        value=next((get_args(part)[1] for part in parts if get_origin(part) is dict), None),
        fields=next((part for part in parts if is_typeddict(part)), None),
    )


def _alternatives(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, UnionType):
        return [part for member in get_args(hint) for part in _alternatives(member)]
    return [hint]


def _value(raw: Any, accepts: Accepts, path: str) -> Any:
    if isinstance(raw, str):
        return _scalar(raw, accepts, path)
    if accepts.item is not None and all(index.isdecimal() for index in raw):
        ordered = sorted(raw.items(), key=lambda entry: int(entry[0]))
        inner = _accepts(accepts.item)
        return [_value(value, inner, bracketed(path, index)) for index, value in ordered]
    if accepts.fields is not None:
        return read(raw, accepts.fields, path)
    if accepts.value is not None:
        return {name: _entry(value, accepts.value, bracketed(path, name)) for name, value in raw.items()}
    expected = "array" if accepts.item is not None else "string"
    raise unacceptable(f"Invalid {expected}: {_shown(raw)}", param=path)


def _entry(raw: Any, hint: Any, path: str) -> Any:
    return "" if raw == "" else _value(raw, _accepts(hint), path)


def _scalar(raw: str, accepts: Accepts, path: str) -> Any:
    if raw == "":
        return _emptied(accepts, path)
    if bool in accepts.scalars and raw in _BOOLEANS:
        return _BOOLEANS[raw]
    if int in accepts.scalars and _INTEGER.fullmatch(raw):
        return int(raw)
    if accepts.scalars & {Decimal, float}:
        return _number(raw, path)
    if raw in accepts.choices or (str in accepts.scalars and not accepts.choices):
        return raw
    raise _misfit(raw, accepts, path)


def _emptied(accepts: Accepts, path: str) -> str:
    if accepts.unsets or path in _CLEARABLE:
        return ""
    message = (
        f"You passed an empty string for '{path}'. We assume empty values are an attempt to unset a parameter; "
        f"however '{path}' cannot be unset. You should remove '{path}' from your request or supply a non-empty value."
    )
    raise unacceptable(message, param=path, code="parameter_invalid_empty")


def _number(raw: str, path: str) -> Decimal:
    try:
        number = Decimal(raw)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise unacceptable(f"Invalid decimal: {raw}", param=path, code="parameter_invalid_decimal")
    return number


def _misfit(raw: str, accepts: Accepts, path: str) -> RefusalError:
    if accepts.choices:
        return unacceptable(f"Invalid {path}: must be one of {_listed(accepts.choices)}", param=path)
    if int in accepts.scalars:
        return unacceptable(f"Invalid integer: {raw}", param=path, code="parameter_invalid_integer")
    kind = "boolean" if bool in accepts.scalars else "array" if accepts.item is not None else "object"
    return unacceptable(f"Invalid {kind}: {raw}", param=path)


def _listed(choices: tuple[str, ...]) -> str:
    *init, last = choices
    joint = ", or " if len(init) > 1 else " or "
    return ", ".join(init) + joint + last if init else last


def _shown(raw: Any) -> str:
    return str(raw)[:100]
