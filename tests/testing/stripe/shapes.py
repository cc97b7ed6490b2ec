"""Holds an answer against the resource classes of the SDK: no invented field, none missing, none of a wrong type."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe._object_classes import get_object_class
from stripe._stripe_object import UntypedStripeObject

_PLAIN: dict[Any, Any] = {str: str, bool: bool, int: int, float: (int, float), Decimal: str}


def problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with an object that says in `object` what it is."""
    cls = get_object_class("V1", value["object"])
    if cls is stripe.StripeObject:
        return [f"the SDK knows no {value['object']}"]
    return list(_of_object(value, cls, value["object"]))


def _of_object(value: dict[str, Any], cls: type, path: str) -> Iterator[str]:
    if value.get("deleted"):
        return
    fields = fields_of(cls)
    for name in value.keys() - fields.keys():
        yield f"{path}.{name} is invented"
    for name, annotation in fields.items():
        if name in value:
            yield from _of_value(value[name], annotation, cls, f"{path}.{name}")
        elif NoneType not in _members(annotation):
            yield f"{path}.{name} is missing"


def fields_of(cls: type) -> dict[str, Any]:
    """The fields of a resource class and their types."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, stripe.StripeObject) and base is not stripe.StripeObject:
            found |= get_annotations(base)
    return {name: hint for name, hint in found.items() if not name.startswith("_") and name != "OBJECT_NAME"}


def _members(annotation: Any) -> tuple[Any, ...]:
    if isinstance(annotation, ForwardRef):
        return (annotation,)
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _of_value(value: Any, annotation: Any, owner: type, path: str) -> Iterator[str]:
    members = _members(annotation)
    if value is None:
        if NoneType not in members:
            yield f"{path} is null"
        return
    found = [list(_of_member(value, member, owner, path, closed=_choices(members))) for member in members]
    if all(found):
        yield from min(found, key=len)


def _choices(members: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(choice for member in members if get_origin(member) is Literal for choice in get_args(member))


def _of_member(value: Any, member: Any, owner: type, path: str, *, closed: tuple[Any, ...]) -> Iterator[str]:
    origin = get_origin(member)
    if member in _PLAIN:
        fits = isinstance(value, _PLAIN[member]) and not (member is not bool and isinstance(value, bool))
        if not fits or (closed and value not in closed):
            yield f"{path} is {value!r}"
    elif origin is Literal:
        if value not in get_args(member):
            yield f"{path} is {value!r}"
    elif origin is list:
        for index, inner in enumerate(value if isinstance(value, list) else [value]):
            yield from _of_value(inner, get_args(member)[0], owner, f"{path}[{index}]")
    elif not isinstance(value, dict) or member is NoneType:
        yield f"{path} is {value!r}"
    else:
        yield from _of_mapping(value, member, path)


def _of_mapping(value: dict[str, Any], member: Any, path: str) -> Iterator[str]:
    if value.get("object") == "list":
        for index, inner in enumerate(value["data"]):
            yield from (f"{path}[{index}]: {problem}" for problem in problems(inner))
    elif isinstance(value.get("object"), str):
        yield from (f"{path}: {problem}" for problem in problems(value))
    elif isinstance(member, type) and issubclass(member, stripe.StripeObject):
        yield from _of_object(value, member, path)
        if isinstance(value.get("object"), dict):  # what an event tells of
            yield from (f"{path}: {problem}" for problem in problems(value["object"]))
    elif get_origin(member) is not UntypedStripeObject:
        yield f"{path} is {value!r}"
