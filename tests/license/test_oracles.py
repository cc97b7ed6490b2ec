"""The verifier beside others: Wycheproof's vectors, and two JOSE libraries that know nothing of the kit."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from jwt.algorithms import OKPAlgorithm
from tests.license.doubles import HEADER, SIGNER, b64, payload
from tests.license.fuzz_tokens import mutated

from kuploy_saas_kit.errors import ConfigurationError, PayloadRejectedError
from kuploy_saas_kit.license import TrustedKey
from kuploy_saas_kit.license.signature import _SMALL_ORDER, TokenVerifier

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # joserfc says so of the older name

NOW = datetime(2026, 11, 1, tzinfo=UTC)
VECTORS = Path(__file__).parent / "vectors"
ED25519 = json.loads((VECTORS / "ed25519_test.json").read_text(encoding="utf-8"))
COMPACT = json.loads((VECTORS / "json_web_signature_excerpt.json").read_text(encoding="utf-8"))
VERIFIER = TokenVerifier({"k1": TrustedKey(SIGNER.public)})
LEGACY = TokenVerifier({"k1": TrustedKey(SIGNER.public)}, legacy_eddsa=True)
TOKEN = SIGNER.sign(payload(NOW))
PUBLIC = SIGNER.key.public_key()

PYJWT = jwt.PyJWS(algorithms=["EdDSA"])
PYJWT.register_algorithm("Ed25519", OKPAlgorithm())  # PyJWT has only the older name
Reader = Callable[[str], bytes | None]


def accepted(token: str, verifier: TokenVerifier = VERIFIER) -> bytes | None:
    """The payload, or None for a token that is refused."""
    try:
        return verifier.verify(token.encode("utf-8", "surrogateescape"), NOW)
    except PayloadRejectedError:
        return None


def by_pyjwt(token: str) -> bytes | None:
    """The payload as PyJWT finds it."""
    try:
        found: bytes = PYJWT.decode(token, PUBLIC, algorithms=["Ed25519", "EdDSA"])
    except (jwt.PyJWTError, ValueError):
        return None
    return found


def by_joserfc(token: str) -> bytes | None:
    """The payload as joserfc finds it."""
    try:
        return jws.deserialize_compact(token, OKPKey.import_key(PUBLIC), algorithms=["Ed25519", "EdDSA"]).payload
    except (JoseError, ValueError, TypeError, AttributeError, KeyError):
        return None


def ed25519_cases() -> Iterator[Any]:
    """Public key and test."""
    for group in ED25519["testGroups"]:
        for test in group["tests"]:
            yield pytest.param(group["publicKey"]["pk"], test, id=str(test["tcId"]))


@pytest.mark.parametrize(("public_key", "test"), list(ed25519_cases()))
def test_ed25519_as_wycheproof_has_it(public_key: str, test: dict[str, Any]) -> None:
    """A pinned key verifies what is valid and nothing that is invalid: overlong, truncated, malleable, miscoded."""
    found = "valid"
    try:
        trusted = TrustedKey(b64(bytes.fromhex(public_key)))
        verifier = TokenVerifier({"k": trusted})
        verifier._check_signature("k", trusted, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
    except (PayloadRejectedError, ConfigurationError):
        found = "invalid"
    assert (found == "invalid") >= ("SmallOrderPublicKey" in test["flags"])
    assert test["result"] in {found, "acceptable"}


def compact_cases() -> Iterator[Any]:
    """Group and test."""
    for group in COMPACT["testGroups"]:
        for test in group["tests"]:
            yield pytest.param(group, test, id=f"{test['tcId']}-{test['comment']}")


@pytest.mark.parametrize(("group", "test"), list(compact_cases()))
def test_no_token_of_another_algorithm_passes(group: dict[str, Any], test: dict[str, Any]) -> None:
    """Wycheproof's JWS tests are HMAC and ECDSA: valid or not, none is a license."""
    assert accepted(test["jws"]) is None
    assert accepted(test["jws"], LEGACY) is None


@pytest.mark.parametrize(("group", "test"), list(compact_cases()))
def test_the_same_damage_to_a_license_token(group: dict[str, Any], test: dict[str, Any]) -> None:
    """What Wycheproof does to the compact form, done to a token of ours, is refused; undamaged it is accepted."""
    token = transposed(test["jws"], base64url(group.get("k", "")))
    assert (accepted(token) is not None) is (token == TOKEN)


def transposed(vector: str, secret: bytes) -> str:
    """Our token with the damage of *vector*; where its MAC covers the damage, our signature covers it too."""
    header, body, signature = TOKEN.split(".")
    text = vector
    for theirs, ours in zip(undamaged(vector), (header, body, signature), strict=True):
        # The first character may be what was changed.
        text = text.replace(theirs[1:], ours[1:]).replace(theirs[0] + ours[1:], ours)
    signed, _, mac = vector.rpartition(".")
    if not hmac.compare_digest(hmac.new(secret, signed.encode(), hashlib.sha256).digest(), base64url(mac)):
        return text
    signed = text.rpartition(".")[0]
    return f"{signed}.{b64(SIGNER.key.sign(signed.encode()))}"


def undamaged(vector: str) -> list[str]:
    """The parts of the valid vector that *vector* was made from."""
    tests = [test["jws"] for group in COMPACT["testGroups"] for test in group["tests"] if test["result"] == "valid"]
    whole = [test for test in tests if "?" not in test]
    return max((test.split(".") for test in whole), key=lambda parts: sum(part[1:] in vector for part in parts))


def base64url(text: str) -> bytes:
    """What *text* encodes, leniently."""
    kept = "".join(character for character in text if character.isalnum() or character in "-_")
    return base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4)) if len(kept) % 4 != 1 else b""


@pytest.mark.parametrize("other", [by_pyjwt, by_joserfc])
def test_others_read_what_the_hub_signs(other: Reader) -> None:
    """A license token is ordinary JWS: libraries that never heard of it verify it."""
    assert other(TOKEN) == accepted(TOKEN) is not None


@pytest.mark.parametrize(("algorithm", "verifier"), [("Ed25519", VERIFIER), ("EdDSA", LEGACY)])
def test_what_others_sign_is_accepted(algorithm: str, verifier: TokenVerifier) -> None:
    """A hub may sign with any JOSE library, as long as the header is the one header."""
    protected = {**HEADER, "alg": algorithm}
    by_joserfc = jws.serialize_compact(protected, b"{}", OKPKey.import_key(SIGNER.key), algorithms=[algorithm])
    by_pyjwt = PYJWT.encode(b"{}", SIGNER.key, algorithm=algorithm, headers=protected)
    assert accepted(by_joserfc, verifier) == accepted(by_pyjwt, verifier) == b"{}"


def test_whatever_is_accepted_others_accept_too() -> None:
    """Over thousands of mutations the verifier is at least as strict as PyJWT and joserfc, and reads the same bytes."""
    dice = random.Random(4)  # noqa: S311 - reproducible, not secret
    for _ in range(3000):
        token = mutated(TOKEN.encode(), dice).decode("utf-8", "surrogateescape")
        ours = accepted(token)
        if ours is not None:
            assert by_pyjwt(token) == by_joserfc(token) == ours
        elif token.isascii():
            # What others let pass is refused here for its form, and never says anything but what was signed.
            assert {by_pyjwt(token), by_joserfc(token)} <= {None, accepted(TOKEN)}


@pytest.mark.parametrize("sign", [0x00, 0x80])
@pytest.mark.parametrize("point", sorted(_SMALL_ORDER))
def test_a_key_of_small_order_cannot_be_pinned(point: bytes, sign: int) -> None:
    """Under such a key, all zeros among them, a signature holds that nobody made; so it is refused as a key."""
    raw = point[:-1] + bytes([point[-1] | sign])
    with pytest.raises(ConfigurationError, match="anybody can sign"):
        TrustedKey(b64(raw))


def test_why_a_key_of_small_order_is_refused() -> None:
    """The neutral point verifies a signature of anything, made without any private key."""
    point = bytes([1]) + bytes(31)
    Ed25519PublicKey.from_public_bytes(point).verify(point + bytes(32), b"anything")
