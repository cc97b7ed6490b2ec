"""A hub in a folder, and the package's face."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.hub.talk import content, read_token, request, sync_request
from tests.hub.test_simulator import CLAIM

import kuploy_saas_kit.hub
from kuploy_saas_kit.errors import CatalogError, ConfigurationError, HubRefusedError, StorageError
from kuploy_saas_kit.hub import Hub, HubHome, HubPolicy, HubStatus, TlsFiles, app
from kuploy_saas_kit.hub.home import read_plans, trusted_keys_setting
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.license.ports import HubRequest
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan

FREE = {"slug": "free", "name": "Free", "isDefault": True}


@pytest.fixture
def home(tmp_path: Path) -> HubHome:
    """A hub in a fresh folder."""
    made = HubHome(tmp_path / "hub")
    made.create()
    return made


def lowered(wanted: HubRequest) -> HubRequest:
    """The request as a server hands it on."""
    return HubRequest(wanted.url, {name.lower(): value for name, value in wanted.headers.items()}, wanted.body)


def synced(home: HubHome, key: str, trusted: dict[str, str]) -> dict[str, Any]:
    """The verified payload of a sync."""
    response = home.hub(HubPolicy(issuer="https://hub.example")).post(lowered(sync_request(key)))
    return read_token(content(response)["license"], trusted)


def test_all_of_the_hub_is_in_its_folder(home: HubHome) -> None:
    """Keys and rows survive: a second hub on the folder signs with the same keys and knows the license."""
    admin = home.admin()
    key = admin.issue_license(admin.add_tenant("Acme"), "kuploy-cloud", "growth")
    again = HubHome(home.folder)
    again.create()
    payload = synced(again, key, home.keys().trusted_keys)
    assert (payload["iss"], payload["plan"]) == ("https://hub.example", "growth")
    assert [tenant.name for tenant in again.admin().tenants()] == ["Acme"]


def test_a_rotation_reaches_a_hub_that_is_serving(home: HubHome) -> None:
    """The next answer is signed with the key that was pinned before; the file stays private."""
    key = home.admin().issue_license(home.admin().add_tenant("Acme"), "kuploy-cloud", "growth")
    hub = home.hub(HubPolicy())
    before = home.keys()
    home.rotate_keys()
    answer = content(hub.post(lowered(sync_request(key))))
    assert read_token(answer["license"], {before.following.kid: before.following.public_key})["epoch"] == 1
    assert home.rotate_keys(compromised=True).epoch == 2
    assert synced(home, key, home.keys().trusted_keys)["epoch"] == 2
    files = sorted(home.folder.iterdir())
    assert [file.name for file in files if not file.name.startswith("hub.db-")] == ["hub.db", "keys.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_two_processes_make_one_pair_of_keys(home: HubHome) -> None:
    """Whoever comes second keeps the keys of the first."""
    before = home.keys().trusted_keys
    other = HubHome(home.folder)
    other._write_keys(other.keys().rotated(), anew=True)
    assert home.keys().trusted_keys == before


def test_the_setting_for_instances_is_what_they_read(home: HubHome) -> None:
    """The text that is shown to operators is understood by `LicenseConfig.from_env`."""
    setting = trusted_keys_setting(home.keys())
    config = LicenseConfig.from_env({"LICENSE_TRUSTED_KEYS": setting})
    assert {kid: key.public_key for kid, key in config.keys.items()} == home.keys().trusted_keys


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b"\xff", None])
def test_damaged_keys_are_a_configuration_error(home: HubHome, damage: bytes | None) -> None:
    """Without readable keys the hub signs nothing and says what to do."""
    file = home.folder / "keys.json"
    if damage is None:
        private = json.loads(file.read_bytes())["current"]["private"]
        file.write_text(file.read_text().replace(private, private[:-8] + "?secret?"))
    else:
        file.write_bytes(damage)
    with pytest.raises(ConfigurationError, match="restore") as refused:
        home.keys()
    assert "secret" not in str(refused.value)
    file.unlink()
    with pytest.raises(ConfigurationError, match="hub serve"):
        home.keys()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the way is a storage error."""
    (tmp_path / "hub").write_text("in the way")
    with pytest.raises(StorageError):
        HubHome(tmp_path / "hub").create()


def test_licenses_are_named_by_key_or_id(home: HubHome) -> None:
    """Administration needs no license key; approving a claim does, because the instance is to get it."""
    admin = home.admin()
    tenant = admin.add_tenant("Acme")
    key = admin.issue_license(tenant, "kuploy-cloud", "growth")
    admin.issue_license(admin.add_tenant("Other"), "leeram-business", "solo")
    (contract,) = admin.licenses(tenant)
    assert len(admin.licenses()) == 2
    license_id = contract.license.license_id
    admin.set_status(license_id, HubStatus.SUSPENDED, "unpaid")
    assert admin.contract(key).license.status_reason == "unpaid"
    home.hub(HubPolicy()).post(request("/api/license/claims", CLAIM))
    with pytest.raises(HubRefusedError):
        admin.approve_claim("KPXY-4829", license_id)
    admin.approve_claim("KPXY-4829", key)


def test_plans_are_read_from_a_file() -> None:
    """The file has plans as the payload writes them; what is wrong with it is said."""
    pro = {"slug": "pro", "name": "Pro", "priceCents": 2000, "currency": "cad", "features": {"customDomains": True}}
    document = json.dumps({"plans": [FREE, pro]}).encode()
    assert read_plans(document, "kuploy-cloud") == (
        Plan("free", "Free", is_default=True),
        Plan("pro", "Pro", Price(2000, "cad"), {"customDomains"}),
    )
    wrong = [b"", b"[]", b"null", b"{}", b'{"plans": []}', b'{"plans": [{"slug": "pro", "name": "Pro"}]}']
    for broken in wrong:
        with pytest.raises(CatalogError):
            read_plans(broken, "kuploy-cloud")


def test_the_hub_is_not_served_in_the_clear(home: HubHome) -> None:
    """Other machines reach the hub over TLS only."""
    for host in ("0.0.0.0", "hub.example", "::"):  # noqa: S104 - it is refused
        with pytest.raises(ConfigurationError, match="TLS"):
            home.serve(host=host)


@pytest.mark.parametrize(
    ("settings", "issuer"),
    [
        ({}, "http://127.0.0.1:8321"),
        ({"host": "::1"}, "http://[::1]:8321"),
        ({"host": "localhost", "issuer": "https://hub.example"}, "https://hub.example"),
        ({"host": "0.0.0.0", "tls": TlsFiles(Path("c.pem"), Path("k.pem"))}, "https://0.0.0.0:8321"),  # noqa: S104
    ],
)
def test_serving_hands_the_app_to_uvicorn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], issuer: str
) -> None:
    """`serve` makes the folder and runs the application where it was told to, with the URL as issuer."""
    ran: list[tuple[Hub, dict[str, Any]]] = []
    monkeypatch.setattr(app, "create_app", lambda hub: hub)
    monkeypatch.setattr(uvicorn, "run", lambda hub, **options: ran.append((hub, options)))
    home = HubHome(tmp_path / "hub")
    home.serve(**settings)
    ((hub, options),) = ran
    assert hub._policy.issuer == issuer
    assert options["port"] == 8321
    assert (options["ssl_certfile"] is not None) == ("tls" in settings)
    assert home.keys().epoch == 1


def test_the_face_of_the_package() -> None:
    """Every public name loads, the list is sorted, and others are missing as from any module."""
    names = kuploy_saas_kit.hub.__all__
    assert sorted(names) == names == dir(kuploy_saas_kit.hub)
    assert all(getattr(kuploy_saas_kit.hub, name).__name__ == name for name in names)
    with pytest.raises(AttributeError):
        kuploy_saas_kit.hub.Ledger
