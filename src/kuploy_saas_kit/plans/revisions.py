"""The order of catalogs that come from more than one license."""

from __future__ import annotations

from typing import Final

from kuploy_saas_kit.plans.ports import StoredPlans

_STEP: Final = 2**40


def next_revision(stored: StoredPlans, revision: int, source: str) -> int:
    """What to apply the catalog *revision* of *source* as: above every catalog of a source before it.

    The hub counts each license's catalogs anew, so another license's first catalog must not look old.
    """
    held = stored.revision or 0
    turn = held // _STEP
    if stored.revision is not None and stored.source != source:
        turn += 1
    return turn * _STEP + min(revision, _STEP - 1)
