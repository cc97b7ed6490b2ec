"""The hub's keys, and the token that they sign (hub protocol, section 2). Needs the extra `[signing]`."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kuploy_saas_kit.errors import ConfigurationError

try:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
except ModuleNotFoundError as error:  # pragma: no cover - the tests have every extra
    raise ConfigurationError(
        "signing licenses needs cryptography: install kuploy-saas-kit[signing] (or [hub])"
    ) from error

TOKEN_TYPE: Final = "kuploy-license+jws"  # noqa: S105 - a media type


class SigningKey:
    """An Ed25519 key with an id. The private part is in no repr and cannot be pickled."""

    __slots__ = ("_private", "kid", "public_key")

    def __init__(self, private: Ed25519PrivateKey, *, kid: str | None = None) -> None:
        public = private.public_key().public_bytes_raw()
        self._private = private
        self.public_key = b64url(public)
        self.kid = kid or b64url(hashlib.sha256(public).digest())[:12]

    @classmethod
    def generate(cls, *, kid: str | None = None) -> SigningKey:
        """A new key; its id is the beginning of its public key's hash unless *kid* is given."""
        return cls(Ed25519PrivateKey.generate(), kid=kid)

    @classmethod
    def from_bytes(cls, private: bytes, *, kid: str | None = None) -> SigningKey:
        """The key of these 32 private bytes."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(private), kid=kid)
        except ValueError:
            raise ConfigurationError("a signing key is 32 bytes: make one with `kuploy-saas-kit hub serve`") from None

    def to_bytes(self) -> bytes:
        """The 32 private bytes, for a file that only the hub can read."""
        return self._private.private_bytes_raw()

    def sign(self, payload: Mapping[str, Any]) -> str:
        """*payload* as a JWS in compact form, with exactly the protected header of the protocol."""
        header = {"alg": "Ed25519", "kid": self.kid, "typ": TOKEN_TYPE}
        signed = f"{b64url(_json(header))}.{b64url(_json(payload))}"
        return f"{signed}.{b64url(self._private.sign(signed.encode('ascii')))}"

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, public_key={self.public_key!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a signing key is not pickled: keep its bytes in a file that only the hub can read")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The key that signs, the one that will sign next, and the public keys of those that did.

    Instances pin the first two before they are needed, so that a rotation reaches nobody unprepared. The *epoch*
    rises when a key is replaced because others may have it: what they signed then ranks below everything new.
    """

    current: SigningKey
    following: SigningKey
    retired: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 1

    @classmethod
    def generate(cls) -> KeyRing:
        """Two new keys."""
        return cls(SigningKey.generate(), SigningKey.generate())

    @property
    def trusted_keys(self) -> dict[str, str]:
        """What instances pin: base64url public keys by key id, the retired ones too."""
        return {**self.retired, **{key.kid: key.public_key for key in (self.current, self.following)}}

    def seal(self, payload: Mapping[str, Any]) -> str:
        """*payload* signed by the current key."""
        return self.current.sign(payload)

    def rotated(self, *, compromised: bool = False) -> KeyRing:
        """The ring once the next key signs; a *compromised* key is trusted no longer and the epoch rises."""
        retired = {} if compromised else {self.current.kid: self.current.public_key}
        return replace(
            self,
            current=self.following,
            following=SigningKey.generate(),
            retired={**self.retired, **retired},
            epoch=self.epoch + compromised,
        )


def b64url(raw: bytes) -> str:
    """*raw* in base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
