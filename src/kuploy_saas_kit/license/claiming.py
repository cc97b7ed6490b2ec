"""The shell of the claim flow: store, hub and clock around the rules of `claim`."""

from __future__ import annotations

import platform
import secrets
from datetime import timedelta
from typing import Final

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.errors import ClaimError, HubRefusedError, HubUnavailableError
from kuploy_saas_kit.license.claim import (
    CODE_ATTEMPTS,
    ClaimState,
    ClaimStatus,
    ClaimTicket,
    claim_body,
    failed_poll,
    is_over,
    new_claim,
    poll_body,
    read_begun,
    read_poll,
    state_of,
)
from kuploy_saas_kit.license.config import LicenseConfig
from kuploy_saas_kit.license.link import HubLink, storing
from kuploy_saas_kit.license.ports import ClaimRecord, IdentityStore, LeaseStore
from kuploy_saas_kit.license.requests import Refusal

_CODE_TAKEN: Final = "code_taken"
_TURN: Final = "license-claim"
_TURN_TTL: Final = timedelta(seconds=60)


class Claiming:
    """Begins, polls and confirms the claim of one instance. What it keeps is in the store, so a restart resumes."""

    def __init__(
        self, config: LicenseConfig, store: IdentityStore, hub: HubLink, clock: Clock, leases: LeaseStore | None
    ) -> None:
        self._leases = leases
        self._holder = secrets.token_hex(8)
        self._config = config
        self._store = store
        self._hub = hub
        self._clock = clock
        self._next_poll: timedelta | None = None
        self._last: ClaimState | None = None

    def begin(self, instance_id: str) -> ClaimTicket:
        """The ticket of the claim on its way, or of a new one."""
        if self._config.key is not None:
            raise ClaimError(
                "a license key is configured and always wins: unset LICENSE_KEY to claim a license instead",
                code="claim.configured",
            )
        claim = self._running()
        if claim is None:
            claim = self._begin_alone(instance_id)
        return ClaimTicket(claim.code, claim.expires_at, claim.interval)

    def poll(self, instance_id: str) -> ClaimState:
        """How the claim stands; asks the hub at most once per interval."""
        claim = self._load()
        if claim is None:
            return self._last_words()
        if is_over(claim, self._clock.now()):
            return self._settle(None, ClaimState(ClaimStatus.EXPIRED))
        if claim.license_key is not None:
            return state_of(claim)
        if self._next_poll is not None and self._clock.elapsed() < self._next_poll:
            return state_of(claim) if self._last is None else self._last
        return self._ask(claim, instance_id)

    def confirm(self) -> None:
        """Take the approved license: its key is kept, the claim is over. `ClaimError` without an approval."""
        claim = self._load()
        if claim is None or claim.license_key is None:
            raise ClaimError(
                "there is no approved claim to confirm: begin one, and poll it until it is approved",
                code="claim.not_approved",
            )
        with storing("keep the license key"):
            self._store.save_license_key(claim.license_key)
            self._store.save_claim(None)
        self._last = None

    def _begin_alone(self, instance_id: str) -> ClaimRecord:
        """A new claim, unless another process is just making one: there is to be one code for all."""
        is_alone = self._take_turn()
        claim = self._running()
        if claim is not None:
            return claim
        if not is_alone:
            raise ClaimError("another process is beginning a claim: ask again in a moment", code="claim.busy")
        try:
            claim = self._register(instance_id)
            with storing("keep the claim"):
                self._store.save_claim(claim)
        finally:
            self._end_turn()
        self._next_poll = self._last = None
        return claim

    def _running(self) -> ClaimRecord | None:
        claim = self._load()
        return None if claim is None or is_over(claim, self._clock.now()) else claim

    def _take_turn(self) -> bool:
        if self._leases is None:
            return True
        with storing("take the lease"):
            return self._leases.take_lease(_TURN, self._holder, _TURN_TTL).held

    def _end_turn(self) -> None:
        if self._leases is not None:
            with storing("drop the lease"):
                self._leases.drop_lease(_TURN, self._holder)

    def _register(self, instance_id: str) -> ClaimRecord:
        refusal = Refusal(_CODE_TAKEN)
        for _ in range(CODE_ATTEMPTS):
            claim = new_claim(self._clock.now())
            body = claim_body(
                claim,
                instance_id=instance_id,
                product_type=self._config.product_type,
                hostname=platform.node()[:200],
                public_url=self._config.public_url,
            )
            answer = self._hub.ask(self._config.claims_path, body)
            begun = answer if isinstance(answer, Refusal) else read_begun(claim, answer, self._clock.now())
            if isinstance(begun, ClaimRecord):
                return begun
            refusal = begun
            if refusal.hub_code != _CODE_TAKEN:
                break
        raise _not_begun(refusal)

    def _ask(self, claim: ClaimRecord, instance_id: str) -> ClaimState:
        answer = self._hub.ask(self._config.claims_poll_path, poll_body(claim, instance_id=instance_id))
        if isinstance(answer, Refusal):
            polled = failed_poll(claim, answer)
        else:
            polled = read_poll(claim, answer, self._clock.now())
        self._next_poll = self._clock.elapsed() + polled.state.interval
        if polled.claim == claim:
            self._last = polled.state
            return polled.state
        return self._settle(polled.claim, polled.state)

    def _settle(self, claim: ClaimRecord | None, state: ClaimState) -> ClaimState:
        with storing("keep the claim"):
            self._store.save_claim(claim)
        self._last = state
        return state

    def _load(self) -> ClaimRecord | None:
        with storing("load the claim"):
            return self._store.load_claim()

    def _last_words(self) -> ClaimState:
        """The end of a claim that is over stays known to this process until another begins."""
        over = {ClaimStatus.DENIED, ClaimStatus.EXPIRED}
        return self._last if self._last is not None and self._last.status in over else state_of(None)


def _not_begun(refusal: Refusal) -> HubUnavailableError | HubRefusedError:
    if refusal.hub_code is not None:
        return HubRefusedError(f"the hub refused the claim: {refusal.hub_code}", code=refusal.hub_code)
    return HubUnavailableError(
        f"the hub cannot be reached to begin a claim ({refusal.code}): try again", code=refusal.code
    )
