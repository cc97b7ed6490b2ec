"""`hub …`: a hub in a folder, administered without a key on the command line."""

import getpass
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.cli import main
from kuploy_saas_kit.hub import HubHome, HubPolicy, commands
from kuploy_saas_kit.license.claim import claim_body, new_claim
from kuploy_saas_kit.license.ports import HubRequest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of the hub in a folder of its own: status, output, errors."""
    monkeypatch.setenv("KUPLOY_HUB_FOLDER", str(tmp_path / "hub"))

    def ran(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["hub", *arguments])
        return status, *capsys.readouterr()

    return ran


@pytest.fixture
def license_key(run: Run) -> str:
    """The key of a license that was issued."""
    _, tenant, _ = run("tenant", "add", "Acme Hosting")
    _, key, _ = run("license", "issue", tenant.strip(), "--tier", "starter")
    return key.strip()


def license_id(run: Run) -> str:
    """The id of the only license."""
    return run("license", "list")[1].split()[0]


def test_tenants_and_licenses(run: Run, license_key: str) -> None:
    """A tenant is added, a license issued, changed and listed."""
    assert license_key.startswith("lic_")
    name = license_id(run)
    assert "Acme Hosting" in run("tenant", "list")[1]
    for words, told in [
        (("license", "tier", name, "business"), "business"),
        (("license", "suspend", name, "--reason", "unpaid"), "suspended (unpaid)"),
        (("license", "reinstate", name), "active"),
        (("license", "revoke", name), "revoked"),
        (("license", "pay-until", name, "2030-12-01T00:00:00Z"), "paid until 2030-12-01"),
        (("license", "pay-until", name), "0 of 3 instances\n"),
    ]:
        status, out, err = run(*words)
        assert (status, err) == (0, "")
        assert told in out
    tenant = run("tenant", "list")[1].split()[0]
    assert run("license", "list", "--tenant", tenant)[1] == run("license", "list")[1]
    assert run("instance", "list", name) == (0, "", "")


@pytest.mark.parametrize("command", [("license", "revoke"), ("instance", "list")])
def test_a_key_is_no_name(run: Run, license_key: str, command: tuple[str, str]) -> None:
    """A license key among the arguments is refused and not repeated."""
    status, out, err = run(*command, license_key)
    assert status == 2
    assert "does not belong on the command line" in err
    assert license_key not in out + err


def test_what_is_not_there(run: Run, license_key: str) -> None:
    """What cannot be done is one line and status 2."""
    name = license_id(run)
    for words in [
        ("license", "tier", name, "galactic"),
        ("license", "pay-until", name, "tomorrow"),
        ("instance", "remove", name, "inst_nobody"),
        ("claim", "deny", "KPXY-4829"),
        ("catalog", "set", "tenant_1", "nothing.json"),
    ]:
        status, _, err = run(*words)
        assert status == 2
        assert err.count("\n") == 1


def test_keys_are_shown_and_rotated(run: Run) -> None:
    """The setting that pins the keys is printed; a rotation prints the next one."""
    shown = run("keys", "show")[1]
    assert shown.startswith("LICENSE_TRUSTED_KEYS=")
    assert "LICENSE_TRUSTED_KEYS=" in run("keys", "rotate")[1]
    assert "epoch 2" in run("keys", "rotate", "--compromised")[1]
    assert run("keys", "show")[1] != shown


def test_the_plans_of_a_tenant(run: Run, license_key: str, tmp_path: Path) -> None:
    """A file of plans becomes the tenant's catalog."""
    file = tmp_path / "plans.json"
    file.write_text(
        json.dumps({"plans": [{"slug": "free", "name": "Free", "limits": {}, "features": {}, "isDefault": True}]}),
        encoding="utf-8",
    )
    tenant = run("tenant", "list")[1].split()[0]
    assert run("catalog", "set", tenant, str(file)) == (0, "the catalog has revision 1\n", "")


@pytest.mark.parametrize("is_typed", [True, False])
def test_a_claim_is_approved_without_showing_the_key(
    run: Run, license_key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_typed: bool
) -> None:
    """The key is typed without echo, or comes through a pipe; no key at all is refused."""
    code = begin_claim(tmp_path / "hub")
    assert code in run("claim", "list")[1]
    typed(monkeypatch, "\n", is_typed=is_typed)
    assert "no license key was given" in run("claim", "approve", code)[2]
    typed(monkeypatch, f"{license_key}\n", is_typed=is_typed)
    status, out, err = run("claim", "approve", code)
    assert (status, err) == (0, "")
    assert license_key not in out
    assert run("claim", "list")[1] == ""


def test_a_claim_is_denied(run: Run, license_key: str, tmp_path: Path) -> None:
    """A denied code waits no more."""
    code = begin_claim(tmp_path / "hub")
    assert run("claim", "deny", code) == (0, "denied\n", "")
    assert run("claim", "list")[1] == ""


def begin_claim(folder: Path) -> str:
    """An instance shows a code."""
    claim = new_claim(SystemClock().now())
    body = claim_body(claim, instance_id="inst_1", product_type="kuploy-cloud", hostname="host", public_url="")
    hub = HubHome(folder).hub(HubPolicy(issuer="https://hub.example"))
    request = HubRequest("https://hub.example/api/license/claims", {}, json.dumps(body).encode())
    assert hub.post(request).status == 201
    return claim.code


def typed(monkeypatch: pytest.MonkeyPatch, text: str, *, is_typed: bool) -> None:
    """What comes in, from a terminal or a pipe."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            """A terminal."""
            return is_typed

    monkeypatch.setattr(sys, "stdin", Terminal(text))
    monkeypatch.setattr(getpass, "getpass", lambda _: text.strip())


def test_serve_passes_on_what_it_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, issuer and certificate reach the hub; half of a certificate is refused."""
    served: list[dict[str, Any]] = []
    monkeypatch.setattr(commands, "serve", lambda _, **settings: served.append(settings))
    assert run("serve", "--port", "9", "--issuer", "https://hub.example")[0] == 0
    assert run("serve", "--host", "0.0.0.0", "--tls-certificate", "c.pem", "--tls-key", "k.pem")[0] == 0  # noqa: S104
    assert (served[0]["port"], served[0]["issuer"], served[0]["tls"]) == (9, "https://hub.example", None)
    assert served[1]["tls"].certificate == Path("c.pem")
    assert "needs both" in run("serve", "--tls-key", "k.pem")[2]


def test_serving_in_the_clear_is_refused(run: Run) -> None:
    """Without a certificate the hub serves this machine only."""
    status, _, err = run("serve", "--host", "192.0.2.1")
    assert status == 2
    assert "without TLS" in err
