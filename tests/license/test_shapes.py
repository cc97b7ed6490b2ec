import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.license.doubles import plan
from tests.license.fuzz_tokens import FULL, WRITTEN, both_readings, fuzz_payloads, mutated_payload

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license.shapes import payload_at_once, token_at_once
from kuploy_saas_kit.license.strict_json import parse_strict


@pytest.mark.parametrize("spelling", [WRITTEN, json.dumps(FULL).encode(), json.dumps(FULL, indent=1).encode()])
def test_what_a_hub_writes_is_read_in_one_pass(spelling: bytes) -> None:
    """Every field, escapes and any spacing are within the fast pass, and it reads them as the slow one does."""
    assert payload_at_once(spelling) is not None
    assert both_readings(spelling)


def places_of_names() -> list[bytes]:
    """Every `"name":value` of the payload whose value is no object or list."""
    names: list[bytes] = []

    def walk(value: Any) -> None:
        for name, inner in value.items() if isinstance(value, dict) else ():
            if isinstance(inner, dict):
                walk(inner)
            elif name == "plans":
                walk(inner[1])
            else:
                names.append(json.dumps({name: inner}, separators=(",", ":"), ensure_ascii=False).encode()[1:-1])

    walk(FULL)
    return names


@pytest.mark.parametrize("pair", sorted(set(places_of_names())))
def test_no_name_twice(pair: bytes) -> None:
    """Each name of each object, written a second time with the same value, makes the fast pass say nothing."""
    assert pair in WRITTEN
    twice = WRITTEN.replace(pair, pair + b"," + pair, 1)
    assert payload_at_once(twice) is None
    with pytest.raises(PayloadRejectedError) as caught:
        parse_strict(twice)
    assert caught.value.code == "payload.duplicate_key"


@pytest.mark.parametrize("ending", ["\\", "\\\\", '\\"', '"', "\n"])
def test_no_ending_of_a_text_hides_a_name(ending: str) -> None:
    """A backslash or a mark at the end of a text is none that begins or ends one, however many texts end so."""
    plans = [plan(f"p{number}", description="x" + ending) for number in range(4)]
    written = json.dumps({**FULL, "catalog": {"revision": 1, "plans": plans}}).encode()
    assert both_readings(written)
    for times in range(1, 5):
        assert payload_at_once(b"{" + b'"plan":"growth",' * times + written[1:]) is None


@pytest.mark.parametrize("section", ["features", "limits", "catalog", "periods", "usageElsewhere", "allowances"])
def test_no_section_twice(section: str) -> None:
    """A whole section in front of the real one, which would win, is seen too, empty or not."""
    sections: list[dict[str, Any]] = [{section: {}}, {section: FULL[section]}]
    for extra in sections:
        twice = b"{" + json.dumps(extra).encode()[1:-1] + b"," + WRITTEN[1:]
        assert payload_at_once(twice) is None


@pytest.mark.parametrize(
    "extra",
    [
        b'"x":1.5',
        b'"x":NaN',
        b'"x":{"a":1,"a":1}',
        b'"x":[[[[]]]]',
        b'"schema":true',
        b'"schema":2',
        b'"catalog":[]',
        b'"x":0',
    ],
)
def test_what_is_not_known_is_left_to_the_slow_pass(extra: bytes) -> None:
    """An unknown field or an odd value is not the fast pass's to judge."""
    name = extra.partition(b":")[0]
    bare = json.dumps({key: value for key, value in FULL.items() if f'"{key}"'.encode() != name}).encode()
    assert payload_at_once(b"{" + extra + b"," + bare[1:]) is None


def test_mutations_are_read_alike() -> None:
    """A short run of the fuzzer: wherever the fast pass says yes the slow one says the same, word for word."""
    seen = fuzz_payloads(WRITTEN, 3000, seed=5)
    assert seen["read at once"] > 100
    assert seen["left to the strict pass"] > 1000


@given(st.binary(max_size=12), st.integers(0, len(WRITTEN)))
def test_bytes_anywhere_are_read_alike(inserted: bytes, place: int) -> None:
    """So it does with arbitrary bytes put in anywhere."""
    both_readings(WRITTEN[:place] + inserted + WRITTEN[place:])


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"license":"a.b.c","license":"a.b.c"}',
        b'{"success":false,"success":true,"license":"a.b.c"}',
        b'{"success":false,"license":"a.b.c"}',
        b'{"success":1,"license":"a.b.c"}',
        b'{"success":true,"license":{}}',
        b'{"success":true,"license":"a.b.c","more":1}',
        b'{"success":true,"license":"a.b.c"} x',
        b'[true,"a.b.c"]',
        b'{"success":true,"license":"\xff"}',
        b'\xef\xbb\xbf{"success":true,"license":"a.b.c"}',
    ],
)
def test_an_odd_envelope_is_left_to_the_slow_pass(body: bytes) -> None:
    """Only the one envelope, without anything twice, is opened at once."""
    assert token_at_once(body) is None


@pytest.mark.parametrize(
    "body", [b'{"success":true,"license":"a.b.c"}', b' { "license" : "a\\u002eb.c" , "success" : true }\n']
)
def test_the_envelope_is_opened_at_once(body: bytes) -> None:
    """In either order and with any spacing, it gives what the slow pass gives."""
    document = parse_strict(body)
    assert isinstance(document, dict)
    assert token_at_once(body) == document["license"] == "a.b.c"


def test_the_fuzzer_mutates() -> None:
    """Mutations differ from what they are made of, more often than not."""
    dice = random.Random(1)  # noqa: S311 - reproducible, not secret
    assert sum(mutated_payload(WRITTEN, dice) != WRITTEN for _ in range(100)) > 80
