"""The simulator keeps the contract that Stripe itself is held to when there is a key for its test mode."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import stripe
from tests.testing.stripe.contract import CHECKS, Stage

from kuploy_saas_kit.testing.stripe import StripeSimulator

# Read before the tests take all settings from outside away.
KEY = os.environ.get("STRIPE_TEST_KEY")


@pytest.fixture(params=["in process", "over HTTP"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A fresh account of the simulator."""
    sim = StripeSimulator()
    if request.param == "in process":
        yield Stage(sim.client(), "sim")
        return
    with sim.serve() as url:
        yield Stage(stripe.StripeClient("sk_test_sim", base_addresses={"api": url}), "sim")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_the_simulator_keeps_the_contract(stage: Stage, check: Callable[[Stage], None]) -> None:
    """Each check holds, and what it made can be cleaned up as at Stripe."""
    check(stage)
    stage.clean()


@pytest.mark.skipif(KEY is None, reason="needs STRIPE_TEST_KEY, a key of Stripe's test mode")
def test_stripe_keeps_the_contract() -> None:
    """The same checks hold at Stripe; in a process of its own, since tests reach nothing outside this machine."""
    script = Path(__file__).with_name("contract.py")
    environment = {**os.environ, "STRIPE_TEST_KEY": KEY or ""}
    done = subprocess.run(  # noqa: S603 - this interpreter and our own script
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_refuses_a_live_key() -> None:
    """Nothing is ever made with one."""
    script = Path(__file__).with_name("contract.py")
    environment = {**os.environ, "STRIPE_TEST_KEY": "sk_live_x"}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, check=False)  # noqa: S603 - likewise
    assert done.returncode == 2
