"""The functions behind `kuploy-saas-kit hub …`."""

import json
import re
from pathlib import Path

import pytest
from tests.hub.talk import content, request, sync_request
from tests.hub.test_home import FREE, lowered
from tests.hub.test_simulator import CLAIM, POLL

from kuploy_saas_kit.errors import CeilingExceededError, HubRefusedError, InvalidValueError, KitError, StorageError
from kuploy_saas_kit.hub import HubHome, HubPolicy, commands


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the hub is to live."""
    return tmp_path / "hub"


def test_an_operator_s_day(folder: Path, tmp_path: Path) -> None:
    """From the first tenant to a removed instance, each command does its work and says so."""
    (tenant,) = commands.add_tenant(folder, "Acme Hosting")
    assert commands.list_tenants(folder) == (f"{tenant}  Acme Hosting",)
    (key,) = commands.issue_license(folder, tenant)
    (line,) = commands.list_licenses(folder, tenant)
    license_id = line.split()[0]
    assert line == f"{license_id}  kuploy-cloud growth  active  0 of 1 instances"

    hub = HubHome(folder).hub(HubPolicy())
    hub.post(request("/api/license/claims", CLAIM))
    assert commands.list_claims(folder) == ("KPXY-4829  kuploy-cloud  inst_one  node-1 https://cloud.acme.example",)
    assert "approved" in commands.approve_claim(folder, "KPXY-4829", key)[0]
    assert content(hub.post(request("/api/license/claims/poll", POLL)))["licenseKey"] == key

    plans = tmp_path / "plans.json"
    plans.write_text(json.dumps({"plans": [FREE]}))
    assert commands.set_plans(folder, tenant, plans) == ("the catalog has revision 1",)
    assert hub.post(lowered(sync_request(key, usage={"maxApps": 2}))).status == 200
    assert commands.list_instances(folder, license_id) == ("inst_one  seated  kit 0.1.0  maxApps=2",)

    assert "business" in commands.change_tier(folder, license_id, "business")[0]
    assert "suspended (unpaid)" in commands.set_status(folder, license_id, "suspended", "unpaid")[0]
    assert "active" in commands.set_status(folder, license_id, "active")[0]
    assert "paid until 2026-12-01 00:00Z" in commands.pay_until(folder, license_id, "2026-12-01T00:00:00Z")[0]
    assert "paid" not in commands.pay_until(folder, license_id, None)[0]
    assert "0 of 3 instances" in commands.remove_instance(folder, license_id, "inst_one")[0]
    assert "removed" in commands.list_instances(folder, license_id)[0]


def test_keys_are_shown_and_rotated(folder: Path) -> None:
    """What is shown is what instances set; a rotation shows what they need next."""
    (shown,) = commands.show_keys(folder)
    said, after = commands.rotate_keys(folder)
    kids = re.findall(r"[=,]([\w-]{12})=", shown)
    assert len(kids) == 2
    assert kids[1] in said
    assert re.findall(r"[=,]([\w-]{12})=", after)[:2] == kids
    assert "epoch 2" in commands.rotate_keys(folder, compromised=True)[0]


def test_a_claim_is_denied(folder: Path) -> None:
    """A denied instance is told."""
    commands.add_tenant(folder, "Acme")
    hub = HubHome(folder).hub(HubPolicy())
    hub.post(request("/api/license/claims", CLAIM))
    assert commands.deny_claim(folder, "KPXY-4829") == ("denied",)
    assert content(hub.post(request("/api/license/claims/poll", POLL)))["status"] == "denied"


def test_what_cannot_be_done_is_said(folder: Path, tmp_path: Path) -> None:
    """Unknown licenses, statuses, instants, files and plans above the tier are errors of the kit."""
    (tenant,) = commands.add_tenant(folder, "Acme")
    (key,) = commands.issue_license(folder, tenant, tier="hobby")
    above = tmp_path / "plans.json"
    above.write_text(json.dumps({"plans": [{**FREE, "features": {"aiAssistant": True}}]}))
    wrong: list[tuple[type[KitError], object]] = [
        (HubRefusedError, lambda: commands.change_tier(folder, "license_none", "hobby")),
        (InvalidValueError, lambda: commands.set_status(folder, key, "paused")),
        (InvalidValueError, lambda: commands.pay_until(folder, key, "soon")),
        (InvalidValueError, lambda: commands.pay_until(folder, key, "2026-12-01T00:00:00")),
        (StorageError, lambda: commands.set_plans(folder, tenant, tmp_path / "none.json")),
        (CeilingExceededError, lambda: commands.set_plans(folder, tenant, above)),
        (KitError, lambda: commands.serve(folder, host="hub.example")),
    ]
    for error, call in wrong:
        assert callable(call)
        with pytest.raises(error):
            call()
