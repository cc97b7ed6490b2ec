"""Statsig's Rust core, from a data store of its own, without network and exposure events."""

from __future__ import annotations

import json
from typing import Any

from _rounds import Candidate
from _world import World
from statsig_python_core import (
    DataStore,
    DataStoreResponse,
    FeatureGateEvaluationOptions,
    Statsig,
    StatsigOptions,
    StatsigUser,
)

_AT = 1_700_000_000_000


class _Specs(DataStore):
    """A data store that holds one document."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__()  # it looks for the methods below
        self.text = json.dumps(document)

    def initialize(self) -> None:
        """Nothing to open."""

    def shutdown(self) -> None:
        """Nothing to close."""

    def get(self, key: str) -> DataStoreResponse:
        """The document, whatever is asked for."""
        return DataStoreResponse(result=self.text, time=_AT)

    def set(self, key: str, value: str, time: int | None = None) -> None:
        """The document stays as it is."""

    def support_polling_updates_for(self, key: str) -> bool:
        """It never changes."""
        return False


def candidates(world: World) -> list[Candidate]:
    """`check_gate` for a user made beforehand."""
    options = StatsigOptions()
    options.data_store = _Specs(_document(world))
    options.disable_network = True
    options.disable_all_logging = True
    options.enable_id_lists = False
    options.output_log_level = "error"
    client = Statsig("secret-benchmark", options)
    client.initialize().wait()
    users = {org_id: StatsigUser(user_id=org_id, custom={"plan": slug}) for org_id, slug in world.plan_of.items()}
    quiet = FeatureGateEvaluationOptions(disable_exposure_logging=True)
    scope = {"client": client, "users": users, "quiet": quiet}
    return [
        Candidate(
            "Statsig (Rust core): check_gate()",
            "client.check_gate(users[o], f, quiet)",
            scope,
            close=lambda: client.shutdown().wait(),
        )
    ]


def _document(world: World) -> dict[str, Any]:
    gates, conditions = {}, {}
    for feature in world.features:
        plans = world.plans_granting(feature)
        is_on = "pro" in plans if world.is_static else bool(plans)
        gates[feature] = _gate([_rule(feature)] if is_on else [])
        conditions[feature] = _condition("public") if world.is_static else _condition("user_field", plans)
    empty = ("dynamic_configs", "layer_configs", "experiment_to_layer", "id_lists", "layers", "sdk_configs")
    return {
        "has_updates": True,
        "time": _AT,
        "feature_gates": gates,
        "condition_map": conditions,
        "company_id": "benchmark",
        "response_format": "dcs-v2",
        "param_stores": {},
        **{name: {} for name in empty},
    }


def _gate(rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "feature_gate",
        "entity": "feature_gate",
        "salt": "s",
        "enabled": True,
        "defaultValue": False,
        "rules": rules,
        "idType": "userID",
        "version": 1,
        "isDeviceBased": False,
    }


def _rule(condition: str) -> dict[str, Any]:
    return {
        "id": "r",
        "name": "rule",
        "groupName": "g",
        "passPercentage": 100,
        "returnValue": True,
        "idType": "userID",
        "salt": "s",
        "conditions": [condition],
    }


def _condition(kind: str, plans: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": kind,
        "targetValue": plans,
        "operator": "any_case_sensitive" if plans else None,
        "field": "plan" if plans else None,
        "additionalValues": {},
        "isDeviceBased": False,
        "idType": "userID",
    }
