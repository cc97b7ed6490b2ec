"""The hub's keys and the token."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.talk import decode, read_token

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.hub.signing import KeyRing, SigningKey

SEED = bytes(range(32))
# RFC 8032, section 7.1, TEST 1: secret key and public key.
RFC_SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_the_public_key_is_the_standard_s() -> None:
    """The public key of RFC 8032's first test vector comes out, in base64url without padding."""
    assert decode(SigningKey.from_bytes(RFC_SECRET).public_key) == RFC_PUBLIC


@given(
    payload=st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")) | st.integers() | st.booleans()
    )
)
def test_a_token_holds_what_was_signed(payload: dict[str, object]) -> None:
    """Three canonical parts, exactly the protocol's header, a signature that holds, and the payload itself."""
    key = SigningKey.from_bytes(SEED, kid="2026-a")
    token = key.sign(payload)
    assert read_token(token, {"2026-a": key.public_key}) == payload
    assert decode(token.split(".")[0]) == b'{"alg":"Ed25519","kid":"2026-a","typ":"kuploy-license+jws"}'


def test_numbers_that_json_lacks_are_not_signed() -> None:
    """NaN is no JSON and gets no signature."""
    with pytest.raises(ValueError, match="JSON"):
        SigningKey.generate().sign({"limit": float("nan")})


def test_a_key_comes_back_from_its_bytes() -> None:
    """The same bytes are the same key with the same id, which begins like the public key's hash."""
    key = SigningKey.generate()
    again = SigningKey.from_bytes(key.to_bytes())
    assert (again.kid, again.public_key) == (key.kid, key.public_key)
    assert len(key.kid) == 12


def test_the_private_part_stays_where_it_is() -> None:
    """No repr shows it, no pickle carries it, no error repeats it."""
    key = SigningKey.from_bytes(SEED)
    assert SEED.hex() not in repr(key)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="not pickled"):
        copy.copy(key)
    with pytest.raises(ConfigurationError) as refused:
        SigningKey.from_bytes(b"secret-bytes")
    assert "secret-bytes" not in str(refused.value)


def test_a_ring_names_the_next_key_before_it_signs() -> None:
    """Two keys are pinned; rotating signs with the second and keeps the first trusted."""
    ring = KeyRing.generate()
    rotated = ring.rotated()
    assert list(ring.trusted_keys) == [ring.current.kid, ring.following.kid]
    assert rotated.current is ring.following
    assert ring.trusted_keys.items() <= rotated.trusted_keys.items()
    assert json.loads(decode(rotated.seal({}).split(".")[0]))["kid"] == ring.following.kid
    assert rotated.epoch == 1


def test_a_compromised_key_is_dropped_and_the_epoch_rises() -> None:
    """What a stolen key signed ranks below all that is signed from then on."""
    ring = KeyRing.generate()
    rotated = ring.rotated(compromised=True)
    assert ring.current.kid not in rotated.trusted_keys
    assert rotated.epoch == 2
