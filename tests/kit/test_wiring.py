"""Which stores a kit is made of, and what it says at once of those that cannot be it."""

import inspect
from dataclasses import fields
from typing import Any

import pytest
from tests.kit.world import KEYS, make_world

from kuploy_saas_kit import KitConfig, SaasKit
from kuploy_saas_kit.adapters import AsyncSqlStore, FileLicenseStore, MemoryStore, RedisStore
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.kit import KitSettings
from kuploy_saas_kit.license import LicenseConfig

CONFIG = LicenseConfig(trust="tls_only")
CLIENT = "ensure_instance_id, load_claim, load_license, load_license_key, save_claim"
COUNTING = "add_meter, announce_once, give_back, meter_total, put_usage, release_holding, seed_usage"
BILLING = "customer_of, drop_mapping, keep_customer, load_fingerprint, load_mappings"


def own_books(memory: MemoryStore) -> Any:
    """A host's own store of plans, standings and the feed, and of nothing else."""
    verbs = ("load_plans", "replace_plans", "put_plan", "standing", "put_assignment", "end_assignment", "changes")
    return type("OwnBooks", (), {verb: staticmethod(getattr(memory, verb)) for verb in verbs})()


def refused(**wiring: Any) -> str:
    """What is said of this wiring."""
    with pytest.raises(ConfigurationError) as caught:
        SaasKit(CONFIG, **{"store": MemoryStore(), **wiring})
    return str(caught.value)


@pytest.mark.parametrize("argument", ["store", "license_store", "usage_store"])
def test_an_address_is_no_store(argument: str) -> None:
    """It is said what makes a store of it, and a password in it is not shown."""
    said = refused(**{argument: "postgresql://kit:hunter2@db/kit"})
    assert said.startswith(f"{argument}= is an address")
    assert "SqlStore.from_url" in said
    assert "hunter2" not in said


AWAITED = AsyncSqlStore.from_url("sqlite:///kit.db")


@pytest.mark.parametrize(
    ("wiring", "lacking", "remedy"),
    [
        ({"store": 42}, "int lacks changes, end_assignment, load_plans", "main store"),
        ({"store": RedisStore.from_url("redis://localhost:9")}, "RedisStore lacks end_assignment", "main store"),
        ({"store": AWAITED}, "AsyncSqlStore lacks changes, end_assignment", "main store"),
        ({"store": own_books(MemoryStore())}, f"OwnBooks lacks {CLIENT}", "license_store="),
        ({"store": own_books(MemoryStore()), "license_store": MemoryStore()}, f"lacks {COUNTING}", "usage_store="),
        ({"usage_store": FileLicenseStore("license.json")}, f"FileLicenseStore lacks {COUNTING}", "usage_store="),
        ({"license_store": MemoryStore}, "license_store= is an address or a class", "FileLicenseStore"),
    ],
)
def test_a_store_that_lacks_verbs(wiring: dict[str, Any], lacking: str, remedy: str) -> None:
    """The kit is not made: the missing verbs are named, and which argument could bring them."""
    said = refused(**wiring)
    assert lacking in said
    assert remedy in said


def test_selling_needs_the_verbs_of_billing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys of its own the kit is not made; where they are in the environment nothing can be sold."""
    parts: dict[str, Any] = {"store": own_books(MemoryStore()), "license_store": MemoryStore()}
    said = refused(**parts, usage_store=MemoryStore(), stripe=lambda: KEYS)
    assert f"OwnBooks lacks {BILLING}" in said
    assert "stripe=None" in said
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_kit")
    kit = SaasKit.from_env(**parts, usage_store=MemoryStore(), license=CONFIG)
    with pytest.raises(ConfigurationError, match="OwnBooks lacks"):
        _ = kit.webhooks


def test_books_of_a_hosts_own_suffice() -> None:
    """A main store of seven verbs, and others for license and counters: everything but selling works."""
    with make_world() as world:
        books, parts = own_books(world.store), MemoryStore(world.clock)
        world.keys = None
        license_config = world.kit().config.license
        with SaasKit(license_config, books, license_store=parts, usage_store=parts, clock=world.clock) as kit:
            kit.gate.assign("acme", "pro", actor="root", reason="a test")
            assert kit.gate.allows("acme", "aiAssistant")
            assert kit.gate.acquire("acme", "maxProjects").granted
            assert kit.run_once().problems == ()


def test_settings_are_those_that_there_are() -> None:
    """`from_env` takes each field of the configuration, and each argument by name, under the name that it has."""
    by_name = {
        name
        for name, parameter in inspect.signature(SaasKit).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert KitSettings.__annotations__.keys() == by_name | {field.name for field in fields(KitConfig)}
