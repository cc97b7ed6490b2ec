"""Checked by mypy and never run: right wiring fits, and of the wrong one each line that is to be refused says so."""

from __future__ import annotations

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import AsyncSqlStore, DjangoStore, FileLicenseStore, MemoryStore, RedisStore, SqlStore
from kuploy_saas_kit.kit import KitConfig, KitStore
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.plans.ports import Changes, StoredPlans
from kuploy_saas_kit.stripe_provision import StripeKeys
from kuploy_saas_kit.testing import gate_over


class OnlyPlans:
    """A store with one verb of many."""

    def load_plans(self) -> StoredPlans:
        return StoredPlans()


class NoCursor(MemoryStore):
    """A store with a verb that takes something else."""

    def changes(self, cursor: int) -> Changes:  # type: ignore[override]
        return super().changes(str(cursor))


def every_store_fits(config: LicenseConfig, redis: RedisStore, file: FileLicenseStore, host: KitStore) -> None:
    """The stores of the kit where they belong, and a host's own with the parts that it lacks."""
    SaasKit(config, MemoryStore())
    SaasKit(KitConfig(license=config), DjangoStore(), stripe=lambda: StripeKeys(secret="sk_test_1"))
    SaasKit.from_env(SqlStore.from_url("sqlite:///kit.db"), license_store=file, usage_store=redis)
    SaasKit.from_env(host, license_store=redis, usage_store=redis, stripe=None, license=config, namespace=None)
    gate_over(redis)


def what_is_wrong_is_refused(
    config: LicenseConfig, redis: RedisStore, file: FileLicenseStore, aio: AsyncSqlStore
) -> None:
    """An address, stores that lack verbs or await them, parts in the wrong place, and settings that do not exist."""
    SaasKit(config, "sqlite:///kit.db")  # type: ignore[arg-type]
    SaasKit(config, redis)  # type: ignore[arg-type]
    SaasKit(config, aio)  # type: ignore[arg-type]
    SaasKit(config, OnlyPlans())  # type: ignore[arg-type]
    SaasKit(config, NoCursor())  # type: ignore[arg-type]
    SaasKit(config, MemoryStore(), license_store="license.json")  # type: ignore[arg-type]
    SaasKit(config, MemoryStore(), license_store=redis.take)  # type: ignore[arg-type]
    SaasKit(config, MemoryStore(), usage_store=file)  # type: ignore[arg-type]
    SaasKit.from_env(42)  # type: ignore[arg-type]
    SaasKit.from_env(MemoryStore(), license_store=7)  # type: ignore[arg-type]
    SaasKit.from_env(MemoryStore(), licence_store=file)  # type: ignore[call-arg]
    SaasKit.from_env(MemoryStore(), catalog_authority="hub")  # type: ignore[arg-type]
    gate_over(file)  # type: ignore[arg-type]
