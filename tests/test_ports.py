"""The ports as one set: few verbs each, no verb twice, a contract in prose, and an object for every answer."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any, Protocol, get_type_hints

import pytest

from kuploy_saas_kit.license import ports as license_ports
from kuploy_saas_kit.plans import ports as plans_ports
from kuploy_saas_kit.stripe_provision import ports as stripe_ports

MODULES = (plans_ports, license_ports, stripe_ports)
MOST_VERBS = 5

VIEWS = {
    "SnapshotView": "a license snapshot, read from memory",
    "LicenseView": "what `LicenseClient` is to a gate",
    "CheckoutLicense": "what `LicenseClient` is to checkout",
    "CheckoutSnapshot": "what its snapshot is to checkout",
    "Standings": "what a `StandingStore` is to checkout",
}
"""Protocols through which one room sees what another one makes. They repeat verbs, and no host writes one."""

VENDORS = {"StripePort": "Stripe's own calls: the kit's gateway implements them, and no store does"}


def protocols(module: ModuleType) -> Iterator[type]:
    """The Protocols that a module defines."""
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and Protocol in found.__bases__:
            yield found


def verbs(port: type) -> dict[str, Callable[..., Any]]:
    """The verbs that a port adds to those of its bases."""
    return {name: value for name, value in vars(port).items() if not name.startswith("_") and inspect.isfunction(value)}


ALL = {port.__name__: port for module in MODULES for port in protocols(module)}
ASYNC = {name: port for name, port in ALL.items() if name.startswith("Async")}
PORTS = {name: port for name, port in ALL.items() if name not in {*ASYNC, *VIEWS, *VENDORS} and verbs(port)}
OUTCOMES = {
    found.__name__: found
    for module in MODULES
    for _, found in inspect.getmembers(module, inspect.isclass)
    if found.__module__ == module.__name__ and is_dataclass(found) and fields(found)[0].type == "bool"
}


def test_there_are_ports() -> None:
    """What is walked here is not nothing, and no exemption is of something that is gone."""
    assert set(PORTS) >= {"PlanStore", "StandingStore", "AuditStore", "UsageStore", "LeaseStore", "SubscriptionStore"}
    assert set(ALL) >= {*VIEWS, *VENDORS}


def test_no_verb_is_in_two_ports() -> None:
    """One store may implement all of them."""
    named = sorted(verb for port in PORTS.values() for verb in verbs(port))
    assert [verb for verb, same in pairwise(named) if verb == same and verb not in {"close", "stop"}] == []


@pytest.mark.parametrize("name", PORTS)
def test_a_port_is_small(name: str) -> None:
    """One to five verbs: who keeps one thing implements one port."""
    assert 1 <= len(verbs(PORTS[name])) <= MOST_VERBS


@pytest.mark.parametrize("name", [*PORTS, *VENDORS])
def test_every_verb_has_its_contract(name: str) -> None:
    """The port and each verb say in prose what an implementation promises."""
    assert inspect.getdoc(ALL[name])
    assert [verb for verb, function in verbs(ALL[name]).items() if not function.__doc__] == []


@pytest.mark.parametrize("name", [*PORTS, *ASYNC])
def test_no_verb_answers_with_a_bool(name: str) -> None:
    """An un-awaited coroutine is truthy: only a field of an object fails closed on one."""
    answers = {verb: get_type_hints(function)["return"] for verb, function in verbs(ALL[name]).items()}
    assert [verb for verb, answer in answers.items() if answer is bool] == []


@pytest.mark.parametrize("name", ASYNC)
def test_an_async_port_is_its_twin(name: str) -> None:
    """Same verbs, parameters and answers as the sync port, awaited."""
    twin, port = ALL[name.removeprefix("Async")], ALL[name]
    assert {verb: inspect.signature(function) for verb, function in verbs(port).items()} == {
        verb: inspect.signature(function) for verb, function in verbs(twin).items()
    }
    assert all(inspect.iscoroutinefunction(function) for function in verbs(port).values())


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_is_no_truth_value(name: str) -> None:
    """Whoever writes `if store.put_plan(…)` is told which field to ask."""
    outcome = object.__new__(OUTCOMES[name])
    with pytest.raises(TypeError, match=rf"use \.{fields(OUTCOMES[name])[0].name}"):
        bool(outcome)
