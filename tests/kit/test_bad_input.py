"""What an operator gets wrong on the way, each with an error that says what to mend, and nothing lost."""

import builtins
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.world import World, make_world

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import MemoryStore, SqlStore
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.license import LicenseConfig, LicenseStatus
from kuploy_saas_kit.plans import Operation, Plan
from kuploy_saas_kit.testing.gates import gate_over


@pytest.fixture
def world() -> Iterator[World]:
    """A hub, Stripe and a store."""
    with make_world() as made:
        yield made


def test_wrong_key_prefix() -> None:
    """A license key that is none is refused before it is sent anywhere, and not repeated."""
    with pytest.raises(ConfigurationError, match="must begin with 'lic_'") as caught:
        LicenseConfig(license_key="sk_live_oops", trust="tls_only")
    assert "oops" not in str(caught.value)


def test_no_trusted_keys() -> None:
    """No pinned key and no choice to go without is an error that names both ways out."""
    with pytest.raises(ConfigurationError, match=r"LICENSE_TRUSTED_KEYS.*LICENSE_TRUST=tls_only"):
        SaasKit.from_env(MemoryStore())


def test_missing_license_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without LICENSE_KEY the instance is UNLICENSED: creating is blocked and says how to link it, running is not."""
    monkeypatch.setenv("LICENSE_TRUST", "tls_only")
    kit = SaasKit.from_env(MemoryStore())
    report = kit.run_once()
    assert report.sync.code == "no_license_key"
    assert kit.license.snapshot().status is LicenseStatus.UNLICENSED
    assert "LICENSE_KEY" in str(kit.gate.check_operation(Operation.CREATE))
    assert kit.gate.check_operation(Operation.RUN).granted


def test_unreachable_hub(world: World) -> None:
    """A hub that refuses connections leaves the instance PENDING with the reason, and the next run succeeds."""
    world.hub.outage("refused")
    kit = world.kit()
    report = kit.run_once()
    assert (report.sync.ok, report.sync.code) == (False, "transport.connect")
    assert kit.license.snapshot().status is LicenseStatus.PENDING
    world.hub.outage(None)
    world.later(seconds=30)
    assert kit.run_once().sync.ok


def test_malformed_catalog_keeps_the_held_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog that contradicts itself is not applied: license and plans in force stay."""
    kit = world.kit()
    kit.run_once()
    held = world.store.load_plans().catalog
    monkeypatch.setattr("kuploy_saas_kit.hub.payload._catalog", _two_defaults, raising=True)
    world.hub.put_plan(world.tenant_id, Plan("max", "Max"))
    world.later(seconds=60)
    assert kit.run_once().sync.ok
    assert kit.license.snapshot().catalog_error
    assert world.store.load_plans().catalog == held


def _two_defaults(*_: Any, **__: Any) -> dict[str, Any]:
    plan = {"name": "X", "limits": {}, "features": {}, "isDefault": True, "isActive": True, "description": ""}
    return {"revision": 99, "plans": [{**plan, "slug": "a"}, {**plan, "slug": "b"}]}


def test_locked_sqlite_file(tmp_path: Path) -> None:
    """A database that another program holds is a `StorageError` that says so; nothing is counted."""
    path = tmp_path / "kit.db"
    store = SqlStore.from_url(f"sqlite:///{path}?timeout=0.05")
    gate = gate_over(store, plan_limits={"maxProjects": 5})
    gate.acquire("acme", "maxProjects")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"locked|busy"):
        gate.acquire("acme", "maxProjects")
    blocker.execute("ROLLBACK")
    blocker.close()
    assert gate.acquire("acme", "maxProjects").used == 2
    store.close()


@pytest.mark.parametrize(
    ("module", "code", "extra"),
    [
        ("stripe", "from kuploy_saas_kit.stripe_provision import StripeGateway", "stripe"),
        ("sqlalchemy", "from kuploy_saas_kit.adapters import SqlStore; SqlStore.from_url('sqlite://')", "sql"),
        ("sqlalchemy", "from kuploy_saas_kit.adapters import migrate_on", "sql"),
        ("sqlalchemy", "from kuploy_saas_kit.adapters.sql import migrate_on", "sql"),
        ("django", "from kuploy_saas_kit.adapters import AsyncDjangoStore", "django"),
    ],
)
def test_missing_extra(module: str, code: str, extra: str) -> None:
    """Without its extra, a part says which one to install, as a `ConfigurationError`."""
    program = f"import sys; sys.modules[{module!r}] = None; {code}"
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "ConfigurationError" in ran.stderr
    assert f"kuploy-saas-kit[{extra}]" in ran.stderr


def test_missing_signing_extra(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned keys without the signing extra are a `ConfigurationError` at the start."""
    real_import = builtins.__import__

    def without_cryptography(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cryptography)
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match=r"kuploy-saas-kit\[signing\]"):
        world.kit().start()
