"""The license: synced from the hub, verified, kept, and read from memory."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.license.claim import ClaimState, ClaimStatus, ClaimTicket
    from kuploy_saas_kit.license.client import LicenseClient
    from kuploy_saas_kit.license.config import LicenseConfig
    from kuploy_saas_kit.license.events import LicenseEvent
    from kuploy_saas_kit.license.exchange import SyncResult
    from kuploy_saas_kit.license.http import HttpxTransport
    from kuploy_saas_kit.license.reading import Trust
    from kuploy_saas_kit.license.refresher import Refresher
    from kuploy_saas_kit.license.signature import TrustedKey
    from kuploy_saas_kit.license.snapshot import LicenseSnapshot
    from kuploy_saas_kit.license.state import ServedFrom
    from kuploy_saas_kit.model.status import LicenseStatus, Operation

__all__ = [
    "ClaimState",
    "ClaimStatus",
    "ClaimTicket",
    "HttpxTransport",
    "LicenseClient",
    "LicenseConfig",
    "LicenseEvent",
    "LicenseSnapshot",
    "LicenseStatus",
    "Operation",
    "Refresher",
    "ServedFrom",
    "SyncResult",
    "Trust",
    "TrustedKey",
]

_HOMES = {
    "ClaimState": "kuploy_saas_kit.license.claim",
    "ClaimStatus": "kuploy_saas_kit.license.claim",
    "ClaimTicket": "kuploy_saas_kit.license.claim",
    "HttpxTransport": "kuploy_saas_kit.license.http",
    "LicenseClient": "kuploy_saas_kit.license.client",
    "LicenseConfig": "kuploy_saas_kit.license.config",
    "LicenseEvent": "kuploy_saas_kit.license.events",
    "LicenseSnapshot": "kuploy_saas_kit.license.snapshot",
    "LicenseStatus": "kuploy_saas_kit.model.status",
    "Operation": "kuploy_saas_kit.model.status",
    "Refresher": "kuploy_saas_kit.license.refresher",
    "ServedFrom": "kuploy_saas_kit.license.state",
    "SyncResult": "kuploy_saas_kit.license.exchange",
    "Trust": "kuploy_saas_kit.license.reading",
    "TrustedKey": "kuploy_saas_kit.license.signature",
}


def __getattr__(name: str) -> object:
    """Load a name when it is first asked for: most of them need pydantic, one httpx."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
