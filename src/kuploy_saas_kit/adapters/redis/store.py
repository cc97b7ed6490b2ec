"""The verbs over Redis. Text and JSON only; every change is one script."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters._rules import (
    amounts_of,
    checked_amount,
    checked_claims,
    highest_before,
    meter_sums,
)
from kuploy_saas_kit.adapters.awaited import CountingInThreads
from kuploy_saas_kit.adapters.redis import scripts
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved
from kuploy_saas_kit.plans.ports import (
    Announced,
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

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class RedisStore:
    """Implements the usage, holding, meter, announcement, license, identity and lease ports in Redis (6.2 or newer).

    `RedisStore.from_url("redis://localhost/0")`. What Redis loses is lost: counters are seeded again from the host's
    own rows, the license comes with the next sync, holdings and meters are gone. Expiry and leases go by the server's
    clock, or by *clock*. Whatever Redis does is `StorageError`.
    """

    def __init__(self, client: Any, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> None:
        self._client = client
        self._prefix = f"{{{prefix}}}"
        self._clock = clock

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> RedisStore:
        """A store over a Redis URL; several kits on one server need different prefixes."""
        client = _package().Redis.from_url(url, decode_responses=True, socket_timeout=5, socket_connect_timeout=3)
        return cls(client, prefix=prefix, clock=clock)

    def migrate(self) -> None:
        """Nothing to make; here so that it stands in for the other stores."""

    def erase(self) -> None:
        """Delete everything that is kept under this prefix, such as after a test."""
        pattern = re.sub(r"([][*?\\^])", r"\\\1", self._prefix)
        with self._errors():
            for key in self._client.scan_iter(f"{pattern}:*"):
                self._client.delete(key)

    def async_store(self) -> CountingInThreads:
        """The counting verbs for code that awaits, over the same connections."""
        return CountingInThreads(self)

    def close(self) -> None:
        """Let go of all connections; the next verb opens new ones."""
        self._client.close()

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        ordered = checked_claims(claims)
        asked = {
            "claims": [[c.scope, c.limit, str(c.amount), _text(highest_before(c))] for c in ordered],
            "amounts": json.dumps(_entries(amounts_of(ordered))),
            "place": _place(claims[0].scope, key) if key is not None else "",
            "ttl": str(ttl // _MICROSECOND) if ttl is not None else "",
        }
        outcome, blocking, values = self._run(scripts.TAKE, asked)
        used = {claim.counter: int(value) for claim, value in zip(ordered, values, strict=True) if value is not None}
        missing = tuple(claim.counter for claim in ordered if claim.counter not in used)
        return Taken(
            TakeOutcome(outcome),
            used,
            ordered[blocking - 1] if blocking else None,
            missing if outcome == TakeOutcome.UNSEEDED else (),
        )

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        for (_, limit), amount in amounts.items():
            checked_amount(amount, limit)
        return _given_back(self._run(scripts.GIVE_BACK, {"amounts": _entries(amounts)}))

    def usage_of(self, scope: str) -> Mapping[str, int]:
        with self._errors():
            values = self._client.hgetall(f"{self._prefix}:used:{scope}")
        return {limit: int(value) for limit, value in values.items()}

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        scope, limit = counter
        self._run(scripts.SEED, {"scope": scope, "limit": limit, "value": str(checked_amount(value, limit))})

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        asked = {"scope": org_id, "limit": limit, "value": str(checked_amount(value, limit))}
        previous, instance = self._run(scripts.PUT, asked)
        return UsagePut(int(previous), int(instance))

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        return HoldingSettled(HoldingState(self._run(scripts.SETTLE, {"place": _place(scope, key)})))

    def release_holding(self, scope: str, key: str) -> GivenBack:
        return _given_back(self._run(scripts.RELEASE, {"place": _place(scope, key)}))

    def sweep_holdings(self) -> GivenBack:
        return _given_back(self._run(scripts.SWEEP, {}))

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        sums = meter_sums(entries)
        listed = [[_meter(*place), str(amount)] for place, amount in sums.items()]
        is_new, totals = self._run(scripts.METER, {"event": event_key, "entries": listed})
        return MeterRecorded(bool(is_new), {place: int(total) for place, total in zip(sums, totals, strict=True)})

    def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        with self._errors():
            return int(self._client.hget(f"{self._prefix}:meters", _meter(scope, limit, period)) or 0)

    def announce_once(self, name: str) -> Announced:
        with self._errors():
            return Announced(bool(self._client.sadd(f"{self._prefix}:announced", name)))

    def load_license(self) -> LicenseRecord | None:
        with self._errors():
            stored = self._client.hgetall(f"{self._prefix}:license")
        try:
            return _license(stored) if stored else None
        except (KeyError, ValueError):
            return None  # bytes that cannot be read are an absent license

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        asked = {"record": _license_fields(record), "instead_of": _identity(instead_of) if instead_of else ""}
        return LicenseSaved(saved=bool(self._run(scripts.SAVE_LICENSE, asked)))

    def save_mark(self, mark: datetime) -> None:
        self._run(scripts.SAVE_MARK, {"mark": _micros(mark)})

    def ensure_instance_id(self, candidate: str) -> str:
        key = f"{self._prefix}:instance_id"
        with self._errors():
            self._client.set(key, candidate, nx=True)
            instance_id: str = self._client.get(key)
            return instance_id

    def load_license_key(self) -> str | None:
        return self._text_at("license_key")

    def save_license_key(self, license_key: str | None) -> None:
        self._keep("license_key", license_key)

    def load_claim(self) -> ClaimRecord | None:
        stored = self._text_at("claim")
        return _claim(json.loads(stored)) if stored is not None else None

    def save_claim(self, claim: ClaimRecord | None) -> None:
        self._keep("claim", json.dumps(_claim_fields(claim)) if claim is not None else None)

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        asked = {"name": name, "holder": holder, "ttl": str(ttl // _MICROSECOND)}
        held, until = self._run(scripts.TAKE_LEASE, asked)
        return Lease(held=bool(held), until=_instant(until))

    def drop_lease(self, name: str, holder: str) -> None:
        self._run(scripts.DROP_LEASE, {"name": name, "holder": holder})

    def _text_at(self, name: str) -> str | None:
        with self._errors():
            stored: str | None = self._client.get(f"{self._prefix}:{name}")
            return stored

    def _keep(self, name: str, value: str | None) -> None:
        with self._errors():
            if value is None:
                self._client.delete(f"{self._prefix}:{name}")
            else:
                self._client.set(f"{self._prefix}:{name}", value)

    def _run(self, script: str, asked: Mapping[str, object]) -> Any:
        now = _micros(self._clock.now()) if self._clock is not None else ""
        with self._errors():
            run: Callable[..., Any] = self._client.register_script(script)
            return run(keys=[self._prefix], args=[now, json.dumps(asked)])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _package().exceptions.RedisError as error:
            raise StorageError(
                f"Redis could not do what was asked ({type(error).__name__}); nothing is half-written: try again"
            ) from error


def _package() -> Any:
    try:
        return import_module("redis")
    except ModuleNotFoundError as error:
        raise ConfigurationError("RedisStore needs an extra: pip install 'kuploy-saas-kit[redis]'") from error


def _text(room: int) -> str:
    return str(room) if room >= 0 else ""


def _place(scope: str, key: str) -> str:
    return json.dumps([scope, key])


def _meter(scope: str, limit: str, period: datetime) -> str:
    return json.dumps([scope, limit, _micros(period)])


def _entries(amounts: Mapping[CounterKey, int]) -> list[list[str]]:
    return [[scope, limit, str(amount)] for (scope, limit), amount in sorted(amounts.items())]


def _given_back(entries: Sequence[tuple[str, str, str, str | None, str | None]]) -> GivenBack:
    used: dict[CounterKey, int] = {}
    returned: dict[CounterKey, int] = {}
    drift: dict[CounterKey, int] = {}
    for scope, limit, amount, back, after in entries:
        counter = scope, limit
        if after is not None:
            used[counter] = int(after)
        if int(back or 0):
            returned[counter] = returned.get(counter, 0) + int(back or 0)
        if int(amount) > int(back or 0):
            drift[counter] = drift.get(counter, 0) + int(amount) - int(back or 0)
    return GivenBack(used, returned, drift)


def _micros(instant: datetime) -> str:
    return str((instant - _EPOCH) // _MICROSECOND)


def _instant(micros: str) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _license_fields(record: LicenseRecord) -> dict[str, str]:
    return {
        "body": b64encode(record.body).decode(),
        "trust": record.trust,
        "epoch": str(record.epoch),
        "revision": str(record.revision),
        "received_at": _micros(record.received_at),
        "mark": _micros(record.mark),
        "identity": _identity(record),
    }


def _identity(record: LicenseRecord) -> str:
    """All that tells two records apart; the mark moves while they stay what they are."""
    parts = [record.trust, record.epoch, record.revision, _micros(record.received_at)]
    return json.dumps([*parts, b64encode(record.body).decode()])


def _license(stored: Mapping[str, str]) -> LicenseRecord:
    return LicenseRecord(
        body=b64decode(stored["body"], validate=True),
        trust=stored["trust"],
        epoch=int(stored["epoch"]),
        revision=int(stored["revision"]),
        received_at=_instant(stored["received_at"]),
        mark=_instant(stored["mark"]),
    )


def _claim_fields(claim: ClaimRecord) -> dict[str, object]:
    return {
        "code": claim.code,
        "secret": claim.secret,
        "expires_at": _micros(claim.expires_at),
        "interval": claim.interval // _MICROSECOND,
        "license_key": claim.license_key,
        "tenant_name": claim.tenant_name,
    }


def _claim(stored: Mapping[str, Any]) -> ClaimRecord:
    return ClaimRecord(
        code=stored["code"],
        secret=stored["secret"],
        expires_at=_instant(stored["expires_at"]),
        interval=stored["interval"] * _MICROSECOND,
        license_key=stored["license_key"],
        tenant_name=stored["tenant_name"],
    )
