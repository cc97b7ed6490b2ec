"""A store in Redis for what many processes count and cache together."""

from __future__ import annotations

from kuploy_saas_kit.adapters.redis.aio import AsyncRedisStore
from kuploy_saas_kit.adapters.redis.store import RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]
