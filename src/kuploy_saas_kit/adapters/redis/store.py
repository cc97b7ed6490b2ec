"""The store for threads: every verb is a single command or script, sent once; only a long sweep takes several."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters.redis.aio import AsyncRedisStore
from kuploy_saas_kit.adapters.redis.asking import Asked, Asking
from kuploy_saas_kit.adapters.redis.client import check_client, client_for, errors, send_once, unanswered
from kuploy_saas_kit.adapters.redis.listening import ChangeListener
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved
from kuploy_saas_kit.plans.ports import (
    Announced,
    Changes,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    MeterEntry,
    MeterRecorded,
    Taken,
    UsagePut,
)

T = TypeVar("T")


class RedisStore:
    """Implements the ports of counting, of the license and of the change feed in Redis (6.2 or newer).

    `RedisStore.from_url("redis://localhost/0")`, or over a client of the host's that was made with
    `decode_responses=True`; one of a cluster without retries. Every verb is one command or script: it is done as a
    whole or not at all, and sent once. Where hundreds of holdings expired, they are returned in turns, each as a whole.
    Whatever Redis does is `StorageError`; whether a verb was done is not known where its answer was lost, so ask again
    under the same key.

    What Redis loses is lost: counters are seeded again from the host's own rows, the license comes with the next sync,
    readers of the change feed look at everyone; holdings, meters, and an identity that nobody configured are gone.
    Expiry and leases go by the server's clock, or by *clock*.
    """

    def __init__(self, client: Any, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> None:
        check_client(client, is_awaited=False)
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._url: str | None = None
        self._asking = Asking(prefix, clock)

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> RedisStore:
        """A store over a Redis URL; several kits on one server need different prefixes."""
        store = cls(client_for(url), prefix=prefix, clock=clock)
        store._url = url
        return store

    def migrate(self) -> None:
        """Nothing to make; here so that it stands in for the other stores."""

    def erase(self) -> None:
        """Delete everything that is kept under this prefix, such as after a test."""
        pattern = re.sub(r"([][*?\\^])", r"\\\1", self._asking.prefix)
        try:
            for key in self._client.scan_iter(f"{pattern}:*"):
                self._client.delete(key)
        except errors().RedisError as error:
            raise unanswered(error) from error

    @cached_property
    def _awaited(self) -> AsyncRedisStore:
        if self._url is None:
            raise ConfigurationError("a RedisStore over a client has no async side: make an AsyncRedisStore over yours")
        return AsyncRedisStore.from_url(self._url, prefix=self._prefix, clock=self._clock)

    def async_store(self) -> AsyncRedisStore:
        """The counting verbs for code that awaits: one store with connections of its own, made when first asked for.

        Close it (`await store.async_store().close()`) in the event loop that used it. A store that was made over a
        client has no such twin: make an `AsyncRedisStore` over a client of `redis.asyncio`.
        """
        return self._awaited

    def close(self) -> None:
        """Let go of all connections; the next verb opens new ones."""
        self._client.close()

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        return self._ask(self._asking.take(claims, key=key, ttl=ttl))

    def give_back(self, amounts: Mapping[CounterKey, int]) -> GivenBack:
        return self._ask(self._asking.give_back(amounts))

    def usage_of(self, scope: str) -> Mapping[str, int]:
        return self._ask(self._asking.usage_of(scope))

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        self._ask(self._asking.seed_usage(counter, value))

    def put_usage(self, org_id: str, limit: str, value: int) -> UsagePut:
        return self._ask(self._asking.put_usage(org_id, limit, value))

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        return self._ask(self._asking.settle_holding(scope, key))

    def release_holding(self, scope: str, key: str) -> GivenBack:
        return self._ask(self._asking.release_holding(scope, key))

    def sweep_holdings(self) -> GivenBack:
        return self._ask(self._asking.sweep_holdings())

    def add_meter(self, event_key: str, entries: Sequence[MeterEntry]) -> MeterRecorded:
        return self._ask(self._asking.add_meter(event_key, entries))

    def meter_total(self, scope: str, limit: str, period: datetime) -> int:
        return self._ask(self._asking.meter_total(scope, limit, period))

    def announce_once(self, name: str) -> Announced:
        return self._ask(self._asking.announce_once(name))

    def changes(self, cursor: str | None) -> Changes:
        return self._ask(self._asking.changes(cursor, epoch=secrets.token_hex(8)))

    def publish_change(self, org_id: str | None) -> None:
        """Enter a change of *org_id*, or with None of everyone, in the change feed.

        For whoever keeps standings or plans in tables of their own: call it after the commit, also where the write
        turned out to be done already. A change that was not entered, because Redis was away, is seen within ten
        minutes.
        """
        self._ask(self._asking.publish_change(org_id, epoch=secrets.token_hex(8)))

    def watch_changes(self, wake: Callable[[], None]) -> ChangeListener:
        """Call *wake*, in a thread of its own, whenever something entered the feed, until the returned one is stopped.

        Whoever polls `changes` then sees it at once. While Redis is away nothing is heard, and nothing raised.
        """
        listener = ChangeListener(self._client, self._asking.channel, wake)
        listener.start()
        return listener

    def load_license(self) -> LicenseRecord | None:
        return self._ask(self._asking.load_license())

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        return self._ask(self._asking.save_license(record, instead_of=instead_of))

    def save_mark(self, mark: datetime) -> None:
        self._ask(self._asking.save_mark(mark))

    def ensure_instance_id(self, candidate: str) -> str:
        return self._ask(self._asking.ensure_instance_id(candidate))

    def load_license_key(self) -> str | None:
        return self._ask(self._asking.load_license_key())

    def save_license_key(self, license_key: str | None) -> None:
        self._ask(self._asking.save_license_key(license_key))

    def load_claim(self) -> ClaimRecord | None:
        return self._ask(self._asking.load_claim())

    def save_claim(self, claim: ClaimRecord | None) -> None:
        self._ask(self._asking.save_claim(claim))

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        return self._ask(self._asking.take_lease(name, holder, ttl))

    def drop_lease(self, name: str, holder: str) -> None:
        self._ask(self._asking.drop_lease(name, holder))

    def _ask(self, asked: Asked[T]) -> T:
        try:
            answer = asked.read(self._sent(asked))
            while isinstance(answer, Asked):
                answer = answer.read(self._sent(answer))
        except (errors().RedisError, ValueError) as error:
            raise unanswered(error, asked.keys) from error
        return answer

    def _sent(self, asked: Asked[T]) -> Any:
        try:
            return send_once(self._client, asked.command)
        except errors().NoScriptError:
            return send_once(self._client, asked.with_text)
