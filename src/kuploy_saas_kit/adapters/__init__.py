"""Stores: what the ports of the kit are kept in.

`MemoryStore` and `SqlStore` implement every port, `FileLicenseStore` those of the license. Each is loaded on first
use, so that a host installs only the extras of the stores that it has.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.adapters.memory import MemoryStore

__all__ = ["MemoryStore"]

_MODULES = {"MemoryStore": "kuploy_saas_kit.adapters.memory"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
