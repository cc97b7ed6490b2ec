"""Whether Stripe signed these bytes for us: pure, and for any bytes whatever an answer.

Source: Stripe's documentation "Verify webhook signatures manually": the header `t=…,v1=…`, HMAC-SHA256 over
`{t}.{body}` with the endpoint's secret. Unlike Stripe's own package the age is bounded on both sides.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kuploy_saas_kit.errors import WebhookRejectedError

MAX_PAYLOAD: Final = 1024 * 1024
"""Bytes of the largest delivery that is read."""

TOLERANCE: Final = timedelta(seconds=300)
"""How far the signature's time may be from ours, before or after."""

_MAX_HEADER: Final = 4096
_TIME: Final = re.compile(r"[0-9]{1,12}")


def verify_signature(payload: bytes, header: str | None, secrets: Sequence[str], now: datetime) -> None:
    """Return if one of *secrets* signed exactly these bytes within the tolerance; `WebhookRejectedError` otherwise."""
    if not isinstance(payload, bytes):
        raise WebhookRejectedError("the payload must be the raw bytes of the request's body")
    if len(payload) > MAX_PAYLOAD:
        raise WebhookRejectedError("the payload is larger than any event")
    stamp, signatures = _parse(header)
    if abs(now.timestamp() - int(stamp)) > TOLERANCE.total_seconds():
        raise WebhookRejectedError("the signature's time is too far from ours: check this machine's clock")
    signed = stamp.encode() + b"." + payload
    if not any(_signs(secret, signed, signatures) for secret in secrets):
        raise WebhookRejectedError(
            "no signature matches: check the endpoint's secret, and that the body is passed on byte by byte"
        )


def _signs(secret: str, signed: bytes, signatures: Sequence[bytes]) -> bool:
    expected = hmac.digest(secret.encode(), signed, "sha256").hex().encode()
    return any(hmac.compare_digest(expected, signature) for signature in signatures)


def _parse(header: str | None) -> tuple[str, list[bytes]]:
    if not isinstance(header, str) or len(header) > _MAX_HEADER or not header.isascii():
        raise WebhookRejectedError("the Stripe-Signature header is missing or mangled")
    pairs = [item.split("=", 1) for item in header.split(",") if "=" in item]
    stamps = [value for name, value in pairs if name == "t"]
    signatures = [value.encode() for name, value in pairs if name == "v1"]
    if not stamps or not signatures or not _TIME.fullmatch(stamps[0]):
        raise WebhookRejectedError("the Stripe-Signature header has no time or no v1 signature")
    return stamps[0], signatures
