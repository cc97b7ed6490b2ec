"""What each verb asks of Redis, and how its answer reads: values in, values out, for whoever sends it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from kuploy_saas_kit.adapters._rules import (
    amounts_of,
    checked_amount,
    checked_claims,
    highest_before,
    meter_sums,
)
from kuploy_saas_kit.adapters.redis import feed, scripts
from kuploy_saas_kit.adapters.redis.scripts import Script
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved
from kuploy_saas_kit.plans.ports import (
    INSTANCE,
    Announced,
    Changes,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    HoldingState,
    MeterEntry,
    MeterRecorded,
    Taken,
    TakeOutcome,
    UsagePut,
)

if TYPE_CHECKING:
    from kuploy_saas_kit._clock import Clock

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Asked(NamedTuple, Generic[T]):
    """One command, and what its answer means: what was asked for, or what has to be asked next.

    *script* is what the command runs, for a server that has not seen it yet.
    """

    command: tuple[bytes, ...]
    read: Callable[[Any], T | Asked[T]]
    script: Script | None = None

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What it reads or writes."""
        return self.command[1:2] if self.script is None else self.command[3 : 3 + int(self.command[2])]

    @property
    def with_text(self) -> tuple[bytes, ...]:
        """The same command with the script's text in place of its digest."""
        assert self.script is not None  # noqa: S101 - only a script can be missing at the server
        return (b"EVAL", self.script.text, *self.command[2:])


class Asking:
    """The verbs of the store as what they ask. Every key begins with one prefix, whose hash tag keeps them together.

    Without a *clock* expiry and leases go by the server's clock.
    """

    def __init__(self, prefix: str, clock: Clock | None = None) -> None:
        if prefix[:1] in {"", "}"}:
            raise ConfigurationError(
                f"{prefix!r} cannot begin the keys of a store in Redis: without a hash tag a cluster spreads them"
            )
        self.prefix = f"{{{prefix}}}"
        self._root = self.prefix.encode()
        self._used = self._key("used:")
        self._scopes, self._holdings, self._expiry = self._key("scopes"), self._key("holdings"), self._key("expiry")
        self._license_key = self._key("license")
        self._clock = clock

    # Counting

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Asked[Taken]:
        ordered = checked_claims(claims)
        counters = [self._used + claim.scope.encode() for claim in ordered]
        args: list[bytes] = []
        for claim in ordered:
            room = highest_before(claim)
            args += (claim.limit.encode(), b"%d" % claim.amount, b"%d" % room if room >= 0 else b"")
        args.append(self._root)
        if self._clock is not None or key is not None:
            args.append(self._now())
        if key is not None:
            amounts = json.dumps(_entries(amounts_of(ordered)))
            args += (_place(claims[0].scope, key), amounts.encode(), _length(ttl) if ttl is not None else b"")
        return _taking(ordered, _call(scripts.TAKE, counters, args))

    def give_back(self, amounts: Mapping[CounterKey, int]) -> Asked[GivenBack]:
        for (_, limit), amount in amounts.items():
            checked_amount(amount, limit)
        counters = [self._used + scope.encode() for scope, _ in amounts]
        args = [part for (_, limit), amount in amounts.items() for part in (limit.encode(), b"%d" % amount)]
        return _script(scripts.GIVE_BACK, counters, args, partial(_answered, amounts))

    def usage_of(self, scope: str) -> Asked[Mapping[str, int]]:
        return Asked((b"HGETALL", self._used + scope.encode()), _counters)

    def seed_usage(self, counter: CounterKey, value: int) -> Asked[None]:
        scope, limit = counter
        args = [limit.encode(), b"%d" % checked_amount(value, limit), scope.encode()]
        return _script(scripts.SEED, [self._used + args[2], self._scopes], args, _nothing)

    def put_usage(self, org_id: str, limit: str, value: int) -> Asked[UsagePut]:
        org = org_id.encode()
        args = [limit.encode(), b"%d" % checked_amount(value, limit), org, self._used]
        keys = [self._used + org, self._scopes, self._used + INSTANCE.encode()]
        return _script(scripts.PUT, keys, args, lambda answer: UsagePut(int(answer[0]), int(answer[1])))

    def settle_holding(self, scope: str, key: str) -> Asked[HoldingSettled]:
        args = [_place(scope, key), self._now()]
        return _script(scripts.SETTLE, self._held, args, lambda answer: HoldingSettled(HoldingState(answer)))

    def release_holding(self, scope: str, key: str) -> Asked[GivenBack]:
        return _script(scripts.RELEASE, self._held, [self._root, _place(scope, key)], _given_back)

    def sweep_holdings(self) -> Asked[GivenBack]:
        return _sweeping(_call(scripts.SWEEP, self._held, [self._root, self._now()]))

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> Asked[MeterRecorded]:
        sums = meter_sums(entries)
        args = [event_key.encode()]
        for place, amount in sums.items():
            args += (_meter(*place), b"%d" % amount)
        keys = [self._key("meter_events"), self._key("meters")]
        return _script(scripts.METER, keys, args, partial(_recorded, sums))

    def meter_total(self, scope: str, limit: str, period: datetime) -> Asked[int]:
        return Asked((b"HGET", self._key("meters"), _meter(scope, limit, period)), lambda answer: int(answer or 0))

    def announce_once(self, name: str) -> Asked[Announced]:
        return Asked((b"SADD", self._key("announced"), name.encode()), lambda added: Announced(bool(added)))

    # The change feed

    @property
    def channel(self) -> bytes:
        """Where it is said that something changed."""
        return self._key("changed")

    def changes(self, cursor: str | None, *, epoch: str) -> Asked[Changes]:
        """*epoch* names the feed from now on, where it has no name: it is new, or was lost."""
        seen = feed.seen_at(cursor)
        args = [b"%d" % seen.position if seen is not None else b"", epoch.encode(), self._now()]
        return _script(scripts.CHANGES, self._feed, args, partial(feed.news, seen))

    def publish_change(self, org_id: str | None, *, epoch: str) -> Asked[None]:
        """Enter a change and say so; *epoch* as for `changes`."""
        args = [(org_id or "").encode(), epoch.encode(), b"%d" % feed.KEPT_CHANGES, self.channel]
        return _script(scripts.PUBLISH, self._feed, args, _nothing)

    # The license

    def load_license(self) -> Asked[LicenseRecord | None]:
        return Asked((b"HGETALL", self._license_key), _license)

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> Asked[LicenseSaved]:
        replaced = _identity(instead_of) if instead_of is not None else b""
        args = [b"%d" % record.epoch, b"%d" % record.revision, replaced, *_license_fields(record)]
        return _script(scripts.SAVE_LICENSE, [self._license_key], args, lambda saved: LicenseSaved(bool(saved)))

    def save_mark(self, mark: datetime) -> Asked[None]:
        return _script(scripts.SAVE_MARK, [self._license_key], [_micros(mark)], _nothing)

    def ensure_instance_id(self, candidate: str) -> Asked[str]:
        return _script(scripts.FIRST, [self._key("instance_id")], [candidate.encode()], _same)

    def load_license_key(self) -> Asked[str | None]:
        return Asked((b"GET", self._key("license_key")), _same)

    def save_license_key(self, license_key: str | None) -> Asked[None]:
        return self._kept("license_key", license_key)

    def load_claim(self) -> Asked[ClaimRecord | None]:
        return Asked((b"GET", self._key("claim")), _claim)

    def save_claim(self, claim: ClaimRecord | None) -> Asked[None]:
        return self._kept("claim", json.dumps(_claim_fields(claim)) if claim is not None else None)

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Asked[Lease]:
        args = [holder.encode(), _length(ttl), self._now()]
        return _script(scripts.TAKE_LEASE, [self._key("lease:" + name)], args, _lease)

    def drop_lease(self, name: str, holder: str) -> Asked[None]:
        return _script(scripts.DROP_LEASE, [self._key("lease:" + name)], [holder.encode()], _nothing)

    # Shared

    def _key(self, name: str) -> bytes:
        return f"{self.prefix}:{name}".encode()

    @property
    def _held(self) -> list[bytes]:
        return [self._holdings, self._expiry]

    @property
    def _feed(self) -> list[bytes]:
        return [self._key("feed"), self._key("feed_log")]

    def _now(self) -> bytes:
        return _micros(self._clock.now()) if self._clock is not None else b""

    def _kept(self, name: str, value: str | None) -> Asked[None]:
        key = self._key(name)
        return Asked((b"DEL", key) if value is None else (b"SET", key, value.encode()), _nothing)


def _script(script: Script, keys: Sequence[bytes], args: Iterable[bytes], read: Callable[[Any], T]) -> Asked[T]:
    return Asked(_call(script, keys, args), read, script)


def _call(script: Script, keys: Sequence[bytes], args: Iterable[bytes]) -> tuple[bytes, ...]:
    return (b"EVALSHA", script.digest, b"%d" % len(keys), *keys, *args)


def _same(answer: Any) -> Any:
    return answer


def _nothing(_: Any) -> None:
    return None


def _taking(claims: Sequence[Claim], command: tuple[bytes, ...]) -> Asked[Taken]:
    return Asked(command, partial(_taken, claims, command), scripts.TAKE)


def _taken(claims: Sequence[Claim], command: tuple[bytes, ...], answer: Sequence[Any]) -> Taken | Asked[Taken]:
    outcome, blocking = TakeOutcome.TAKEN, 0
    if isinstance(answer[-1], list):
        said, blocking, answer = answer
        if said == "again":
            return _taking(claims, command)
        outcome = TakeOutcome(said)
    used, missing = {}, []
    for claim, value in zip(claims, answer, strict=True):
        if value is None:
            missing.append(claim.counter)
        else:
            used[claim.counter] = int(value)
    unseeded = tuple(missing) if outcome is TakeOutcome.UNSEEDED else ()
    return Taken(outcome, used, claims[blocking - 1] if blocking else None, unseeded)


def _pairs(answer: Mapping[str, str] | Sequence[str]) -> Mapping[str, str]:
    """A hash, as either of the two protocols sends it."""
    return answer if isinstance(answer, Mapping) else dict(zip(answer[::2], answer[1::2], strict=True))


def _counters(answer: Mapping[str, str] | Sequence[str]) -> Mapping[str, int]:
    return {limit: int(value) for limit, value in _pairs(answer).items()}


def _answered(amounts: Mapping[CounterKey, int], answer: Sequence[str | None]) -> GivenBack:
    both = zip(amounts.items(), answer[::2], answer[1::2], strict=True)
    return _given_back([(scope, limit, amount, back, after) for ((scope, limit), amount), back, after in both])


def _sweeping(command: tuple[bytes, ...], swept: Sequence[Any] = ()) -> Asked[GivenBack]:
    """The next holdings that expired, after the amounts that were *swept* before."""

    def read(answer: tuple[int, Sequence[Any]]) -> GivenBack | Asked[GivenBack]:
        is_more, entries = answer
        both = [*swept, *entries]
        return _sweeping(command, both) if is_more else _given_back(both)

    return Asked(command, read, scripts.SWEEP)


def _given_back(entries: Iterable[tuple[str, str, str | int, str | None, str | None]]) -> GivenBack:
    used: dict[CounterKey, int] = {}
    returned: dict[CounterKey, int] = {}
    drift: dict[CounterKey, int] = {}
    for scope, limit, amount, back, after in entries:
        counter, given = (scope, limit), int(back or 0)
        if after is not None:
            used[counter] = int(after)
        if given:
            returned[counter] = returned.get(counter, 0) + given
        if int(amount) > given:
            drift[counter] = drift.get(counter, 0) + int(amount) - given
    return GivenBack(used, returned, drift)


def _recorded(sums: Mapping[tuple[str, str, datetime], int], answer: tuple[int, Sequence[str]]) -> MeterRecorded:
    is_new, totals = answer
    return MeterRecorded(bool(is_new), {place: int(total) for place, total in zip(sums, totals, strict=True)})


def _place(scope: str, key: str) -> bytes:
    return json.dumps([scope, key]).encode()


def _meter(scope: str, limit: str, period: datetime) -> bytes:
    return json.dumps([scope, limit, _micros(period).decode()]).encode()


def _entries(amounts: Mapping[CounterKey, int]) -> list[list[str]]:
    return [[scope, limit, str(amount)] for (scope, limit), amount in sorted(amounts.items())]


def _micros(instant: datetime) -> bytes:
    return b"%d" % ((instant - _EPOCH) // _MICROSECOND)


def _length(ttl: timedelta) -> bytes:
    return b"%d" % (ttl // _MICROSECOND)


def _instant(micros: str) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _lease(answer: tuple[int, str]) -> Lease:
    held, until = answer
    return Lease(held=bool(held), until=_instant(until))


def _license_fields(record: LicenseRecord) -> Sequence[bytes]:
    return (
        *(b"body", b64encode(record.body)),
        *(b"trust", record.trust.encode()),
        *(b"epoch", b"%d" % record.epoch),
        *(b"revision", b"%d" % record.revision),
        *(b"received_at", _micros(record.received_at)),
        *(b"mark", _micros(record.mark)),
        *(b"identity", _identity(record)),
    )


def _identity(record: LicenseRecord) -> bytes:
    """All that tells two records apart; the mark moves while they stay what they are."""
    parts = [record.trust, record.epoch, record.revision, _micros(record.received_at).decode()]
    return json.dumps([*parts, b64encode(record.body).decode()]).encode()


def _license(answer: Mapping[str, str] | Sequence[str]) -> LicenseRecord | None:
    stored = _pairs(answer)
    try:
        return LicenseRecord(
            body=b64decode(stored["body"], validate=True),
            trust=stored["trust"],
            epoch=int(stored["epoch"]),
            revision=int(stored["revision"]),
            received_at=_instant(stored["received_at"]),
            mark=_instant(stored["mark"]),
        )
    except (KeyError, ValueError):
        return None  # there is none, or bytes that cannot be read


def _claim_fields(claim: ClaimRecord) -> dict[str, object]:
    return {
        "code": claim.code,
        "secret": claim.secret,
        "expires_at": _micros(claim.expires_at).decode(),
        "interval": claim.interval // _MICROSECOND,
        "license_key": claim.license_key,
        "tenant_name": claim.tenant_name,
    }


def _claim(text: str | None) -> ClaimRecord | None:
    if text is None:
        return None
    stored = json.loads(text)
    return ClaimRecord(
        code=stored["code"],
        secret=stored["secret"],
        expires_at=_instant(stored["expires_at"]),
        interval=stored["interval"] * _MICROSECOND,
        license_key=stored["license_key"],
        tenant_name=stored["tenant_name"],
    )
