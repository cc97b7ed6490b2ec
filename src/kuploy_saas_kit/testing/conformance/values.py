"""Values that a store mixes up or cuts off if its columns compare or keep less than it was given."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Final

from kuploy_saas_kit.testing.conformance.base import NOW

_LONG: Final = "x" * 199

NAMES: Final = (
    *("acme", "acme2", "ACME", "acme "),
    *("acm_", "ac%", "ac*", "o'hara", "1", "01"),
    *("acmé", "acme\u0301"),  # the same letters, one of them written as two characters
    *("\U0001f363", "\U0001f37a"),  # beyond 16 bits, where some rules of order take all for the same
    *(_LONG + "1", _LONG + "2"),
)
"""Names of which no two are the same, and many are by rules that databases have: prefix, case, pattern, padding."""

SLUGS: Final = tuple(name for name in NAMES if name == name.strip())
"""Those of the names that a plan may have."""

MICROSECOND: Final = timedelta(microseconds=1)
INSTANT: Final = (NOW + 123457 * MICROSECOND).astimezone(timezone(timedelta(hours=5, minutes=45)))
"""An instant with microseconds, in a zone that is nobody's own. It equals what a store returns in another zone."""
