"""The license token's signature: JWS compact, Ed25519, one header, pinned keys, nothing negotiable.

Sources: RFC 7515 (JWS compact serialization), RFC 8032 (Ed25519), RFC 9864 (the algorithm name `Ed25519`).
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter

from kuploy_saas_kit.errors import ConfigurationError, PayloadRejectedError
from kuploy_saas_kit.license.strict_json import parse_strict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOKEN_TYPE: Final = "kuploy-license+jws"  # noqa: S105 - the `typ` of a token, no secret
MAX_TOKEN_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1024
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_PARTS: Final = 3
# The y coordinates of the eight points of small order, in both spellings; the sign bit of x is left out. Under such a
# "key", all zeros among them, anybody can make signatures (RFC 8032, section 5.1; the same list is in libsodium).
_SMALL_ORDER: Final = frozenset(
    {
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        *(bytes([last]) + b"\xff" * 30 + b"\x7f" for last in (0xEC, 0xED, 0xEE)),
    }
)
_BASE64: Final = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64", hide_input_in_errors=True))


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key of the hub: 32 bytes of Ed25519 in base64url without padding.

    Tokens under it are accepted from *not_before* on and before *not_after* (aware; None for no bound), by this
    machine's clock. `ConfigurationError` when *public_key* is no such key.
    """

    public_key: str
    not_before: datetime | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        raw = self.raw()
        if raw[:-1] + bytes([raw[-1] & 0x7F]) in _SMALL_ORDER:
            raise ConfigurationError(
                "a trusted key is no key but a placeholder under which anybody can sign: copy the real one from the hub"
            )

    def raw(self) -> bytes:
        """The key's 32 bytes."""
        try:
            raw = _canonical_decode(self.public_key.encode())
        except (ValueError, AttributeError):
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise ConfigurationError(
                "a trusted key must be the 43 characters of an Ed25519 public key in base64url without '=';"
                " copy it from the hub's key page"
            )
        return raw

    def is_valid_at(self, instant: datetime) -> bool:
        """Whether tokens under this key are accepted at *instant*."""
        if self.not_before is not None and instant < self.not_before:
            return False
        return self.not_after is None or instant < self.not_after


class TokenVerifier:
    """Checks tokens against pinned keys. *legacy_eddsa* also accepts `EdDSA`, the algorithm's older name."""

    def __init__(self, keys: Mapping[str, TrustedKey], *, legacy_eddsa: bool = False) -> None:
        self._keys = keys
        self._algorithms = frozenset({"Ed25519", "EdDSA"} if legacy_eddsa else {"Ed25519"})
        self._loaded: dict[str, tuple[Ed25519PublicKey, type[Exception]]] = {}

    def verify(self, token: bytes, at: datetime) -> bytes:
        """The payload's bytes, once the signature holds; `PayloadRejectedError` with a `sig.` code otherwise."""
        if len(token) > MAX_TOKEN_BYTES:
            raise PayloadRejectedError("the token is larger than 1 MiB", code="payload.too_large")
        parts = token.split(b".")
        if len(parts) != _PARTS:
            raise PayloadRejectedError("the token has not exactly three parts", code="sig.format")
        header, payload, signature = parts[0], _decoded(parts[1]), _decoded(parts[2])
        key_id = _key_id(header, self._algorithms)
        trusted = self._keys.get(key_id)
        if trusted is None or not trusted.is_valid_at(at):
            raise PayloadRejectedError(
                "the token is signed with a key that is not trusted now; add the hub's new key to trusted_keys",
                code="sig.unknown_kid",
            )
        self._check_signature(key_id, trusted, token.rpartition(b".")[0], signature)
        return payload

    def _check_signature(self, key_id: str, trusted: TrustedKey, signed: bytes, signature: bytes) -> None:
        loaded = self._loaded.get(key_id)
        if loaded is None:
            ed25519, invalid_signature = _load_cryptography()
            loaded = self._loaded[key_id] = ed25519.from_public_bytes(trusted.raw()), invalid_signature
        key, invalid_signature = loaded
        if len(signature) != _SIGNATURE_BYTES:
            raise PayloadRejectedError("the token's signature has not 64 bytes", code="sig.invalid")
        try:
            key.verify(signature, signed)
        except invalid_signature:
            raise PayloadRejectedError("the token's signature does not hold", code="sig.invalid") from None


@lru_cache(maxsize=16)
def _key_id(part: bytes, algorithms: frozenset[str]) -> str:
    """The key that the one accepted header names; the same header comes with every token."""
    header = _decoded(part)
    if len(header) > _MAX_HEADER_BYTES:
        raise _bad_header()
    try:
        fields = parse_strict(header)
    except PayloadRejectedError:
        raise _bad_header() from None
    if not isinstance(fields, dict) or fields.keys() != {"alg", "kid", "typ"}:
        raise _bad_header()
    algorithm, key_id = fields["alg"], fields["kid"]
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise _bad_header()
    if fields["typ"] != TOKEN_TYPE or not isinstance(key_id, str):
        raise _bad_header()
    return key_id


def _load_cryptography() -> tuple[type[Ed25519PublicKey], type[Exception]]:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra, loaded when it is needed
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "verifying licenses needs cryptography: pip install 'kuploy-saas-kit[signing]'"
        ) from error
    return Ed25519PublicKey, InvalidSignature


def require_signing_extra() -> None:
    """`ConfigurationError` that names the extra, where cryptography is missing."""
    _load_cryptography()


def _decoded(part: bytes) -> bytes:
    try:
        return _canonical_decode(part)
    except ValueError:
        raise PayloadRejectedError("the token is not canonical base64url", code="sig.format") from None


def _canonical_decode(part: bytes) -> bytes:
    """The bytes that *part* encodes, if encoding them again gives *part*; `ValueError` otherwise.

    Pydantic decodes, because `binascii` takes five times as long. What it would let pass is no matter: no two texts of
    the encoder are of the same bytes.
    """
    raw = _BASE64.validate_json(b'"%b"' % part)
    if binascii.b2a_base64(raw, newline=False).replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=") != part:
        raise ValueError("not canonical base64url")
    return raw


def _bad_header() -> PayloadRejectedError:
    return PayloadRejectedError("the token's header is not the one header that is accepted", code="sig.header")
