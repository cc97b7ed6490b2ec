"""Licensing, plans and Stripe for SaaS operators.

`SaasKit` wires everything together; the rooms stand alone too: `kuploy_saas_kit.license`, `kuploy_saas_kit.plans`,
`kuploy_saas_kit.stripe_provision`, with stores in `kuploy_saas_kit.adapters`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.errors import KitError
    from kuploy_saas_kit.kit import CatalogAuthority, KitConfig, PlanSave, RunReport, SaasKit

__all__ = ["CatalogAuthority", "KitConfig", "KitError", "PlanSave", "RunReport", "SaasKit", "__version__"]

_HOMES = {
    "CatalogAuthority": "kuploy_saas_kit.kit",
    "KitConfig": "kuploy_saas_kit.kit",
    "KitError": "kuploy_saas_kit.errors",
    "PlanSave": "kuploy_saas_kit.kit",
    "RunReport": "kuploy_saas_kit.kit",
    "SaasKit": "kuploy_saas_kit.kit",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - read when asked for

        return version("kuploy-saas-kit")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
