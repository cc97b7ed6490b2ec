"""Limit keys, limit values and total functions between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final, TypeAlias

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.features import checked_key

LimitKey: TypeAlias = str
"""A limit in its wire spelling, such as `maxProjects`."""

MAX_LIMIT: Final = 2**63 - 1
"""The largest finite limit: what a 64-bit column holds."""

_WIRE_UNLIMITED: Final = -1


class Unlimited(Enum):
    """A limit that is above every number. It compares, and refuses arithmetic."""

    UNLIMITED = "unlimited"

    def __lt__(self, other: object) -> bool:
        return False if isinstance(other, int | Unlimited) else NotImplemented

    def __le__(self, other: object) -> bool:
        return other is self if isinstance(other, int | Unlimited) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return other is not self if isinstance(other, int | Unlimited) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return True if isinstance(other, int | Unlimited) else NotImplemented

    def __repr__(self) -> str:
        return "UNLIMITED"

    def __str__(self) -> str:
        return "unlimited"


UNLIMITED: Final = Unlimited.UNLIMITED

LimitValue: TypeAlias = int | Unlimited


def checked_limit(value: object, key: str) -> LimitValue:
    """*value*, if it can be a limit: `UNLIMITED` or an int from 0 to 2**63 − 1."""
    if isinstance(value, Unlimited):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValueError(f"{key} must be an int or UNLIMITED, not {type(value).__name__}")
    if not 0 <= value <= MAX_LIMIT:
        raise InvalidValueError(f"{key} must be from 0 to 2**63-1, or UNLIMITED for no limit; got {value}")
    return value


def limit_from_wire(value: int, key: str) -> LimitValue:
    """The limit that the wire and the `cloud_plans` columns write as *value*; −1 is `UNLIMITED`."""
    if value == _WIRE_UNLIMITED and not isinstance(value, bool):
        return UNLIMITED
    return checked_limit(value, key)


def limit_to_wire(value: LimitValue) -> int:
    """The number that the wire writes for *value*."""
    return _WIRE_UNLIMITED if isinstance(value, Unlimited) else value


class Limits(Mapping[str, LimitValue]):
    """A total function from limit keys to numbers: the entries that are named, and a default for all others.

    Entries equal to the default are dropped, so that two equal functions are equal values. Iterating gives the
    named keys in order; `limits[key]` answers for every key.
    """

    __slots__ = ("_default", "_entries", "_hash")

    def __init__(self, entries: Mapping[str, LimitValue] | None = None, *, default: LimitValue = 0) -> None:
        checked = {checked_key(key): checked_limit(value, key) for key, value in (entries or {}).items()}
        self._assign(checked, checked_limit(default, "default"))

    def _assign(self, entries: Mapping[str, LimitValue], default: LimitValue) -> None:
        self._default = default
        if default in entries.values():
            entries = {key: value for key, value in entries.items() if value != default}
        self._entries = dict(entries)
        self._hash: int | None = None

    @property
    def default(self) -> LimitValue:
        """The value of every key that is not named."""
        return self._default

    def __getitem__(self, key: str) -> LimitValue:
        return self._entries.get(key, self._default)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __and__(self, other: Limits) -> Limits:
        """The smaller value for each key."""
        named = {key: min(self[key], other[key]) for key in {*self._entries, *other._entries}}
        return Limits.of_checked(named, default=min(self._default, other._default))

    def __le__(self, other: Limits) -> bool:
        """Whether *other* allows at least as much for every key."""
        return self._default <= other._default and all(
            self[key] <= other[key] for key in {*self._entries, *other._entries}
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Limits):
            return NotImplemented
        return self._entries == other._entries and self._default == other._default

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((frozenset(self._entries.items()), self._default))
        return self._hash

    def __repr__(self) -> str:
        named = ", ".join(f"{key!r}: {value!r}" for key, value in self.items())
        return f"Limits({{{named}}}, default={self._default!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _limits, (self._entries, self._default)

    def to_wire(self) -> dict[str, int]:
        """The named entries as the wire writes them."""
        return {key: limit_to_wire(value) for key, value in self._entries.items()}

    @classmethod
    def of_checked(cls, entries: Mapping[str, LimitValue], *, default: LimitValue = 0) -> Limits:
        """The function of *entries* whose keys and values were checked already, where the bytes came in."""
        limits = cls.__new__(cls)
        limits._assign(entries, default)  # noqa: SLF001 - a constructor of this very class
        return limits

    @classmethod
    def from_wire(cls, entries: Mapping[str, int], *, default: LimitValue = 0) -> Limits:
        """The function that the wire wrote as *entries*."""
        return cls({key: limit_from_wire(value, key) for key, value in entries.items()}, default=default)


def _limits(entries: Mapping[str, LimitValue], default: LimitValue) -> Limits:
    return Limits(entries, default=default)
