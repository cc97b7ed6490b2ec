"""GrowthBook with features from a dict."""

from __future__ import annotations

import logging
from typing import Any

from _rounds import Candidate
from _world import World
from growthbook import GrowthBook


def candidates(world: World) -> list[Candidate]:
    """`is_on` of an instance that is made for each org beforehand; all share the parsed features."""
    logging.getLogger("growthbook").setLevel(logging.CRITICAL)
    parsed = GrowthBook(features={feature: _feature(world, feature) for feature in world.features}).get_features()
    instances = {
        org_id: GrowthBook(attributes={"id": org_id, "plan": slug}, features=parsed)
        for org_id, slug in world.plan_of.items()
    }
    return [Candidate("GrowthBook: is_on()", "instances[o].is_on(f)", {"instances": instances})]


def _feature(world: World, feature: str) -> dict[str, Any]:
    plans = world.plans_granting(feature)
    if world.is_static:
        return {"defaultValue": "pro" in plans}
    return {"defaultValue": False, "rules": [{"condition": {"plan": {"$in": plans}}, "force": True}]}
