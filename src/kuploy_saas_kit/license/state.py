"""What the client knows, as one value, and every way in which it may change. Pure: time comes in, values go out.

Only a believed payload or the clock takes rights away; any failed sync changes nothing but a counter (hub protocol,
section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final, TypeAlias

from kuploy_saas_kit.license.reading import Believed, Trust
from kuploy_saas_kit.license.wire import LicensePayload, PayloadStatus
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.status import LicenseStatus

Order: TypeAlias = tuple[int, int]
"""(epoch, revision): which of two answers is newer."""

NOTHING_YET: Final[Order] = (-1, -1)
CLOCK_TOLERANCE: Final = timedelta(seconds=300)
_GRACE_BEGINS_AT: Final = 7  # GRACE is the window's last six sevenths
_TLS_ONLY_GRACE: Final = timedelta(days=7)
_SECOND_LOOK_AFTER: Final = timedelta(seconds=30)
_DEMOTION_TIMES: Final = 3
_DEMOTION_SPAN: Final = timedelta(minutes=10)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ServedFrom(StrEnum):
    """Where the license that is held came from."""

    NOWHERE = "nowhere"
    STORE = "store"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant by the wall clock, and by the clock that only goes on."""

    now: datetime
    elapsed: timedelta


@dataclass(frozen=True, slots=True)
class LicenseTime:
    """The time by which a held license ages.

    With *since* it is *at* plus what has elapsed since then: neither a wrong hub clock nor a wrong host clock moves
    it. Without, it is the wall clock, never below *at* (the mark that was saved with the license).
    """

    at: datetime = _LONG_AGO
    since: timedelta | None = None

    def after(self, elapsed: timedelta) -> datetime:
        """The license's time when the clock that only goes on shows *elapsed*."""
        if self.since is None or elapsed <= self.since:
            return self.at
        return self.at + (elapsed - self.since)

    def at_moment(self, moment: Moment) -> datetime:
        """The license's time at *moment*."""
        return max(self.at, moment.now) if self.since is None else self.after(moment.elapsed)


@dataclass(frozen=True, slots=True)
class Held:
    """The payload that decides. *grace_until* is shortened already, where trust mode or operator shorten it.

    *status* is the payload's, unless an unsigned hub took it back by refusing (three times over ten minutes).
    """

    payload: LicensePayload
    body: bytes = field(repr=False)
    order: Order
    status: PayloadStatus
    grace_from: datetime
    grace_until: datetime


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A payload that takes everything away, and is believed when the hub says so again."""

    payload: LicensePayload
    since: timedelta


@dataclass(frozen=True, slots=True)
class Demotion:
    """How often, and since when, an unsigned hub has said that the license is suspended or revoked."""

    status: PayloadStatus
    times: int
    since: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseState:
    """All that is known. A snapshot is this and an instant."""

    trust: Trust = Trust.PINNED
    has_key: bool = False
    held: Held | None = None
    time: LicenseTime = LicenseTime()
    served_from: ServedFrom = ServedFrom.NOWHERE
    catalog: PlanCatalog | None = None
    catalog_revision: int | None = None
    catalog_error: str | None = None
    second_look: SecondLook | None = None
    demotion: Demotion | None = None
    clock_suspect: bool = False
    wants_own_sync: bool = False
    usage: Mapping[str, int] = field(default_factory=dict)
    last_sync_code: str | None = None
    last_sync_at: datetime | None = None

    @property
    def mark(self) -> Order:
        """Below this (epoch, revision) nothing is accepted any more."""
        return NOTHING_YET if self.held is None else self.held.order


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator may set: the grace can be shortened, never lengthened."""

    max_grace: timedelta | None = None


class Verdict(Enum):
    """What became of a believed payload."""

    ACCEPTED = "ok"
    UNCHANGED = "unchanged"
    """The very bytes that are held: nothing changes and nothing is extended."""
    OVERTAKEN = "overtaken"
    """Another replica's sync brought a newer one meanwhile: no news and no alarm."""
    HELD_BACK = "payload.held"
    """It takes everything away without saying why: asked for again before it counts."""
    ROLLBACK = "replay.rollback"
    """Older than what was held when the request was sent."""
    EQUIVOCATION = "replay.equivocation"
    """The hub said two different things under one revision."""

    @property
    def is_good(self) -> bool:
        """Whether the exchange did what it should."""
        return self in {Verdict.ACCEPTED, Verdict.UNCHANGED, Verdict.OVERTAKEN}


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict and the state after it."""

    verdict: Verdict
    state: LicenseState

    def __bool__(self) -> bool:
        raise TypeError("use .verdict")


def judge(state: LicenseState, believed: Believed, sent: SentWith, moment: Moment, rules: Rules) -> Judged:
    """What *believed*, the answer to a request that was sent with *sent*, changes."""
    payload = believed.payload
    order = _order(payload, state)
    if order < sent.mark:
        return Judged(Verdict.ROLLBACK, state)
    if state.held is not None and order <= state.held.order:
        return Judged(_not_newer(order, believed, state.held), replace(state, demotion=None))
    if _needs_more_voices(state, payload):
        return _heard(state, believed, order, sent, moment, rules)
    if _needs_second_look(state, payload) and not _is_second_look(state.second_look, payload, moment.elapsed):
        return Judged(Verdict.HELD_BACK, _held_back(state, payload, moment.elapsed))
    return Judged(Verdict.ACCEPTED, _accepted(state, believed, order, sent, moment, rules))


@dataclass(frozen=True, slots=True)
class SentWith:
    """What was known when a request was sent."""

    mark: Order
    elapsed: timedelta


def loaded(state: LicenseState, believed: Believed, order: Order, mark: datetime, rules: Rules) -> LicenseState:
    """The state after a start: the stored license holds, by the wall clock, never below the saved time mark."""
    return replace(
        state, **_holding(state, believed, order, rules), time=LicenseTime(mark), served_from=ServedFrom.STORE
    )


def adopted(
    state: LicenseState, believed: Believed, order: Order, mark: datetime, moment: Moment, rules: Rules
) -> LicenseState:
    """The state after another process accepted a newer license and this one found it in the store.

    Where this process has heard the hub itself its time goes on as it was. Where not, the wall clock counts, as after
    a start; if that is far from what the store says, this process is to sync itself, whoever leads.
    """
    issued_at = believed.payload.issued_at
    after = replace(state, **_holding(state, believed, order, rules), served_from=ServedFrom.STORE)
    if state.time.since is None:
        is_apart = abs(moment.now - mark) > CLOCK_TOLERANCE
        return replace(after, time=LicenseTime(max(mark, issued_at)), wants_own_sync=is_apart)
    if state.time.at_moment(moment) < issued_at:
        return replace(after, time=LicenseTime(issued_at, moment.elapsed))
    return after


def with_key(state: LicenseState, *, has_key: bool) -> LicenseState:
    """The state under another license key: what was held was for the old one."""
    return LicenseState(
        trust=state.trust, has_key=has_key, last_sync_code=state.last_sync_code, last_sync_at=state.last_sync_at
    )


def demoted_by_code(state: LicenseState, status: PayloadStatus, moment: Moment) -> LicenseState:
    """The state after an unsigned hub refused with a code that means *status*; it counts when repeated for long."""
    if state.trust is not Trust.TLS_ONLY or state.held is None:
        return state
    demotion = _counted(state.demotion, status, moment.elapsed)
    if not _is_enough(demotion, moment.elapsed):
        return replace(state, demotion=demotion)
    return replace(state, demotion=demotion, held=replace(state.held, status=status))


def watched(state: LicenseState, moment: Moment) -> LicenseState:
    """The state with a fresh opinion on the host's clock."""
    if state.held is None:
        return state
    apart = abs(moment.now - state.time.at_moment(moment))
    if (apart > CLOCK_TOLERANCE) == state.clock_suspect:
        return state
    return replace(state, clock_suspect=not state.clock_suspect)


def status_at(state: LicenseState, instant: datetime) -> LicenseStatus:
    """The status at *instant* of the license's time. First match wins (hub protocol, section 3)."""
    held = state.held
    if not state.has_key:
        return LicenseStatus.UNLICENSED
    if held is None:
        return LicenseStatus.PENDING
    if held.status is not PayloadStatus.ACTIVE:
        return LicenseStatus.REVOKED if held.status is PayloadStatus.REVOKED else LicenseStatus.SUSPENDED
    if instant >= held.grace_until or _is_unpaid(held.payload, instant):
        return LicenseStatus.EXPIRED
    if instant >= held.payload.fresh_until:
        return LicenseStatus.GRACE if instant >= held.grace_from else LicenseStatus.STALE
    return LicenseStatus.ACTIVE


def reason_at(state: LicenseState, instant: datetime) -> str:
    """Why the status is what it is: `offline` or `paid` for EXPIRED, else the hub's own words."""
    held = state.held
    if held is None:
        return "" if not state.has_key else state.last_sync_code or ""
    if status_at(state, instant) is LicenseStatus.EXPIRED:
        return "offline" if instant >= held.grace_until else "paid"
    return held.payload.status_reason


def limits_exceeded(state: LicenseState) -> tuple[str, ...]:
    """The limits of which the usage last reported and the usage elsewhere are together above the license."""
    if state.held is None:
        return ()
    payload = state.held.payload
    limits = payload.grant.limits
    return tuple(
        sorted(key for key, used in state.usage.items() if limits[key] < used + payload.usage_elsewhere.get(key, 0))
    )


def _is_unpaid(payload: LicensePayload, instant: datetime) -> bool:
    return payload.paid_until is not None and instant >= payload.paid_until


def _order(payload: LicensePayload, state: LicenseState) -> Order:
    """The payload's place; an unsigned hub that names none is taken by order of arrival."""
    epoch, revision = state.mark
    if payload.revision is not None:
        return payload.epoch or 0, payload.revision
    return max(epoch, 0), max(revision, 0) + 1


def _not_newer(order: Order, believed: Believed, held: Held) -> Verdict:
    if order < held.order:
        return Verdict.OVERTAKEN
    return Verdict.UNCHANGED if believed.body == held.body else Verdict.EQUIVOCATION


def _needs_second_look(state: LicenseState, payload: LicensePayload) -> bool:
    """Whether *payload* takes everything away without saying why (mass-loss guard)."""
    if state.held is None:
        return False
    if state.catalog is not None and payload.catalog.is_empty:
        return True
    before = state.held.payload
    if (payload.grant.tier, payload.status) != (before.grant.tier, before.status):
        return False
    loses_features = bool(before.grant.features) and not payload.grant.features
    return loses_features or (before.has_room and not payload.has_room)


def _is_second_look(first: SecondLook | None, payload: LicensePayload, elapsed: timedelta) -> bool:
    if first is None or elapsed - first.since < _SECOND_LOOK_AFTER:
        return False
    return _agrees(first.payload, payload)


def _agrees(first: LicensePayload, second: LicensePayload) -> bool:
    return (first.grant, first.status, first.catalog.catalog) == (second.grant, second.status, second.catalog.catalog)


def _held_back(state: LicenseState, payload: LicensePayload, elapsed: timedelta) -> LicenseState:
    if state.second_look is not None and _agrees(state.second_look.payload, payload):
        return state
    return replace(state, second_look=SecondLook(payload, elapsed))


def _needs_more_voices(state: LicenseState, payload: LicensePayload) -> bool:
    """Whether an unsigned payload says suspended or revoked of a license that is not so yet."""
    if state.trust is not Trust.TLS_ONLY or state.held is None:
        return False
    return payload.status not in {PayloadStatus.ACTIVE, state.held.status}


def _heard(
    state: LicenseState, believed: Believed, order: Order, sent: SentWith, moment: Moment, rules: Rules
) -> Judged:
    demotion = _counted(state.demotion, believed.payload.status, moment.elapsed)
    if not _is_enough(demotion, moment.elapsed):
        return Judged(Verdict.HELD_BACK, replace(state, demotion=demotion))
    return Judged(Verdict.ACCEPTED, _accepted(state, believed, order, sent, moment, rules))


def _counted(demotion: Demotion | None, status: PayloadStatus, elapsed: timedelta) -> Demotion:
    if demotion is None or demotion.status is not status:
        return Demotion(status, 1, elapsed)
    return replace(demotion, times=demotion.times + 1)


def _is_enough(demotion: Demotion, elapsed: timedelta) -> bool:
    return demotion.times >= _DEMOTION_TIMES and elapsed - demotion.since >= _DEMOTION_SPAN


def _accepted(
    state: LicenseState, believed: Believed, order: Order, sent: SentWith, moment: Moment, rules: Rules
) -> LicenseState:
    issued_at = believed.payload.issued_at
    return replace(
        state,
        **_holding(state, believed, order, rules),
        time=LicenseTime(issued_at, sent.elapsed),
        served_from=ServedFrom.MEMORY,
        wants_own_sync=False,
        clock_suspect=abs(moment.now - issued_at) > CLOCK_TOLERANCE,
    )


def _holding(state: LicenseState, believed: Believed, order: Order, rules: Rules) -> dict[str, Any]:
    """What changes of *state* when *believed* is held."""
    part = believed.payload.catalog
    keeps_catalog = part.error is not None and not part.is_empty
    return {
        "held": _held(believed, order, state.trust, rules),
        "catalog": state.catalog if keeps_catalog else part.catalog,
        "catalog_revision": state.catalog_revision if keeps_catalog else part.revision,
        "catalog_error": part.error,
        "second_look": None,
        "demotion": None,
    }


def _held(believed: Believed, order: Order, trust: Trust, rules: Rules) -> Held:
    payload = believed.payload
    limits = [payload.grace_until]
    if trust is Trust.TLS_ONLY:
        limits.append(payload.issued_at + _TLS_ONLY_GRACE)
    if rules.max_grace is not None:
        limits.append(payload.issued_at + rules.max_grace)
    grace_until = min(limits)
    grace_from = payload.fresh_until + (payload.grace_until - payload.fresh_until) / _GRACE_BEGINS_AT
    return Held(payload, believed.body, order, payload.status, grace_from, grace_until)
