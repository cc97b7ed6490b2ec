"""Flagsmith in local evaluation, from an environment document in memory."""

from __future__ import annotations

from typing import Any

from _rounds import Candidate
from _world import World
from flagsmith import Flagsmith
from flagsmith.offline_handlers import OfflineHandler


class _Document(OfflineHandler):  # type: ignore[misc]
    """Holds one environment document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def get_environment(self) -> dict[str, Any]:
        """The document."""
        return self.document


def candidates(world: World) -> list[Candidate]:
    """A `Flags` object made beforehand, which follows no change, and one that is made for each check."""
    client = Flagsmith(offline_mode=True, offline_handler=_Document(_environment(world)))
    traits = {org_id: {"plan": slug} for org_id, slug in world.plan_of.items()}
    kept = {org_id: client.get_identity_flags(org_id, traits[org_id]) for org_id in world.plan_of}
    scope = {"client": client, "traits": traits}
    return [
        Candidate(
            "Flagsmith: is_feature_enabled() of a kept snapshot",
            "kept[o].is_feature_enabled(f)",
            {"kept": kept},
            is_live=False,
        ),
        Candidate(
            "Flagsmith: is_feature_enabled()", "client.get_identity_flags(o, traits[o]).is_feature_enabled(f)", scope
        ),
    ]


def _environment(world: World) -> dict[str, Any]:
    numbers = {feature: number for number, feature in enumerate(world.features)}
    always = world.granted["pro"] if world.is_static else frozenset()
    segments = [] if world.is_static else [_segment(world, n, slug, numbers) for n, slug in enumerate(world.granted, 1)]
    organisation = {"id": 1, "name": "o", "feature_analytics": False, "stop_serving_flags": False}
    project = {"id": 1, "name": "p", "hide_disabled_flags": False, "segments": segments}
    return {
        "id": 1,
        "api_key": "benchmark",
        "name": "benchmark",
        "updated_at": "2026-11-20T00:00:00Z",
        "identity_overrides": [],
        "feature_states": [_state(feature, number, is_on=feature in always) for feature, number in numbers.items()],
        "project": {**project, "organisation": {**organisation, "persist_trait_data": False}},
    }


def _segment(world: World, number: int, slug: str, numbers: dict[str, int]) -> dict[str, Any]:
    condition = {"operator": "EQUAL", "property_": "plan", "value": slug}
    rule = {"type": "ANY", "rules": [], "conditions": [condition]}
    states = [_state(key, 100_000 * number + numbers[key], priority=number) for key in sorted(world.granted[slug])]
    return {
        "id": number,
        "name": f"plan-{slug}",
        "rules": [{"type": "ALL", "conditions": [], "rules": [rule]}],
        "feature_states": states,
    }


def _state(feature: str, number: int, *, is_on: bool = True, priority: int | None = None) -> dict[str, Any]:
    return {
        "feature": {"id": number % 100_000, "name": feature, "type": "STANDARD"},
        "enabled": is_on,
        "feature_state_value": None,
        "django_id": number,
        "featurestate_uuid": f"00000000-0000-0000-0000-{number:012d}",
        "feature_segment": None if priority is None else {"priority": priority},
        "multivariate_feature_state_values": [],
    }
