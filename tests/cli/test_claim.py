"""`license claim`: from a code to a license, with a wait that no test sleeps through."""

import io
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from tests.cli.instance import Instance

from kuploy_saas_kit.cli.license import claim
from kuploy_saas_kit.cli.license.claim import Desk, claim_license, named_tenant
from kuploy_saas_kit.errors import ClaimError
from kuploy_saas_kit.license import ClaimState, ClaimStatus
from kuploy_saas_kit.testing.hub import HubSimulator

Meanwhile = Callable[[], object]


@pytest.fixture
def claimant(instance: Instance) -> Instance:
    """An instance with tables and without a license."""
    instance.run("store", "migrate")
    return instance


def while_waiting(instance: Instance, *steps: Meanwhile) -> None:
    """Each wait of the command takes no time; one of *steps* happens in it."""
    left = list(steps)

    def pause(length: timedelta) -> None:
        assert left, "the command waits longer than expected"
        instance.world.clock.advance(length)
        left.pop(0)()

    instance.monkeypatch.setattr(claim, "pause", pause)


def approve(instance: Instance) -> None:
    """The tenant enters the code that waits at the hub."""
    waiting = instance.world.hub.pending_claims
    instance.world.hub.approve_claim(waiting[0].code, instance.world.license_key)


def nothing() -> None:
    """The tenant is still looking for the page."""


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def answer(instance: Instance, text: str) -> None:
    """What the operator types."""
    instance.monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_claim_from_code_to_license(claimant: Instance) -> None:
    """The code is shown, the tenant's name is confirmed, and the license is there."""
    while_waiting(claimant, nothing, lambda: approve(claimant))
    answer(claimant, "y\n")
    ran = claimant.run("license", "claim")
    assert ran.status == 0
    assert "enter the code" in ran.out
    assert "Link this instance to the tenant 'Acme Hosting'? [y/N]" in ran.err
    assert "ACTIVE" in ran.out
    shown = claimant.run("license", "status").out
    assert "ACTIVE" in shown
    assert "(from the store)" in shown


def test_yes_asks_nothing(claimant: Instance) -> None:
    """With --yes the tenant is not confirmed by hand, and named all the same."""
    while_waiting(claimant, lambda: approve(claimant))
    ran = claimant.run("license", "claim", "--yes")
    assert (ran.status, ran.err) == (0, "")
    assert "approved by the tenant 'Acme Hosting'" in ran.out


def test_the_wrong_tenant_is_not_taken(claimant: Instance) -> None:
    """An operator who says no has no license, and is asked again by the next call, without another code."""
    while_waiting(claimant, lambda: approve(claimant))
    answer(claimant, "n\n")
    ran = claimant.run("license", "claim")
    assert ran.status == 1
    assert "not linked" in ran.out
    assert "UNLICENSED" in claimant.run("license", "status").out
    answer(claimant, "yes\n")
    again = claimant.run("license", "claim")
    assert again.status == 0
    assert "enter the code" not in again.out


def test_nobody_to_answer(claimant: Instance) -> None:
    """Without a terminal and without --yes nothing is taken, and the line names the option."""
    while_waiting(claimant, lambda: approve(claimant))
    answer(claimant, "")
    ran = claimant.run("license", "claim")
    assert ran.status == 2
    assert "pass --yes" in ran.err
    assert claimant.run("license", "claim", "--yes").status == 0


def test_ctrl_c_leaves_a_claim_that_is_resumed(claimant: Instance) -> None:
    """An interrupted claim goes on with the same code, also in the status."""
    while_waiting(claimant, interrupt)
    ran = claimant.run("license", "claim")
    assert (ran.status, ran.err) == (130, "")
    assert "the next `license claim` resumes it" in ran.out
    code = claimant.world.hub.pending_claims[0].code
    assert f"{code} is on its way" in claimant.run("license", "status").out
    while_waiting(claimant, lambda: approve(claimant))
    resumed = claimant.run("license", "claim", "--yes")
    assert resumed.status == 0
    assert code in resumed.out


def test_ctrl_c_at_the_question(claimant: Instance) -> None:
    """Interrupted while the tenant's name is asked for, nothing is taken and the approval is kept."""
    while_waiting(claimant, lambda: approve(claimant))
    claimant.monkeypatch.setattr(claim, "confirmed", lambda *_, **__: interrupt())
    assert claimant.run("license", "claim").status == 130
    assert "UNLICENSED" in claimant.run("license", "status").out


def test_a_denied_claim(claimant: Instance) -> None:
    """A tenant who says no ends the claim; the next call begins another."""
    hub: HubSimulator = claimant.world.hub
    while_waiting(claimant, lambda: hub.deny_claim(hub.pending_claims[0].code))
    ran = claimant.run("license", "claim")
    assert ran.status == 2
    assert "the tenant denied it" in ran.one_line
    while_waiting(claimant, lambda: approve(claimant))
    assert claimant.run("license", "claim", "--yes").status == 0


def test_an_expired_claim(claimant: Instance) -> None:
    """A code that nobody enters ends after its quarter of an hour."""
    while_waiting(claimant, lambda: claimant.world.later(minutes=15))
    ran = claimant.run("license", "claim")
    assert ran.status == 2
    assert "nobody entered the code in time" in ran.one_line


def test_a_hub_that_fails_on_the_way_is_waited_for(claimant: Instance) -> None:
    """Trouble while polling is said once, and ends nothing."""
    hub = claimant.world.hub
    while_waiting(claimant, lambda: hub.outage("5xx"), nothing, lambda: hub.outage(None), lambda: approve(claimant))
    ran = claimant.run("license", "claim", "--yes")
    assert ran.status == 0
    assert ran.out.count("the hub gave no answer") == 1


def test_a_hub_that_is_not_there(claimant: Instance) -> None:
    """A claim that cannot begin is one line."""
    claimant.world.hub.outage("refused")
    ran = claimant.run("license", "claim")
    assert ran.status == 2
    assert "cannot be reached to begin a claim" in ran.one_line


def test_a_configured_key_wins(claimant: Instance) -> None:
    """With LICENSE_KEY set there is nothing to claim."""
    claimant.set(LICENSE_KEY=claimant.world.license_key)
    ran = claimant.run("license", "claim")
    assert ran.status == 2
    assert "unset LICENSE_KEY" in ran.one_line


def test_claiming_again_says_what_it_replaces(claimant: Instance) -> None:
    """An instance that has a claimed license is told so before it takes another."""
    while_waiting(claimant, lambda: approve(claimant))
    claimant.run("license", "claim", "--yes")
    while_waiting(claimant, lambda: approve(claimant))
    assert "has a license already: …" in claimant.run("license", "claim", "--yes").out


def test_a_first_sync_that_fails_keeps_the_link(claimant: Instance) -> None:
    """The key is stored even if the hub fails right after; the operator is told that it is tried again."""

    def approve_and_fail() -> None:
        approve(claimant)
        claimant.world.hub.outage("5xx", after=1)

    while_waiting(claimant, approve_and_fail)
    ran = claimant.run("license", "claim", "--yes")
    assert ran.status == 0
    assert "linked" in ran.out
    assert "the first sync failed" in ran.one_line


def test_a_claim_that_vanished() -> None:
    """A claim that another process ended is over, and no endless wait."""

    class Vanished:
        def begin_claim(self) -> None:
            """Begin."""

        def poll_claim(self) -> ClaimState:
            """It is gone."""
            return ClaimState(ClaimStatus.NONE)

    desk = Desk(print, lambda _: True, lambda _: None)
    with pytest.raises(ClaimError, match="another process"):
        claim_license(Vanished(), desk, hub_url="https://hub.example")  # type: ignore[arg-type]


def test_a_tenant_without_a_name() -> None:
    """A hub that says no name is not papered over."""
    assert "does not say" in named_tenant(ClaimState(ClaimStatus.APPROVED))


def test_the_pause_is_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits between polls waits as long as it is told, in seconds, for something that nobody sets."""
    waited: list[tuple[bool, float | None]] = []

    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        waited.append((event.is_set(), timeout))
        return False

    monkeypatch.setattr(threading.Event, "wait", wait)
    claim.pause(timedelta(minutes=1, milliseconds=500))
    assert waited == [(False, 60.5)]
