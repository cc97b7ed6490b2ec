"""The examples run as a newcomer would run them."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import ROOT

from kuploy_saas_kit import KitConfig, SaasKit
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.license import LicenseConfig
from kuploy_saas_kit.plans import Plan, Price
from kuploy_saas_kit.stripe_provision import StripeKeys
from kuploy_saas_kit.testing import HubSimulator, ManualClock
from kuploy_saas_kit.testing.stripe import StripeSimulator

App = Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]


@pytest.mark.parametrize("script", ["quickstart.py"])
def test_an_example_runs(script: str, tmp_path: Path) -> None:
    """An example runs in a process of its own, in another folder, and tells what it shows."""
    command = [sys.executable, str(ROOT / "examples" / script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0, done.stderr
    assert "5 of 8 concurrent requests got a project" in done.stdout


def test_the_quickstart_is_as_short_as_the_readme_says() -> None:
    """README.md gives the number of its lines."""
    lines = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8").splitlines()
    assert f"in {len(lines)} lines" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(lines) < 60


def _ask(app: App, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
    answered: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **headers,
    }
    content = b"".join(app(environ, lambda status, _headers: answered.append(status)))
    return int(answered[0].split()[0]), json.loads(content)


def test_the_host_of_the_examples_sells_and_gates() -> None:
    """The WSGI host takes an org from the default plan through a checkout to a larger limit."""
    clock = ManualClock()
    hub, stripe = HubSimulator(clock=clock), StripeSimulator(clock=clock)
    tenant = hub.add_tenant("Acme Hosting")
    license_key = hub.issue_license(tenant)
    free = Plan("free", "Free", limits={"maxProjects": 1}, is_default=True)
    hub.set_catalog(tenant, [free, Plan("pro", "Pro", Price(2000, "cad"), {"aiAssistant"}, {"maxProjects": 2})])
    keys = StripeKeys(secret="sk_test_example", webhook_secrets=("whsec_example",))
    with hub.serve() as hub_url, stripe.serve() as stripe_url:
        license_config = LicenseConfig(hub_url=hub_url, license_key=license_key, trusted_keys=hub.trusted_keys)
        config = KitConfig(license=license_config, stripe_base_url=stripe_url)
        kit = SaasKit(config, MemoryStore(clock), stripe=lambda: keys, clock=clock)
        app: App = runpy.run_path(str(ROOT / "examples" / "wsgi_host.py"))["make_app"](kit)
        assert _ask(app, "GET", "/license")[1]["creating"] is False
        assert kit.run_once().problems == ()
        assert _ask(app, "POST", "/orgs/acme/projects/one")[0] == 201
        assert _ask(app, "POST", "/orgs/acme/projects/two") == (
            403,
            {"reason": "limit_reached", "remedy": "the org removes some or changes to a larger plan"},
        )
        status, session = _ask(app, "POST", "/orgs/acme/checkout/pro")
        assert status == 200
        stripe.endpoint(
            lambda body, signature: _ask(app, "POST", "/api/webhooks/stripe", body, HTTP_STRIPE_SIGNATURE=signature)[0],
            secret="whsec_example",
        )
        stripe.pay(session["url"].rpartition("/")[2].partition("#")[0])
        assert {delivery.status for delivery in stripe.deliver()} == {200}
        assert _ask(app, "POST", "/orgs/acme/projects/two")[0] == 201
        assert _ask(app, "GET", "/orgs/acme")[1]["features"] == ["aiAssistant"]
        assert _ask(app, "POST", "/orgs/acme/checkout/free")[0] == 409
        assert _ask(app, "DELETE", "/orgs/acme/projects/one") == (200, {"maxProjects": 1})
        assert _ask(app, "POST", "/api/webhooks/stripe", b"{}")[0] == 400
        assert _ask(app, "GET", "/nowhere")[0] == 404
        kit.stop()
