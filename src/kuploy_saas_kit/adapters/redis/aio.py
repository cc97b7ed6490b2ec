"""The store for code that awaits: the same commands over redis.asyncio."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters.awaited import AwaitedCounting
from kuploy_saas_kit.adapters.redis.asking import Asked, Asking
from kuploy_saas_kit.adapters.redis.client import (
    async_client_for,
    check_client,
    errors,
    left_to_the_parent,
    send_once_async,
    turns_for,
    unanswered,
)
from kuploy_saas_kit.license.forks import mend_after_fork

T = TypeVar("T")


class AsyncRedisStore(AwaitedCounting):
    """Implements the async ports of counting in Redis, on the keys of `RedisStore`.

    `AsyncRedisStore.from_url` takes the same URLs, and a client of `redis.asyncio` is made as `RedisStore` says.
    Close it in the event loop that used it.
    """

    def __init__(self, client: Any, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> None:
        check_client(client, is_awaited=True)
        self._client = client
        self._asking = Asking(prefix, clock)
        self._turns = turns_for(client)
        self._left: list[object] = []
        mend_after_fork(self)

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "kuploy-saas-kit", clock: Clock | None = None) -> AsyncRedisStore:
        """A store over a Redis URL."""
        return cls(async_client_for(url), prefix=prefix, clock=clock)

    async def publish_change(self, org_id: str | None) -> None:
        """As `RedisStore.publish_change`, for what a request awaits."""
        await self._run(lambda asking: asking.publish_change(org_id, epoch=secrets.token_hex(8)))

    async def close(self) -> None:
        """Let go of all connections; the next verb opens new ones."""
        await self._client.aclose()
        self._turns = turns_for(self._client)  # those that were waited for belong to one event loop

    def after_fork(self) -> None:
        """Called in the child: what is open belongs to the parent, and so does who waits."""
        self._left.append(left_to_the_parent(self._client))
        self._turns = turns_for(self._client)

    async def _run(self, verb: Callable[[Any], Any]) -> Any:
        asked: Asked[Any] = verb(self._asking)
        try:
            async with self._turns:
                answer = asked.read(await self._sent(asked))
                while isinstance(answer, Asked):
                    answer = answer.read(await self._sent(answer))
        except (errors().RedisError, ValueError) as error:
            raise unanswered(error, asked.keys) from error
        return answer

    async def _sent(self, asked: Asked[Any]) -> Any:
        try:
            return await send_once_async(self._client, asked.command)
        except errors().NoScriptError:
            return await send_once_async(self._client, asked.with_text)
