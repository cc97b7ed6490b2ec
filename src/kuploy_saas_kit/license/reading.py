"""From the bytes of an answer, or of a stored record, to a payload that may be believed.

Everything goes through the same checks in the same order (hub protocol, section 2); a stored record again at each
load, without the nonce.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license.shapes import token_at_once
from kuploy_saas_kit.license.signature import TokenVerifier
from kuploy_saas_kit.license.strict_json import parse_strict
from kuploy_saas_kit.license.wire import LicensePayload, PayloadReader
from kuploy_saas_kit.model.product import ProductSchema

MAX_BODY_BYTES: Final = 1 << 20
_LONGEST_WINDOW: Final = timedelta(days=45)


class Trust(StrEnum):
    """What makes an answer of the hub believable."""

    PINNED = "pinned"
    """A signature under one of the configured keys."""
    TLS_ONLY = "tls_only"
    """Only that it came over TLS; nothing protects what is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Whom an answer must be for, and by whom."""

    issuer: str
    product_type: str
    instance_id: str
    key_hash: str


@dataclass(frozen=True, slots=True)
class Believed:
    """A payload that passed every check, and the bytes that it came in."""

    payload: LicensePayload
    body: bytes = field(repr=False)


def hash_of_key(license_key: str) -> str:
    """What stands for the license key where the key itself must not."""
    return "sha256:" + hashlib.sha256(license_key.encode()).hexdigest()


class LicenseReader:
    """Reads answers and records for one product under one trust mode; without *verifier* it is `TLS_ONLY`."""

    def __init__(self, schema: ProductSchema, verifier: TokenVerifier | None) -> None:
        self._payloads = PayloadReader(schema)
        self._verifier = verifier

    @property
    def trust(self) -> Trust:
        """The mode that this reader reads in."""
        return Trust.TLS_ONLY if self._verifier is None else Trust.PINNED

    def read_answer(self, body: bytes, binding: Binding, nonce: str, now: datetime) -> Believed:
        """The payload of a 200 answer to the request that carried *nonce*; `PayloadRejectedError` otherwise."""
        license_part = _license_part(body)
        if self._verifier is None:
            believed = self._read_plain(license_part, body, binding)
        elif not isinstance(license_part, str) or not license_part.isascii():
            raise PayloadRejectedError("the hub sent no signed license", code="sig.format")
        else:
            believed = self._read_token(license_part.encode(), self._verifier, binding, now)
        self._check_nonce(believed.payload, nonce)
        return believed

    def read_record(self, body: bytes, binding: Binding, now: datetime) -> Believed:
        """The payload of a stored record; `PayloadRejectedError` for one that no longer, or never, held."""
        if self._verifier is None:
            return self._read_plain(_license_part(body), body, binding)
        return self._read_token(body, self._verifier, binding, now)

    def _read_token(self, token: bytes, verifier: TokenVerifier, binding: Binding, now: datetime) -> Believed:
        payload = self._payloads.read_bytes(verifier.verify(token, now))
        if payload.epoch is None or payload.revision is None:
            raise PayloadRejectedError("a signed payload must name epoch and revision", code="payload.schema")
        _check_binding(payload, binding)
        _check_window(payload)
        return Believed(payload, token)

    def _read_plain(self, license_part: object, body: bytes, binding: Binding) -> Believed:
        if isinstance(license_part, str):
            raise PayloadRejectedError(
                "the hub signs its licenses and no key is trusted: configure trusted_keys", code="sig.unverifiable"
            )
        payload = self._payloads.read(license_part)
        _check_binding(payload, binding)
        _check_window(payload)
        return Believed(payload, body)

    def _check_nonce(self, payload: LicensePayload, nonce: str) -> None:
        if payload.nonce is None and self._verifier is None:
            return
        if not hmac.compare_digest((payload.nonce or "").encode(), nonce.encode()):
            raise PayloadRejectedError("the payload answers another request", code="replay.nonce")


def _license_part(body: bytes) -> object:
    """The `license` of the envelope `{"success": true, "license": …}`."""
    if len(body) > MAX_BODY_BYTES:
        raise PayloadRejectedError("the answer is larger than 1 MiB", code="payload.too_large")
    token = token_at_once(body)
    if token is not None:
        return token
    if not body.strip():
        raise PayloadRejectedError("the answer is empty", code="payload.empty")
    if body.lstrip().startswith(b"<"):
        raise PayloadRejectedError(
            "the answer is a web page and no license: something on the way answers for the hub",
            code="payload.not_token",
        )
    envelope = parse_strict(body)
    if not isinstance(envelope, dict) or envelope.get("success") is not True or "license" not in envelope:
        raise PayloadRejectedError("the answer has no license", code="payload.schema")
    return envelope["license"]


def _check_binding(payload: LicensePayload, binding: Binding) -> None:
    pairs = (
        ("bind.issuer", payload.issuer, binding.issuer, "comes from another hub"),
        ("bind.product", payload.product_type, binding.product_type, "is for another product"),
        ("bind.instance", payload.instance_id, binding.instance_id, "is for another instance"),
        ("bind.license", payload.key_hash, binding.key_hash, "is for another license key"),
    )
    for code, got, wanted, what in pairs:
        if not hmac.compare_digest(got.encode(), wanted.encode()):
            raise PayloadRejectedError(f"the payload {what}", code=code)


def _check_window(payload: LicensePayload) -> None:
    if not payload.issued_at <= payload.fresh_until <= payload.grace_until <= payload.issued_at + _LONGEST_WINDOW:
        raise PayloadRejectedError(
            "the payload's times are not issuedAt ≤ freshUntil ≤ graceUntil ≤ issuedAt + 45 days",
            code="time.bad_window",
        )
