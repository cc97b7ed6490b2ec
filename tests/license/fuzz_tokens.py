"""Mutate good tokens and look for one that is accepted, or for an exception that is not documented.

`python -m tests.license.fuzz_tokens 1000000` runs a million; the tests run a few thousand.
"""

import json
import random
import sys
from collections import Counter
from datetime import UTC, datetime

from tests.license.doubles import HEADER, ROGUE, SIGNER, b64, payload

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license import TrustedKey
from kuploy_saas_kit.license.signature import TokenVerifier

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


if __name__ == "__main__":
    for code, count in fuzz(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0).most_common():
        sys.stdout.write(f"{count:>9} {code}\n")
