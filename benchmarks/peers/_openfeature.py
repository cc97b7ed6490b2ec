"""OpenFeature's SDK with its own in-memory provider."""

from __future__ import annotations

from collections.abc import Callable

from _rounds import Candidate
from _world import World
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

_VARIANTS = {"on": True, "off": False}


def candidates(world: World) -> list[Candidate]:
    """`get_boolean_value` for a context made beforehand."""
    api.set_provider(InMemoryProvider({feature: _flag(world, feature) for feature in world.features}))
    contexts = {org_id: EvaluationContext(org_id, {"plan": slug}) for org_id, slug in world.plan_of.items()}
    scope = {"client": api.get_client(), "contexts": contexts}
    return [
        Candidate(
            "OpenFeature (in-memory provider): get_boolean_value()",
            "client.get_boolean_value(f, False, contexts[o])",
            scope,
            close=api.shutdown,
        )
    ]


def _flag(world: World, feature: str) -> InMemoryFlag[bool]:
    plans = frozenset(world.plans_granting(feature))
    if world.is_static:
        return InMemoryFlag("on" if "pro" in plans else "off", _VARIANTS)
    return InMemoryFlag("off", _VARIANTS, context_evaluator=_by_plan(plans))


def _by_plan(plans: frozenset[str]) -> Callable[[InMemoryFlag[bool], EvaluationContext], FlagResolutionDetails[bool]]:
    def evaluate(_: InMemoryFlag[bool], context: EvaluationContext) -> FlagResolutionDetails[bool]:
        return FlagResolutionDetails(value=context.attributes["plan"] in plans)

    return evaluate
