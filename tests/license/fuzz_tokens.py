"""Mutate good tokens and look for one that is accepted, or for an exception that is not documented.

Then mutate the JSON in them, and look for bytes that the fast pass reads otherwise than the strict one.
`python -m tests.license.fuzz_tokens 1000000` runs a million of each; the tests run a few thousand.
"""

import json
import random
import re
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from tests.license.doubles import CATALOG, HEADER, ROGUE, SIGNER, b64, payload, plan

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license import TrustedKey, shapes
from kuploy_saas_kit.license.signature import TokenVerifier
from kuploy_saas_kit.license.strict_json import parse_strict

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALPHABET = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= \n\x00\xff"{}'


def mutated(token: bytes, dice: random.Random) -> bytes:
    """*token* after a few random changes of bytes, parts or header."""
    parts = token.split(b".")
    kind = dice.randrange(6)
    if kind == 0:
        parts[dice.randrange(3)] = parts[dice.randrange(3)]
    elif kind == 1:
        name = dice.choice(["alg", "kid", "typ", "crit", "jwk", "b64"])
        value: object = dice.choice(["none", "HS256", "EdDSA", "k2", None, 1, [], {}, "Ed25519", "\ud800"])
        parts[0] = b64(json.dumps({**HEADER, name: value}).encode()).encode()
    elif kind == 2:
        dice.shuffle(parts)
    elif kind == 3:
        signed = b".".join(parts[:2])
        parts[2] = b64(ROGUE.key.sign(signed)).encode()
    raw = bytearray(b".".join(parts))
    for _ in range(dice.randrange(4)):
        place = dice.randrange(len(raw) + 1)
        raw[place : place + dice.randrange(3)] = bytes([dice.choice(ALPHABET)]) * dice.randrange(3)
    return bytes(raw)


def fuzz(times: int, seed: int) -> Counter[str]:
    """How often each refusal came; an accepted mutation or another exception is an AssertionError."""
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    verifier = TokenVerifier({"k1": TrustedKey(SIGNER.public), "k2": TrustedKey(SIGNER.public)})
    token = SIGNER.sign(payload(NOW)).encode()
    seen: Counter[str] = Counter()
    while seen.total() < times:
        candidate = mutated(token, dice)
        if candidate == token:
            continue
        try:
            verifier.verify(candidate, NOW)
        except PayloadRejectedError as error:
            seen[error.code] += 1
        else:
            raise AssertionError(f"accepted: {candidate!r}")
    return seen


ODD = [
    b"1.0",
    b"1e3",
    b"-0",
    b"01",
    b"9223372036854775808",
    b"NaN",
    b"true",
    b"null",
    b'""',
    b"{}",
    b"[]",
    b'"\\u0000"',
    b'":"',
]
WEAVE = [
    b'"',
    b"\\",
    b'\\"',
    b":",
    b",",
    b"{",
    b"}",
    b" ",
    b"\n",
    b"\\u0061",
    b"\xc3",
    b"\xff",
    b"\x00",
    b"\\ud800",
    b'\\\\"',
]
PAIR = re.compile(rb'"[A-Za-z]+":(?:"[^"]*"|-?[0-9]+|true|false)')


FULL: dict[str, Any] = payload(
    NOW,
    paidUntil=1_900_000_000,
    statusReason="",
    periods={"buildMinutesPerMonth": [1, 2]},
    usageElsewhere={"maxProjects": 3},
    allowances={"maxProjects": -1},
    nonce="n",
    catalog={
        "revision": 7,
        "plans": [*CATALOG["plans"], plan("x", description='two\nlines, "quoted" é \\', isActive=False)],
    },
)
WRITTEN = json.dumps(FULL, separators=(",", ":"), ensure_ascii=False).encode()


def mutated_payload(data: bytes, dice: random.Random) -> bytes:
    """*data* with a value replaced, a pair written twice or elsewhere, a name changed, or odd bytes put in."""
    raw = data
    for _ in range(dice.randrange(1, 3)):
        pairs = list(PAIR.finditer(raw))
        one, other = dice.choice(pairs), dice.choice(pairs)
        kind = dice.randrange(5)
        if kind == 0:
            raw = raw[: one.end()] + b"," + one[0] + raw[one.end() :]
        elif kind == 1:
            raw = raw[: other.end()] + b"," + one[0] + raw[other.end() :]
        elif kind == 2:
            name = one[0].partition(b":")[0]
            raw = raw[: one.start()] + name + b":" + dice.choice(ODD) + raw[one.end() :]
        elif kind == 3:
            raw = raw[: one.start()] + other[0].partition(b":")[0] + b":" + one[0].partition(b":")[2] + raw[one.end() :]
        else:
            place = dice.randrange(len(raw) + 1)
            raw = raw[:place] + dice.choice(WEAVE) + raw[place + dice.randrange(2) :]
    return raw


def both_readings(data: bytes) -> bool:
    """Whether the fast pass reads *data*; an AssertionError if the strict one does not read the very same."""
    at_once = shapes.payload_at_once(data)
    if at_once is None:
        return False
    document = parse_strict(data)
    assert isinstance(document, dict)
    catalog = document.get("catalog")
    expected = {**shapes.TERMS.validate_python(document), "schema": 1}
    if "catalog" in document:
        expected["catalog"] = None if catalog is None else shapes.CATALOG.validate_python(catalog)
    assert repr(sorted(at_once.items())) == repr(sorted(expected.items())), data
    return True


def fuzz_payloads(data: bytes, times: int, seed: int) -> Counter[str]:
    """How often the fast pass read a mutation of *data*; the strict one read all of those alike."""
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return Counter(
        "read at once" if both_readings(mutated_payload(data, dice)) else "left to the strict pass"
        for _ in range(times)
    )


if __name__ == "__main__":
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for seen in (fuzz(int(sys.argv[1]), seed), fuzz_payloads(WRITTEN, int(sys.argv[1]), seed)):
        for code, count in seen.most_common():
            sys.stdout.write(f"{count:>9} {code}\n")
