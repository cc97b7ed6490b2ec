"""`kuploy-saas-kit license doctor`: look at everything once, say what is wrong and how to mend it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.cli import wiring
from kuploy_saas_kit.cli.findings import Finding, documents_of, exit_status, lines_of, looked_at, ok
from kuploy_saas_kit.cli.license import diagnosis
from kuploy_saas_kit.cli.license.bundle import bundle_text, secrets_in, write_bundle
from kuploy_saas_kit.cli.license.identity import read_identity
from kuploy_saas_kit.cli.license.status import LicenseReport, report_of
from kuploy_saas_kit.cli.output import say, say_json
from kuploy_saas_kit.cli.store.selftest import tested
from kuploy_saas_kit.cli.wiring import Opened, Stores, open_stores
from kuploy_saas_kit.errors import storage_errors
from kuploy_saas_kit.kit import keys_from_env
from kuploy_saas_kit.license import LicenseConfig, LicenseEvent


@dataclass(slots=True)
class Examination:
    """What was found so far. *report* is there once the license could be read, *secrets* are never to be shown."""

    clock: Clock
    findings: list[Finding] = field(default_factory=list)
    report: LicenseReport | None = None
    secrets: list[str] = field(default_factory=list)


def run(parsed: argparse.Namespace) -> int:
    """Examine the instance; 1 if something fails."""
    found = examine(parsed, SystemClock())
    if parsed.bundle is not None:
        text = bundle_text(found.findings, found.report, at=found.clock.now(), secrets=found.secrets)
        write_bundle(parsed.bundle, text)
    if parsed.json:
        say_json(documents_of(found.findings))
    else:
        say(*lines_of(found.findings))
    return exit_status(found.findings)


def examine(parsed: argparse.Namespace, clock: Clock) -> Examination:
    """Look at what can be looked at: what fails hides only what stands on it."""
    found = Examination(clock, secrets=secrets_in(os.environ, parsed.store, parsed.license_store, parsed.usage_store))
    found.findings += looked_at("configuration", lambda: _configuration(clock))
    found.findings += looked_at("Stripe keys", lambda: diagnosis.stripe_findings(keys_from_env()))
    is_configured = exit_status(found.findings) == 0
    found.findings += looked_at("store", lambda: _stores(found, parsed, is_configured=is_configured))
    return found


def _configuration(clock: Clock) -> Iterator[Finding]:
    config = LicenseConfig.from_env()
    yield ok("configuration", f"hub {config.hub_url}, product {config.product_type}, trust {config.trust}")
    yield from diagnosis.trust_findings(config.keys, clock.now())


def _stores(found: Examination, parsed: argparse.Namespace, *, is_configured: bool) -> Iterator[Finding]:
    with open_stores(parsed) as stores:
        store_findings = tested(stores, found.clock)
        yield from store_findings
        if is_configured and exit_status(store_findings) == 0:
            yield from _kit(found, stores)


def _kit(found: Examination, stores: Stores) -> Iterator[Finding]:
    opened = Opened(wiring.make_kit(stores), stores)
    try:
        yield from looked_at("license", lambda: _license(found, opened))
        yield from looked_at("Stripe", lambda: _stripe(opened))
    finally:
        opened.kit.stop()


def _license(found: Examination, opened: Opened) -> Iterator[Finding]:
    client, stores = opened.kit.license, opened.stores
    refused: list[str] = []
    client.add_observer(lambda event: refused.extend(_refused_with(event)))
    with storage_errors("read the stored license"):
        has_record = stores.license.load_license() is not None
        found.secrets.extend(filter(None, [stores.license.load_license_key()]))
    client.load()
    yield from diagnosis.identity_findings(read_identity(opened.kit.config.license, stores.license))
    code = refused[0] if refused else None
    yield diagnosis.stored_license_finding(client.snapshot(), has_record=has_record, refused=code)
    yield from _hub(found, opened)


def _hub(found: Examination, opened: Opened) -> Iterator[Finding]:
    client = opened.kit.license
    has_key = client.snapshot().state.has_key
    if has_key:
        result = client.sync()
        yield diagnosis.sync_finding(result)
        yield diagnosis.clock_finding(client.snapshot().issued_at if result.ok else None, found.clock.now())
    yield from diagnosis.status_findings(client.snapshot())
    found.report = report_of(opened)


def _stripe(opened: Opened) -> Iterator[Finding]:
    if keys_from_env() is not None:
        yield diagnosis.space_finding(opened.kit.gateway.space())


def _refused_with(event: LicenseEvent) -> list[str]:
    return [str(event.fields["code"])] if event.name == "cache.refused" else []
