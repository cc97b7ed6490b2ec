"""Where the demo's instance keeps what it knows. Whatever is in a named database already is left alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters import RedisStore, SqlLayout, SqlStore
from kuploy_saas_kit.adapters.sql.connection import database_name
from kuploy_saas_kit.adapters.sql.failures import storage_errors
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.ports import ClientStore
from kuploy_saas_kit.plans.ports import CountingStore
from kuploy_saas_kit.testing.servers import postgres_schema

DATABASE: Final = "kit.db"
_REDIS: Final = ("redis://", "rediss://", "unix://")
_POSTGRES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")


@dataclass(frozen=True, slots=True)
class Stores:
    """The opened stores of one process of the instance."""

    main: SqlStore
    license: ClientStore
    usage: CountingStore


@dataclass(frozen=True, slots=True)
class Place:
    """What the stores are opened over. *name* is where the license is kept, *redis* what is apart from *database*."""

    name: str
    database: str
    redis: str | None = None
    prefix: str = ""

    def open(self, clock: Clock, exits: ExitStack) -> Stores:
        """The stores as a new process opens them, closed with *exits*."""
        main = exits.enter_context(closing(SqlStore.from_url(self.database, clock=clock)))
        main.migrate()
        if self.redis is None:
            return Stores(main, main, main)
        beside = exits.enter_context(closing(RedisStore.from_url(self.redis, prefix=self.prefix, clock=clock)))
        return Stores(main, beside, beside)


@contextmanager
def place_for(url: str | None, folder: Path) -> Iterator[Place]:
    """A place in *folder*, or one of the demo's own at *url*, which is gone when the block ends."""
    file = f"sqlite:///{folder / DATABASE}"
    name = f"kuploy-demo-{secrets.token_hex(4)}"
    if url is None:
        yield Place("SQLite", file)
    elif url.startswith(_POSTGRES):
        with _own_schema(url, name) as schema:
            yield Place("PostgreSQL", schema)
    elif url.startswith(_REDIS):
        with closing(RedisStore.from_url(url, prefix=name)) as store:
            store.erase()  # nothing is there: this tells early whether Redis is
            try:
                yield Place("Redis", file, url, name)
            finally:
                store.erase()
    else:
        raise ConfigurationError(
            "--store takes postgresql:// or redis://; --keep DIR names a place for the SQLite file"
        )


@contextmanager
def _own_schema(url: str, name: str) -> Iterator[str]:
    SqlStore.from_url(url).close()  # an URL or a driver that will not do is explained there
    address = make_url(url.replace("postgres://", "postgresql://", 1))
    with ExitStack() as exits:
        with storage_errors(address.get_dialect()(), database_name(address), migrate=SqlLayout().how_to_migrate):
            own = exits.enter_context(postgres_schema(address.render_as_string(hide_password=False), name))
        yield own


def folder_to_keep(name: str, store: str | None = None) -> str:
    """The folder, made if need be; one that holds a database already is refused rather than played upon."""
    if store is not None and store.startswith(_POSTGRES):
        raise ConfigurationError("--keep keeps an SQLite file, and there is none with --store postgresql://")
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the folder {name}: {error.strerror}") from error
    if (folder / DATABASE).exists():
        raise ConfigurationError(f"{folder / DATABASE} is there already: remove it, or name another folder")
    return name
