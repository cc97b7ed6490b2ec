"""Feature flag SDKs that evaluate in the process, each with local data and no network; one that is absent is skipped.

They are given the composed answer (license × plan was done for them when their rules were written), so they do less
than the gate. Where an SDK has a context object for an org, it is made beforehand.
"""

from __future__ import annotations

import importlib

from _rounds import Candidate
from _world import World

PEERS = {
    "statsig": "statsig-python-core",
    "growthbook": "growthbook",
    "launchdarkly": "launchdarkly-server-sdk",
    "openfeature": "openfeature-sdk",
    "flagsmith": "flagsmith",
}
"""Module in this folder → distribution that it needs."""


def peers_in(world: World) -> tuple[list[Candidate], list[str]]:
    """The installed peers in *world*, and a line for each that is skipped."""
    found: list[Candidate] = []
    skipped: list[str] = []
    for name, distribution in PEERS.items():
        try:
            found += importlib.import_module(f"peers._{name}").candidates(world)
        except ModuleNotFoundError as error:
            skipped.append(f"{distribution} is skipped: no module {error.name}")
    return found, skipped
