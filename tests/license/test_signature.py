import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.license.doubles import HEADER, ROGUE, SIGNER, b64
from tests.license.fuzz_tokens import fuzz

from kuploy_saas_kit.errors import ConfigurationError, PayloadRejectedError
from kuploy_saas_kit.license import TrustedKey
from kuploy_saas_kit.license.signature import TokenVerifier, _canonical_decode

NOW = datetime(2026, 11, 1, tzinfo=UTC)
VERIFIER = TokenVerifier({"k1": TrustedKey(SIGNER.public), "k2": TrustedKey(ROGUE.public)})
TOKEN = SIGNER.sign({"a": 1}).encode()


def refused(token: bytes, verifier: TokenVerifier = VERIFIER, at: datetime = NOW) -> str:
    """The code that *token* is refused with."""
    with pytest.raises(PayloadRejectedError) as caught:
        verifier.verify(token, at)
    return caught.value.code


def test_a_good_token_gives_the_payload_as_it_was_signed() -> None:
    """The verifier returns the signed bytes and parses nothing of them."""
    assert VERIFIER.verify(SIGNER.sign(b"\xff not json").encode(), NOW) == b"\xff not json"


JOSE = [f"{family}{size}" for family in ("HS", "RS", "PS", "ES") for size in (256, 384, 512)]


@pytest.mark.parametrize("algorithm", [*JOSE, "none", "None", "EdDSA", "ed25519", "", ["Ed25519"]])
def test_any_other_algorithm_is_refused(algorithm: object) -> None:
    """There is one algorithm and nothing to negotiate (F43)."""
    assert refused(SIGNER.sign({}, {**HEADER, "alg": algorithm}).encode()) == "sig.header"


@pytest.mark.parametrize("algorithm", [None, 1, True, {}])
def test_an_algorithm_that_is_no_text_is_refused(algorithm: object) -> None:
    """A header of the wrong shape is a bad header and no crash (F43)."""
    assert refused(SIGNER.sign({}, {**HEADER, "alg": algorithm}).encode()) == "sig.header"


@pytest.mark.parametrize("name", ["crit", "jwk", "jku", "x5u", "x5c", "x5t", "zip", "b64", "cty"])
def test_any_other_header_field_is_refused(name: str) -> None:
    """Keys come from the configuration, never from a token (F44)."""
    assert refused(SIGNER.sign({}, {**HEADER, name: "x"}).encode()) == "sig.header"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "Ed25519", "kid": "k1"},
        {"alg": "Ed25519", "kid": "k1", "typ": "JWT"},
        {"alg": "Ed25519", "kid": 1, "typ": "kuploy-license+jws"},
        [],
        None,
        "x",
    ],
)
def test_a_header_of_another_shape_is_refused(header: object) -> None:
    """The header has exactly alg, kid and typ."""
    assert refused(SIGNER.sign({}, header).encode()) == "sig.header"


def test_a_header_that_names_a_key_twice_or_is_huge_is_refused() -> None:
    """Duplicate names and more than 1 KiB do not pass as a header."""
    twice = b'{"alg":"none","alg":"Ed25519","kid":"k1","typ":"kuploy-license+jws"}'
    for header in (twice, json.dumps({**HEADER, "kid": "x" * 2000}).encode(), b"[" * 900, b"\xff"):
        signed = f"{b64(header)}.{b64(b'{}')}"
        assert refused(f"{signed}.{b64(SIGNER.key.sign(signed.encode()))}".encode()) == "sig.header"


def test_legacy_eddsa_is_accepted_only_where_it_is_configured() -> None:
    """`EdDSA`, the older name, needs its switch."""
    token = SIGNER.sign({}, {**HEADER, "alg": "EdDSA"}).encode()
    keys = {"k1": TrustedKey(SIGNER.public)}
    assert TokenVerifier(keys, legacy_eddsa=True).verify(token, NOW) == b"{}"
    assert refused(token, TokenVerifier(keys)) == "sig.header"


def test_keys_count_within_their_validity_only() -> None:
    """Unknown, retired and future key ids are one refusal (F45)."""
    day = timedelta(days=1)
    verifier = TokenVerifier({"k1": TrustedKey(SIGNER.public, NOW, NOW + day)})
    assert verifier.verify(TOKEN, NOW) == b'{"a": 1}'
    assert refused(TOKEN, verifier, NOW - day) == "sig.unknown_kid"
    assert refused(TOKEN, verifier, NOW + day) == "sig.unknown_kid"
    assert refused(SIGNER.sign({}, {**HEADER, "kid": "k9"}).encode()) == "sig.unknown_kid"


def test_a_key_id_does_not_vouch_for_another_key() -> None:
    """Signed with one trusted key under the id of another is no signature."""
    assert refused(SIGNER.sign({}, {**HEADER, "kid": "k2"}).encode()) == "sig.invalid"


def test_every_single_bit_of_the_signature_counts() -> None:
    """No flipped bit of the 64 bytes passes (F41)."""
    head, _, _ = TOKEN.rpartition(b".")
    signature = SIGNER.key.sign(head)
    for bit in range(512):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refused(head + b"." + b64(bytes(flipped)).encode()) == "sig.invalid"


def test_the_high_half_of_the_signature_is_canonical() -> None:
    """S + L, the second spelling of the same signature, is refused (RFC 8032, section 5.1.7)."""
    group_order = 2**252 + 27742317777372353535851937790883648493
    head, _, _ = TOKEN.rpartition(b".")
    signature = SIGNER.key.sign(head)
    malleable = int.from_bytes(signature[32:], "little") + group_order
    again = signature[:32] + malleable.to_bytes(32, "little")
    assert refused(head + b"." + b64(again).encode()) == "sig.invalid"


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        TOKEN + b".",
        TOKEN + b"=",
        TOKEN + b"\n",
        b" " + TOKEN,
        TOKEN.replace(b".", b"..", 1),
        TOKEN.replace(b".", b"=.", 1),
        TOKEN[:-1],
        "é.é.é".encode(),
        b'{"payload":"","signatures":[]}',
    ],
)
def test_other_formats_are_refused(token: bytes) -> None:
    """Three parts of canonical base64url, or nothing (F46, F47)."""
    assert refused(token) in {"sig.format", "sig.invalid", "sig.header"}


def test_a_last_character_with_spare_bits_is_refused() -> None:
    """Base64 that does not encode back to itself is a second spelling (F47)."""
    last = TOKEN[-1:]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = alphabet[alphabet.index(last) ^ 1 : (alphabet.index(last) ^ 1) + 1]
    assert refused(TOKEN[:-1] + spare) == "sig.format"


def test_a_token_over_the_cap_is_not_even_split() -> None:
    """More than 1 MiB is refused before anything is decoded."""
    assert refused(b"." * ((1 << 20) + 1)) == "payload.too_large"


@given(st.binary(max_size=200))
def test_no_bytes_but_the_hubs_are_accepted(raw: bytes) -> None:
    """Arbitrary bytes are refused with a documented code."""
    assert refused(raw).partition(".")[0] in {"sig", "payload"}


@given(st.one_of(st.binary(max_size=12), st.text("AQgw-_+/=.9 ", max_size=12).map(str.encode)))
def test_base64url_has_one_spelling(part: bytes) -> None:
    """What is decoded encodes to exactly what it was decoded from, and whatever an encoder writes is decoded."""
    assert _canonical_decode(b64(part).encode()) == part
    try:
        raw = _canonical_decode(part)
    except ValueError:
        return
    assert b64(raw).encode() == part


@given(st.data())
def test_no_mutation_of_a_token_is_accepted(data: st.DataObject) -> None:
    """A byte replaced, removed or put in gives a refusal and never another exception."""
    token = bytearray(TOKEN)
    place = data.draw(st.integers(0, len(token) - 1))
    kind = data.draw(st.sampled_from(["replace", "remove", "insert"]))
    if kind != "insert":
        del token[place]
    if kind != "remove":
        token[place:place] = bytes([data.draw(st.integers(0, 255))])
    if bytes(token) != TOKEN:
        refused(bytes(token))


@pytest.mark.parametrize("key", ["", "abc", "A" * 42, "A" * 44, "A" * 42 + "B", "é" * 43, "A" * 43 + "="])
def test_a_malformed_public_key_is_a_configuration_error(key: str) -> None:
    """The message says where to get the right one."""
    with pytest.raises(ConfigurationError, match="43 characters"):
        TrustedKey(key)


def test_thousands_of_mutated_tokens_are_refused() -> None:
    """A short run of the fuzzer: nothing accepted, nothing raised but documented refusals."""
    seen = fuzz(3000, seed=3)
    assert sum(seen.values()) == 3000
    assert {code.partition(".")[0] for code in seen} <= {"sig", "payload"}
