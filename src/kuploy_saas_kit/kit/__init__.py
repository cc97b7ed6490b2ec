"""`SaasKit`: one object for hosts that want no wiring of their own."""

from kuploy_saas_kit.kit.boot import seed_plans
from kuploy_saas_kit.kit.config import CatalogAuthority, KeysSource, KitConfig, KitSettings, keys_from_env
from kuploy_saas_kit.kit.ports import KitStore
from kuploy_saas_kit.kit.reports import PlanSave, RunReport
from kuploy_saas_kit.kit.saas_kit import SaasKit

__all__ = [
    "CatalogAuthority",
    "KeysSource",
    "KitConfig",
    "KitSettings",
    "KitStore",
    "PlanSave",
    "RunReport",
    "SaasKit",
    "keys_from_env",
    "seed_plans",
]
