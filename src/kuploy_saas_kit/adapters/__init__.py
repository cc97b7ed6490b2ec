"""Stores: what the ports of the kit are kept in.

`MemoryStore`, `SqlStore` and `DjangoStore` implement every port, `AsyncSqlStore` and `AsyncDjangoStore` the async ones,
`RedisStore` those of counting and of the license and the change feed, `AsyncRedisStore` the async ones of counting,
`FileLicenseStore` those of the license. `migrate_on` makes the tables of the SQL stores in a transaction of the host's.
Each is loaded on first use, so that a host installs only the extras of the stores that it has.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from kuploy_saas_kit.errors import ConfigurationError

if TYPE_CHECKING:
    from kuploy_saas_kit.adapters.django import AsyncDjangoStore, DjangoStore
    from kuploy_saas_kit.adapters.file import FileLicenseStore
    from kuploy_saas_kit.adapters.memory import MemoryStore
    from kuploy_saas_kit.adapters.redis import AsyncRedisStore, RedisStore
    from kuploy_saas_kit.adapters.sql import AsyncSqlStore, SqlLayout, SqlStore, migrate_on

__all__ = [
    "AsyncDjangoStore",
    "AsyncRedisStore",
    "AsyncSqlStore",
    "DjangoStore",
    "FileLicenseStore",
    "MemoryStore",
    "RedisStore",
    "SqlLayout",
    "SqlStore",
    "migrate_on",
]

_MODULES: Final = {
    "AsyncDjangoStore": "kuploy_saas_kit.adapters.django",
    "AsyncRedisStore": "kuploy_saas_kit.adapters.redis",
    "AsyncSqlStore": "kuploy_saas_kit.adapters.sql",
    "DjangoStore": "kuploy_saas_kit.adapters.django",
    "FileLicenseStore": "kuploy_saas_kit.adapters.file",
    "MemoryStore": "kuploy_saas_kit.adapters.memory",
    "RedisStore": "kuploy_saas_kit.adapters.redis",
    "SqlLayout": "kuploy_saas_kit.adapters.sql",
    "SqlStore": "kuploy_saas_kit.adapters.sql",
    "migrate_on": "kuploy_saas_kit.adapters.sql",
}
_EXTRAS: Final = {"sqlalchemy": "sql", "greenlet": "sql", "alembic": "sql", "django": "django", "asgiref": "django"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ConfigurationError(f"{name} needs an extra: pip install 'kuploy-saas-kit[{extra}]'") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
