"""JSON as the hub must write it: UTF-8, no key twice, no number that is not an integer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NoReturn

from kuploy_saas_kit.errors import PayloadRejectedError


def parse_strict(data: bytes) -> object:
    """What *data* says; `PayloadRejectedError` with `payload.malformed`, `.duplicate_key` or `.schema` otherwise."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError):
        raise PayloadRejectedError("this is not well-formed JSON in UTF-8", code="payload.malformed") from None


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise PayloadRejectedError("a key stands twice in one object", code="payload.duplicate_key")
    return unique


def _refuse_number(_: str) -> NoReturn:
    raise PayloadRejectedError("a number is not an integer", code="payload.schema")
