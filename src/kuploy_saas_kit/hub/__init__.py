"""The reference hub: the other side of the hub protocol, for development, tests and small operators.

`ledger`, `claims`, `catalogs`, `usage` and `payload` are its rules, pure; `service` and `admin` carry them over a
`store`; `app` serves them over HTTP; `home` keeps a whole hub in a folder. `signing`, `app` and `home` need the
extra `[hub]`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.hub.admin import HubAdmin
    from kuploy_saas_kit.hub.app import create_app
    from kuploy_saas_kit.hub.home import HubHome, TlsFiles
    from kuploy_saas_kit.hub.records import HubPolicy, HubStatus
    from kuploy_saas_kit.hub.service import Hub, Plain, Seal
    from kuploy_saas_kit.hub.signing import KeyRing, SigningKey
    from kuploy_saas_kit.hub.store import HubRows, HubStore, MemoryHubStore, SqliteHubStore

__all__ = [
    "Hub",
    "HubAdmin",
    "HubHome",
    "HubPolicy",
    "HubRows",
    "HubStatus",
    "HubStore",
    "KeyRing",
    "MemoryHubStore",
    "Plain",
    "Seal",
    "SigningKey",
    "SqliteHubStore",
    "TlsFiles",
    "create_app",
]

_HOMES = {
    "Hub": "service",
    "HubAdmin": "admin",
    "HubHome": "home",
    "HubPolicy": "records",
    "HubRows": "store",
    "HubStatus": "records",
    "HubStore": "store",
    "KeyRing": "signing",
    "MemoryHubStore": "store",
    "Plain": "service",
    "Seal": "service",
    "SigningKey": "signing",
    "SqliteHubStore": "store",
    "TlsFiles": "home",
    "create_app": "app",
}


def __getattr__(name: str) -> object:
    """Load a name when it is first asked for, so that each use needs only its own dependencies."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
