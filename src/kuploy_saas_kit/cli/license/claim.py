"""`kuploy-saas-kit license claim`: link this instance to a tenant."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, TypeAlias

from kuploy_saas_kit.cli.license.codes import mend_of
from kuploy_saas_kit.cli.license.identity import read_identity
from kuploy_saas_kit.cli.license.status import headline
from kuploy_saas_kit.cli.license.sync import mend, named_code
from kuploy_saas_kit.cli.output import complain, confirmed, instant, say
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.errors import ClaimError
from kuploy_saas_kit.license import ClaimState, ClaimStatus, ClaimTicket, LicenseSnapshot, SyncResult

Wait: TypeAlias = Callable[[timedelta], object]

_ENDS: Final = {
    ClaimStatus.DENIED: "the tenant denied it",
    ClaimStatus.EXPIRED: "nobody entered the code in time",
}


class Claimant(Protocol):
    """What a claim is made with: a `LicenseClient`."""

    def begin_claim(self) -> ClaimTicket:
        """The code to show."""

    def poll_claim(self) -> ClaimState:
        """How the claim stands."""

    def confirm_claim(self) -> SyncResult:
        """Take the license."""

    def snapshot(self) -> LicenseSnapshot:
        """The license now."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the operator sits: who is told, who is asked, and how to *wait* for the tenant."""

    say: Callable[[str], object]
    confirm: Callable[[str], bool]
    wait: Wait


def pause(length: timedelta) -> None:
    """Let *length* pass."""
    threading.Event().wait(length.total_seconds())


def run(parsed: argparse.Namespace) -> int:
    """Claim a license, or go on with a claim that has begun; 1 if the tenant was not confirmed."""
    with open_kit(parsed) as opened:
        config = opened.kit.config.license
        held = read_identity(config, opened.stores.license)
        desk = Desk(say, lambda question: confirmed(question, yes=parsed.yes), pause)
        if held.key is not None:
            say(f"this instance has a license already: {held.named_key}. The claimed one takes its place")
        return claim_license(opened.kit.license, desk, hub_url=config.hub_url)


def claim_license(client: Claimant, desk: Desk, *, hub_url: str) -> int:
    """Claim from beginning to end. Whatever interrupts it, the next call goes on where it was."""
    ticket = client.begin_claim()
    try:
        state = _settled(client, desk, ticket, hub_url)
        desk.say(f"approved by {named_tenant(state)}")
        if not desk.confirm(f"Link this instance to {named_tenant(state)}?"):
            desk.say("not linked. The approval is kept: the next `license claim` asks again")
            return 1
    except KeyboardInterrupt:
        desk.say("\N{BULLET} interrupted. The claim goes on: the next `license claim` resumes it")
        raise
    _linked(client, client.confirm_claim(), desk)
    return 0


def named_tenant(state: ClaimState) -> str:
    """The tenant, as the hub calls it."""
    return f"the tenant {state.tenant_name!r}" if state.tenant_name else "the tenant, whose name the hub does not say"


def _settled(client: Claimant, desk: Desk, ticket: ClaimTicket, hub_url: str) -> ClaimState:
    """Poll until the tenant approved; `ClaimError` for any other end."""
    state = client.poll_claim()
    if state.status is ClaimStatus.PENDING:
        desk.say(f"enter the code {ticket.code} at {hub_url} until {instant(ticket.expires_at)}")
        desk.say("waiting for the tenant; Ctrl-C leaves a claim that the next call resumes")
    told: str | None = None
    while state.status is ClaimStatus.PENDING:
        if state.problem not in {None, told}:
            desk.say(f"the hub gave no answer ({state.problem}): {mend_of(str(state.problem))}. Waiting on")
        told = state.problem
        desk.wait(state.interval)
        state = client.poll_claim()
    if state.status is not ClaimStatus.APPROVED:
        raise _ended(state.status)
    return state


def _ended(status: ClaimStatus) -> ClaimError:
    why = _ENDS.get(status, "another process ended it")
    return ClaimError(f"the claim is over: {why}. Begin another with `license claim`", code=f"claim.{status}")


def _linked(client: Claimant, result: SyncResult, desk: Desk) -> None:
    desk.say("linked: the license key is stored")
    if result.ok:
        desk.say(f"the license is {headline(client.snapshot())}")
    else:
        complain(f"the first sync failed ({named_code(result)}): {mend(result)}")
