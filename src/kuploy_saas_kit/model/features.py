"""Feature keys and sets of them."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final, TypeAlias

from kuploy_saas_kit.errors import InvalidValueError

FeatureKey: TypeAlias = str
"""A feature in its wire spelling, such as `customDomains`. Keys are open: a product declares its own."""

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


class AllFeatures(Enum):
    """The set that has every feature, also those that nobody has thought of yet."""

    ALL = "all"

    def __contains__(self, key: object) -> bool:
        return True

    def __and__(self, other: FeatureSet) -> FeatureSet:
        return other

    __rand__ = __and__

    def __le__(self, other: FeatureSet) -> bool:
        return other is self

    def __ge__(self, other: FeatureSet) -> bool:
        return True

    def __repr__(self) -> str:
        return "ALL"


ALL: Final = AllFeatures.ALL

FeatureSet: TypeAlias = "frozenset[str] | AllFeatures"


def meet(one: FeatureSet, other: FeatureSet) -> FeatureSet:
    """The features that both sets have."""
    if one is ALL:
        return other
    if other is ALL:
        return one
    return one & other


def is_subset(one: FeatureSet, other: FeatureSet) -> bool:
    """Whether *other* has every feature of *one*."""
    if other is ALL:
        return True
    return one is not ALL and one <= other


def feature_set(features: Iterable[str] | AllFeatures) -> FeatureSet:
    """*features* as a set, each key checked; `ALL` is one."""
    if isinstance(features, frozenset):
        return _checked_set(features)
    return features if isinstance(features, AllFeatures) else feature_keys(features)


def feature_keys(features: Iterable[str]) -> frozenset[str]:
    """*features* as a set, each key checked; a lone string is refused, it would be a set of letters."""
    if isinstance(features, str):
        raise InvalidValueError(f"features must be a set of keys, such as {{{features!r}}}, not one string")
    return _checked_set(features) if isinstance(features, frozenset) else frozenset(map(checked_key, features))


@lru_cache(maxsize=256)
def _checked_set(features: frozenset[str]) -> frozenset[str]:
    """*features*, each key checked; the same few sets come again with every plan and every sync."""
    return frozenset(map(checked_key, features))


def checked_key(key: object) -> str:
    """*key*, if it can be one: a letter, then up to 63 letters, digits, `_`, `.` or `-`."""
    if not isinstance(key, str) or not _is_key(key):
        raise InvalidValueError(
            f"{_shown(key)} is no key: keys are a letter and up to 63 letters, digits, '_', '.' or '-'"
        )
    return key


@lru_cache(maxsize=1024)
def _is_key(text: str) -> bool:
    """Whether *text* is a key; the same few come again with every plan."""
    return _KEY.fullmatch(text) is not None


def _shown(value: object) -> str:
    return reprlib.repr(value)
