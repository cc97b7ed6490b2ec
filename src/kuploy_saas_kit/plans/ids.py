"""What may be an org's id or a holding's key: text that means one thing in every store."""

from __future__ import annotations

import re
from typing import Final

from kuploy_saas_kit.errors import InvalidValueError

_UNSTORABLE: Final = re.compile(r"[\x00\ud800-\udfff]")


def checked_id(value: object, name: str) -> str:
    """*value*, if the argument *name* may be it; the empty id is not an org's, it is the instance's own."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{name} must be a str, not {type(value).__name__}: pass str() of it, everywhere alike")
    if not value:
        raise InvalidValueError(f"{name} must not be empty: it would stand for all at once; pass the one that is meant")
    if _UNSTORABLE.search(value):
        raise InvalidValueError(
            f"{name} must be text that a database can keep, without NUL characters and lone surrogates: encode it, or "
            "refuse it where it comes from"
        )
    return value


def check_key(key: str | None) -> None:
    """Refuse a holding's key that could not be kept, or that would be everybody's."""
    if key is not None:
        checked_id(key, "key")
