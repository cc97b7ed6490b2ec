"""The order of catalogs: those of more than one license, and the one that stands in before the first of them."""

from __future__ import annotations

from typing import Final

from kuploy_saas_kit.plans.ports import StoredPlans

BOOTSTRAP: Final = "bootstrap"
"""The source of plans that stand in until a license brings its own."""

BOOTSTRAP_REVISION: Final = -1
"""Below every revision of a hub, which begin at 0."""

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


def catalog_revision(stored: StoredPlans) -> int | None:
    """The hub's catalog that the stored plans are; None for those that are of no hub, such as bootstrap's."""
    return None if stored.source == BOOTSTRAP else stored.revision


def selling_revision(stored: StoredPlans) -> int | None:
    """What orders the stored plans among those that were sold, from 0; None for plans that are of no catalog."""
    return None if stored.revision is None else max(stored.revision, 0)
