from __future__ import annotations

import importlib

import pytest
from tests.stripe_provision.cases import CASES, Body

for _table in ("cases_provisioning", "cases_webhooks"):
    importlib.import_module(f"tests.stripe_provision.{_table}")


@pytest.mark.parametrize("body", CASES.values(), ids=CASES.keys())
def test_case(body: Body) -> None:
    """The table of faults and edge cases: each has exactly the outcome that its body states."""
    body()


def test_no_case_is_missing() -> None:
    """All 78 numbers of the table have at least one case."""
    assert {int(name.partition("-")[0]) for name in CASES} == set(range(1, 79))
