"""The license client against an oracle that shares nothing with it: invariants 1 to 18 of the license."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.license.doubles import ROGUE, SIGNER, World, answer, payload

from kuploy_saas_kit.license import LicenseClient
from kuploy_saas_kit.license.ports import HubResponse, LicenseRecord
from kuploy_saas_kit.model.status import Operation

GAP = timedelta(seconds=5)
PERMITTED = {
    "pending": {"run"},
    "revoked": {"run"},
    "suspended": {"run", "use"},
    "expired": {"run", "use"},
    "grace": {"run", "use", "configure", "create"},
    "stale": {"run", "use", "configure", "create", "provision"},
    "active": {"run", "use", "configure", "create", "provision"},
}


@dataclass(frozen=True)
class Said:
    """A payload as the oracle remembers it, in seconds."""

    revision: int
    issued: int
    fresh: int
    grace: int
    paid: int | None
    status: str


@dataclass
class Kept:
    """What is in the store: the payload (None: nothing that verifies) and the mark."""

    said: Said | None
    mark: float


class Oracle:
    """The rules, written down a second time with plain numbers."""

    def __init__(self) -> None:
        self.held: Said | None = None
        self.base: tuple[float, float] | None = None  # issued, elapsed: anchored by an own sync
        self.mark = 0.0
        self.kept = Kept(None, 0)

    def restart(self) -> None:
        self.held, self.base, self.mark = None, None, 0.0
        self.look()

    def look(self) -> None:
        kept = self.kept
        if kept.said is None or (self.held is not None and kept.said.revision <= self.held.revision):
            return
        if self.held is None:
            self.mark = max(self.mark, kept.mark)
        self.held = kept.said

    def accept(self, said: Said, elapsed: float) -> None:
        self.held, self.base = said, (said.issued, elapsed)
        self.kept = Kept(said, said.issued)

    def time(self, now: float, elapsed: float) -> float:
        if self.base is not None:
            return self.base[0] + elapsed - self.base[1]
        self.mark = max(self.mark, now)
        return self.mark

    def status(self, now: float, elapsed: float) -> str:
        time, held = self.time(now, elapsed), self.held
        if held is None:
            return "pending"
        if held.status != "active":
            return held.status
        if time >= held.grace or (held.paid is not None and time >= held.paid):
            return "expired"
        if time < held.fresh:
            return "active"
        return "grace" if (time - held.fresh) * 7 >= held.grace - held.fresh else "stale"


def seconds_of(instant: datetime) -> float:
    """Seconds since the epoch."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


class LicenseMachine(RuleBasedStateMachine):
    """One process at a time over one store, a hub that may do anything, clocks that may show anything."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.oracle = Oracle()
        self.client: LicenseClient = self.world.client()
        self.client.load()
        self.answers: list[str] = []
        self.records: list[tuple[LicenseRecord, Said]] = []
        self.said: dict[int, Said] = {}
        self.last_code: str | None = None

    # Time

    @rule(seconds=st.integers(1, 20 * 86_400))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule(seconds=st.integers(1, 600))
    def a_while_passes(self, seconds: int) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule(seconds=st.integers(-400 * 86_400, 400 * 86_400))
    def the_clock_jumps(self, seconds: int) -> None:
        self.world.clock.jump(timedelta(seconds=seconds))

    # The hub

    def exchange(self, fault: Callable[[Mapping[str, Any]], HubResponse]) -> str:
        self.world.clock.advance(GAP)
        self.world.hub.fault = fault
        self.oracle.look()
        result = self.client.sync()
        assert result.ok == (result.code == "ok")
        assert result.next_in is not None
        assert timedelta(seconds=1) <= result.next_in <= timedelta(seconds=990)
        self.last_code = result.code
        return result.code

    @rule(
        status=st.sampled_from(["active", "active", "active", "suspended", "revoked"]),
        fresh=st.integers(0, 600),
        grace=st.integers(0, 40 * 86_400),
        paid=st.none() | st.integers(0, 60 * 86_400),
        skew=st.sampled_from([0, 0, 0, 3600, -86_400, 10**8]),
    )
    def the_hub_answers(self, status: str, fresh: int, grace: int, paid: int | None, skew: int) -> None:
        self.world.hub.revision += 1
        revision = self.world.hub.revision
        issued = int(seconds_of(self.world.clock.now() + GAP)) + skew
        said = Said(
            revision, issued, issued + fresh, issued + fresh + grace, None if paid is None else issued + paid, status
        )

        def fault(body: Mapping[str, Any]) -> HubResponse:
            document = payload(
                self.world.clock.now(),
                nonce=body["nonce"],
                revision=revision,
                issuedAt=issued,
                freshUntil=said.fresh,
                graceUntil=said.grace,
                paidUntil=said.paid,
                status=status,
            )
            token = SIGNER.sign(document)
            self.answers.append(token)
            return answer({"success": True, "license": token})

        assert self.exchange(fault) == "ok"
        self.oracle.accept(said, self.world.clock.elapsed().total_seconds())
        assert self.world.store.record is not None
        self.records.append((self.world.store.record, said))

    @rule(
        status=st.sampled_from([200, 304, 401, 403, 404, 410, 429, 500, 503]),
        body=st.binary(max_size=60) | st.sampled_from([b"{}", b"null", b'{"success":false,"code":"license_revoked"}']),
        retry_after=st.none() | st.text(max_size=8),
    )
    def the_hub_talks_nonsense(self, status: int, body: bytes, retry_after: str | None) -> None:
        headers = {} if retry_after is None else {"retry-after": retry_after}
        assert self.exchange(lambda _: answer(body, status, headers)) != "ok"

    @rule()
    def the_hub_is_down(self) -> None:
        self.world.hub.goes_down()
        assert self.world.hub.fault is not None
        self.exchange(self.world.hub.fault)

    @rule()
    def somebody_forges(self) -> None:
        def fault(body: Mapping[str, Any]) -> HubResponse:
            document = payload(self.world.clock.now(), nonce=body["nonce"], revision=10**6, plan="enterprise")
            return answer({"success": True, "license": ROGUE.sign(document)})

        assert self.exchange(fault) == "sig.invalid"

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def somebody_replays(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.answers))
        assert self.exchange(lambda _: answer({"success": True, "license": token})) == "replay.nonce"

    @precondition(lambda self: self.oracle.held is not None)
    @rule(back=st.integers(0, 5))
    def the_hub_goes_back(self, back: int) -> None:
        assert self.oracle.held is not None
        self.oracle.look()
        revision = self.oracle.held.revision - back

        def fault(body: Mapping[str, Any]) -> HubResponse:
            return self.world.hub.license(body, revision=max(revision, 0), plan="enterprise")

        expected = "replay.equivocation" if back == 0 else "replay.rollback"
        assert self.exchange(fault) == expected

    # The store

    @rule()
    def the_record_is_deleted(self) -> None:
        self.world.store.record = None
        self.oracle.kept = Kept(None, 0)

    @precondition(lambda self: self.world.store.record is not None)
    @rule(place=st.integers(0, 5000), bit=st.integers(0, 7), columns=st.booleans())
    def the_record_is_damaged(self, place: int, bit: int, *, columns: bool) -> None:
        record = self.world.store.record
        assert record is not None
        body = bytearray(record.body)
        body[place % len(body)] ^= 1 << bit
        high = 2**62 if columns else record.revision
        self.world.store.record = replace(record, body=bytes(body), revision=high)
        self.oracle.kept = Kept(None, 0)

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def an_old_record_is_put_back(self, data: st.DataObject) -> None:
        record, said = data.draw(st.sampled_from(self.records))
        self.world.store.record = record
        self.oracle.kept = Kept(said, seconds_of(record.mark))

    # The process

    @rule()
    def the_process_restarts(self) -> None:
        self.client = self.world.client()
        self.client.load()
        self.oracle.restart()
        self.last_code = None

    @rule()
    def the_process_forks(self) -> None:
        """In the child memory is the parent's; a thread that is not there any more holds the lock for ever."""
        holder = threading.Thread(target=self.client._flight.acquire)
        holder.start()
        holder.join()
        self.client.after_fork()

    # What holds at any time

    @invariant()
    def the_client_says_what_the_oracle_says(self) -> None:
        if not hasattr(self, "oracle"):
            return
        now, elapsed = self.world.clock.now(), self.world.clock.elapsed()
        snapshot = self.client.snapshot()
        expected = self.oracle.status(seconds_of(now), elapsed.total_seconds())
        assert snapshot.status.value == expected
        assert {operation.value for operation in Operation if snapshot.permits(operation)} == PERMITTED[expected]
        held = self.oracle.held
        assert snapshot.revision == (None if held is None else held.revision)
        assert (snapshot.grant is None) == (expected in {"pending", "revoked"})
        assert snapshot.plan in {None, "growth"}

    @invariant()
    def what_is_stored_says_the_same_after_a_restart(self) -> None:
        if not hasattr(self, "oracle") or self.oracle.kept.said is None:
            return
        other = self.world.client()
        other.load()
        assert other.snapshot().revision == self.oracle.kept.said.revision


TestLicenseMachine = LicenseMachine.TestCase
