"""`kuploy-saas-kit license status`: what a status page needs, in words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kuploy_saas_kit.cli.license.identity import Identity, read_identity
from kuploy_saas_kit.cli.output import instant, iso, pairs, say, say_json, span
from kuploy_saas_kit.cli.wiring import Opened, open_kit
from kuploy_saas_kit.license import LicenseSnapshot, LicenseStatus, Operation, Trust
from kuploy_saas_kit.license.signature import TrustedKey
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import limit_to_wire

_UNTIL_THEN: Final = "what runs goes on"
_MEANING: Final = {
    LicenseStatus.UNLICENSED: f"nothing can be created, {_UNTIL_THEN}; claim a license, or set LICENSE_KEY",
    LicenseStatus.PENDING: f"nothing can be created until the hub has answered once, {_UNTIL_THEN}",
    LicenseStatus.REVOKED: f"nothing is granted any more, {_UNTIL_THEN}; get a new license at the hub",
    LicenseStatus.SUSPENDED: f"nothing new, {_UNTIL_THEN}; settle the license at the hub",
    LicenseStatus.EXPIRED: f"nothing new, {_UNTIL_THEN}; let it reach the hub, and see that the license is paid",
    LicenseStatus.GRACE: "the hub has been silent for long; everything works but carrying plans to Stripe",
    LicenseStatus.STALE: "the hub is late; everything works",
    LicenseStatus.ACTIVE: "everything works",
}


@dataclass(frozen=True, slots=True)
class LicenseReport:
    """All that is shown of a license."""

    snapshot: LicenseSnapshot
    identity: Identity
    hub_url: str
    product_type: str
    trusted_keys: Mapping[str, TrustedKey]


def run(parsed: argparse.Namespace) -> int:
    """Show the stored license."""
    with open_kit(parsed) as opened:
        report = report_of(opened)
    if parsed.json:
        say_json(report_document(report))
    else:
        say(*report_lines(report))
    return 0


def report_of(opened: Opened) -> LicenseReport:
    """What there is to show now."""
    config = opened.kit.config.license
    identity = read_identity(config, opened.stores.license)
    return LicenseReport(opened.kit.license.snapshot(), identity, config.hub_url, config.product_type, config.keys)


def report_lines(report: LicenseReport) -> list[str]:
    """The report for people."""
    snapshot, identity = report.snapshot, report.identity
    rows = [
        ("status", headline(snapshot)),
        ("tier", _named_tier(snapshot)),
        ("instance", identity.instance_id),
        ("license key", identity.named_key),
        ("claim", "" if identity.claim_code is None else f"{identity.claim_code} is on its way"),
        ("hub", f"{report.hub_url} ({_trust(report)})"),
        *_times(snapshot),
        ("permitted", ", ".join(one for one in Operation if snapshot.permits(one))),
        ("refused", ", ".join(one for one in Operation if not snapshot.permits(one))),
        *_rights(snapshot.grant),
        ("catalog", _catalog(snapshot)),
        *(("note", note) for note in notes(snapshot)),
    ]
    return pairs(rows)


def report_document(report: LicenseReport) -> dict[str, object]:
    """The report for machines."""
    snapshot, identity = report.snapshot, report.identity
    return {
        "status": snapshot.status,
        "reason": snapshot.status_reason,
        "permits": {one.value: snapshot.permits(one) for one in Operation},
        "tier": snapshot.tier,
        "tenant_id": snapshot.tenant_id,
        "license_id": snapshot.license_id,
        "instance_id": identity.instance_id,
        "license_key": identity.key,
        "claim_code": identity.claim_code,
        "hub_url": report.hub_url,
        "product_type": report.product_type,
        "trust": snapshot.trust,
        "trusted_keys": sorted(report.trusted_keys),
        **_dated(snapshot),
        **_granted(snapshot.grant),
        "catalog_revision": snapshot.catalog_revision,
        "plans": None if snapshot.catalog is None else [plan.slug for plan in snapshot.catalog],
        "notes": notes(snapshot),
    }


def headline(snapshot: LicenseSnapshot) -> str:
    """The status and what it means."""
    reason = f" ({snapshot.status_reason})" if snapshot.status_reason else ""
    return f"{snapshot.status.name}{reason}: {meaning(snapshot.status)}"


def meaning(status: LicenseStatus) -> str:
    """What a status does, and who can change it."""
    return _MEANING[status]


def notes(snapshot: LicenseSnapshot) -> list[str]:
    """What is worth a look beside the status."""
    told = [
        (snapshot.clock_suspect, "this machine's clock and the hub's differ by more than five minutes: set it"),
        (snapshot.held_payload, "the hub took everything away without a reason; it is asked again before that counts"),
        (snapshot.catalog_error is not None, f"the newest catalog is not in force: {snapshot.catalog_error}"),
        (bool(snapshot.over_limit), f"more is in use than the license grants: {', '.join(snapshot.over_limit)}"),
        (bool(snapshot.unknown_keys), f"this version knows nothing of {', '.join(map(str, snapshot.unknown_keys))}"),
    ]
    return [note for applies, note in told if applies]


def _named_tier(snapshot: LicenseSnapshot) -> str:
    return "" if snapshot.tier is None else f"{snapshot.tier} ({snapshot.license_id} of {snapshot.tenant_id})"


def _trust(report: LicenseReport) -> str:
    if report.snapshot.trust is Trust.TLS_ONLY:
        return "trusted by TLS only"
    return f"trusted by {len(report.trusted_keys)} pinned key{'s' if len(report.trusted_keys) != 1 else ''}"


def _times(snapshot: LicenseSnapshot) -> list[tuple[str, str]]:
    if snapshot.age is None:
        return []
    order = f"epoch {snapshot.epoch}, revision {snapshot.revision}"
    return [
        ("issued", f"{instant(snapshot.issued_at)}, {span(snapshot.age)} ago ({order})"),
        ("fresh until", instant(snapshot.fresh_until)),
        ("grace until", instant(snapshot.grace_until)),
        ("paid until", instant(snapshot.paid_until)),
    ]


def _dated(snapshot: LicenseSnapshot) -> dict[str, object]:
    return {
        "epoch": snapshot.epoch,
        "revision": snapshot.revision,
        "issued_at": iso(snapshot.issued_at),
        "age_seconds": None if snapshot.age is None else int(snapshot.age.total_seconds()),
        "fresh_until": iso(snapshot.fresh_until),
        "grace_until": iso(snapshot.grace_until),
        "paid_until": iso(snapshot.paid_until),
    }


def _rights(grant: LicenseGrant | None) -> list[tuple[str, str]]:
    if grant is None:
        return [("features", "none")]
    limits = ", ".join(f"{key} {value}" for key, value in grant.limits.items())
    return [("features", ", ".join(_features(grant)) or "none"), ("limits", limits)]


def _granted(grant: LicenseGrant | None) -> dict[str, object]:
    if grant is None:
        return {"features": [], "limits": {}}
    return {"features": _features(grant), "limits": {key: limit_to_wire(value) for key, value in grant.limits.items()}}


def _features(grant: LicenseGrant) -> list[str]:
    return sorted(grant.features)


def _catalog(snapshot: LicenseSnapshot) -> str:
    if snapshot.catalog is None:
        return ""
    return f"revision {snapshot.catalog_revision}, {len(snapshot.catalog.plans)} plans"
