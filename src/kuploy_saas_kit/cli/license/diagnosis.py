"""What the doctor makes of what it sees. Pure: values in, findings out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from kuploy_saas_kit.cli.findings import Finding, fail, ok, warn
from kuploy_saas_kit.cli.license.codes import mend_of
from kuploy_saas_kit.cli.license.identity import Identity
from kuploy_saas_kit.cli.license.status import headline, notes
from kuploy_saas_kit.cli.license.sync import named_code
from kuploy_saas_kit.cli.output import instant, span
from kuploy_saas_kit.license import LicenseSnapshot, SyncResult, TrustedKey
from kuploy_saas_kit.model.status import LicenseStatus
from kuploy_saas_kit.model.subscription import StripeSpace

if TYPE_CHECKING:
    from kuploy_saas_kit.stripe_provision import StripeKeys

_CLOCK_TOLERANCE: Final = timedelta(seconds=300)
_CLOCK_NOTICED: Final = timedelta(seconds=30)
_FINGERPRINT: Final = 16
_WORKING: Final = frozenset({LicenseStatus.ACTIVE, LicenseStatus.STALE})


def trust_findings(keys: Mapping[str, TrustedKey], now: datetime) -> Iterator[Finding]:
    """Whom the instance believes; a configuration without keys is one that trusts TLS alone."""
    if not keys:
        yield warn(
            "trusted keys", "none: trust is tls_only", "pin the hub's keys, or who writes the store writes rights"
        )
        return
    for kid, key in keys.items():
        yield _key_finding(kid, key, now)
    if len(keys) == 1:
        yield warn(
            "trusted keys", "only one", "pin the hub's next key too, or syncs fail on the day that the hub changes keys"
        )


def fingerprint(key: TrustedKey) -> str:
    """The first characters of the SHA-256 of the public key's 32 bytes."""
    return hashlib.sha256(key.raw()).hexdigest()[:_FINGERPRINT]


def identity_findings(identity: Identity) -> Iterator[Finding]:
    """Who the instance is."""
    yield ok("instance", identity.instance_id)
    if identity.key is None:
        mend = "run `kuploy-saas-kit license claim`, or set LICENSE_KEY"
        if identity.claim_code is not None:
            mend = f"the claim {identity.claim_code} is on its way: `kuploy-saas-kit license claim` resumes it"
        yield warn("license key", "none", mend)
    else:
        yield ok("license key", identity.named_key)


def stored_license_finding(snapshot: LicenseSnapshot, *, has_record: bool, refused: str | None) -> Finding:
    """Whether what is stored stands up to verification. *refused* is the code that it does not with."""
    if not has_record:
        return warn("stored license", "none", "after the first sync the instance also starts without the hub")
    if refused is not None:
        return fail("stored license", f"it does not count ({refused})", mend_of(refused))
    if snapshot.revision is None:
        return warn(
            "stored license", "there is no license key to verify it with", "claim the license, or set LICENSE_KEY"
        )
    return ok("stored license", f"verified: epoch {snapshot.epoch}, revision {snapshot.revision}")


def status_findings(snapshot: LicenseSnapshot) -> Iterator[Finding]:
    """How the license stands."""
    if snapshot.status in _WORKING:
        yield ok("license", headline(snapshot))
    elif snapshot.status is LicenseStatus.GRACE:
        yield warn(
            "license", headline(snapshot), f"let the instance reach the hub before {instant(snapshot.grace_until)}"
        )
    else:
        yield fail("license", headline(snapshot), "")
    for note in notes(snapshot):
        yield warn("license", note, "")


def sync_finding(result: SyncResult) -> Finding:
    """How an exchange with the hub ends."""
    if result.ok:
        return ok("sync", result.code)
    return fail("sync", named_code(result), mend_of(result.code, result.hub_code))


def clock_finding(issued_at: datetime | None, now: datetime) -> Finding:
    """How far the clocks are apart, by an answer that the hub issued just now. Only what is signed is believed."""
    if issued_at is None:
        return warn(
            "clock", "not compared: the hub gave no license", "it is compared with the first sync that succeeds"
        )
    apart = now - issued_at
    ahead = "ahead of" if apart > timedelta() else "behind"
    seen = f"{span(abs(apart))} {ahead} the hub's"
    if abs(apart) > _CLOCK_TOLERANCE:
        return fail("clock", seen, "set this machine's clock, by NTP: Stripe's webhooks are refused too")
    if abs(apart) > _CLOCK_NOTICED:
        return warn("clock", seen, "set this machine's clock, by NTP")
    return ok("clock", seen)


def stripe_findings(keys: StripeKeys | None) -> Iterator[Finding]:
    """What Stripe's keys allow."""
    if keys is None:
        yield warn("Stripe keys", "none in the environment", "set STRIPE_SECRET_KEY to sell plans; all else works")
        return
    mode = "live" if keys.livemode else "test"
    yield ok("Stripe keys", f"{mode} mode, secret key {keys.digest}")
    if not keys.webhook_secrets:
        yield warn("webhook secret", "none: deliveries are answered 503", "set STRIPE_WEBHOOK_SECRET to the endpoint's")
    if keys.publishable is None:
        yield warn("publishable key", "none", "set STRIPE_PUBLISHABLE_KEY if your pages need it")


def space_finding(space: StripeSpace) -> Finding:
    """Which account Stripe says the key is of."""
    return ok("Stripe", f"answers for {space}")


def _key_finding(kid: str, key: TrustedKey, now: datetime) -> Finding:
    seen = f"{kid} is {fingerprint(key)}"
    if key.is_valid_at(now):
        return ok("trusted key", seen)
    return warn("trusted key", f"{seen}, not valid now", "remove it, or mend its bounds")
