"""The names and signatures that users build on."""

import inspect
from importlib import import_module
from typing import Any

import pytest

from kuploy_saas_kit.plans import AsyncGate, AsyncReservation, Gate, Reservation

FACE: dict[str, set[str]] = {
    "kuploy_saas_kit": {"SaasKit", "__version__"},
    "kuploy_saas_kit.plans": {
        "INTERNAL",
        "KUPLOY_CLOUD",
        "LEERAM_BUSINESS",
        "UNLIMITED",
        "AsyncGate",
        "BillingCycle",
        "CeilingViolation",
        "Decision",
        "Entitlements",
        "Gate",
        "GatePolicy",
        "LicenseGrant",
        "OrgStanding",
        "Plan",
        "PlanCatalog",
        "PlanResolution",
        "Price",
        "ProductSchema",
        "Reason",
        "Reservation",
        "ceiling_violations",
        "compose",
        "compose_feature",
        "effective_subscription",
        "preview_grant_change",
        "preview_plan_change",
        "require_within_ceiling",
    },
    "kuploy_saas_kit.license": {
        "LicenseClient",
        "LicenseConfig",
        "LicenseSnapshot",
        "LicenseStatus",
        "Operation",
        "TrustedKey",
    },
    "kuploy_saas_kit.stripe_provision": {
        "Change",
        "Checkout",
        "OrgSubscription",
        "ProvisionReport",
        "StripeGateway",
        "StripePort",
        "StripeProvisioner",
        "StripeWebhooks",
        "WebhookOutcome",
        "provision_changes",
    },
    "kuploy_saas_kit.adapters": {
        "AsyncDjangoStore",
        "AsyncRedisStore",
        "AsyncSqlStore",
        "DjangoStore",
        "FileLicenseStore",
        "MemoryStore",
        "RedisStore",
        "SqlLayout",
        "SqlStore",
        "migrate_on",
    },
    "kuploy_saas_kit.testing": {"gate_over"},
}


@pytest.mark.parametrize("module", FACE)
def test_the_face_is_a_sorted_list(module: str) -> None:
    """Each package exports what it promises, in a sorted list whose every name can be loaded."""
    loaded = import_module(module)
    assert set(loaded.__all__) >= FACE[module]
    assert list(loaded.__all__) == sorted(loaded.__all__, key=_isort_key)
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)
    assert set(loaded.__all__) <= set(dir(loaded))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = loaded.no_such_name


def _isort_key(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each in order; dunders as what they look like."""
    if name.isupper():
        return 0, name
    return (1, name) if name[0].isupper() else (2, name)


def _verbs(cls: type) -> dict[str, inspect.Signature]:
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: inspect.signature(method) for name, method in methods if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "aio"), [(Gate, AsyncGate), (Reservation, AsyncReservation)])
def test_sync_and_async_have_the_same_verbs(sync: type, aio: type) -> None:
    """The async shell has every verb of the sync one with the same parameters, but for the hot path's `allows`."""
    theirs = _verbs(aio)
    for name, signature in _verbs(sync).items():
        if name == "allows":
            assert name not in theirs
            continue
        assert list(theirs[name].parameters) == list(signature.parameters), name
    assert set(theirs) <= set(_verbs(sync))


def test_gate_verbs_have_the_promised_signatures() -> None:
    """The documented parameters of the gate's verbs, by position and by keyword."""
    promised: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "allows": (("org_id", "feature"), ()),
        "check_feature": (("org_id", "feature", "operation"), ()),
        "check_limit": (("org_id", "limit", "amount"), ()),
        "acquire": (("org_id", "limit", "amount"), ("key",)),
        "acquire_all": (("org_id", "amounts"), ("key",)),
        "release": (("org_id", "limit", "amount"), ("key",)),
        "reserve": (("org_id", "limit", "amount"), ("ttl",)),
        "record": (("org_id", "limit", "amount"), ("event_key", "at")),
        "set_usage": (("org_id", "limit", "value"), ()),
        "reconcile": (("org_id", "limit", "actual"), ()),
        "assign": (("org_id", "slug"), ("actor", "reason", "until")),
        "unassign": (("org_id",), ("actor", "reason")),
        "explain": (("org_id", "key"), ()),
        "entitlements": (("org_id",), ()),
        "resolve_plan": (("org_id",), ()),
        "forget": (("org_id",), ()),
    }
    for verb, (positional, keyword) in promised.items():
        parameters: list[Any] = list(_verbs(Gate)[verb].parameters.values())[1:]
        assert tuple(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD) == positional, verb
        assert tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY) == keyword, verb
