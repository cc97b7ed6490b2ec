"""The SQL store on Django's connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS
from sqlalchemy import Connection

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.adapters.awaited import AwaitedCounting, AwaitedPlans
from kuploy_saas_kit.adapters.django.connection import (
    django_errors,
    how_to_migrate,
    in_hosts_transaction,
    statements_on,
    wrapper_of,
    writing_on,
)
from kuploy_saas_kit.adapters.django.layout import layout_of_settings
from kuploy_saas_kit.adapters.sql.connection import Ask, asked_through, lock_out_writers
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION, SqlLayout, tables_of
from kuploy_saas_kit.adapters.sql.migration import make_tables, require_tables
from kuploy_saas_kit.adapters.sql.store import AllVerbs

T = TypeVar("T")


class DjangoStore(AllVerbs):
    """Implements every port of the kit on Django's own connection to the database *using*: SQLite or PostgreSQL.

    Inside `transaction.atomic` a verb is part of it, and a savepoint: what the block rolls back never was. Counters
    that it changes stay locked until the block ends, so take last. Outside one, each verb is a transaction of its own.
    Whatever the database does is `StorageError`. The tables are where *layout* says, else `KUPLOY_SAAS_LAYOUT` in the
    settings. Expiry and leases go by the database server's clock, or by *clock*.
    """

    def __init__(
        self, using: str = DEFAULT_DB_ALIAS, *, layout: SqlLayout | None = None, clock: Clock | None = None
    ) -> None:
        self._using = using
        self._tables = tables_of(layout or layout_of_settings())
        self._clock = clock
        own = "call migrate() on a DjangoStore with this layout"
        self._how_to_migrate = how_to_migrate(using) if layout is None else own

    def __repr__(self) -> str:
        return f"DjangoStore({self._using!r})"

    def migrate(self, revision: str = SCHEMA_VERSION) -> None:
        """Make the tables that are missing; `manage.py migrate` does the same, and either finds what the other did."""
        wrapper = wrapper_of(self._using)
        with django_errors(wrapper, self._how_to_migrate), writing_on(wrapper) as connection:
            make_tables(connection, self._tables, revision)

    def require_tables(self) -> None:
        """`StorageError` that says what to do unless the tables are as this version needs them; reads only."""
        with self._reading() as connection:
            require_tables(connection, self._tables)

    @cached_property
    def _awaited(self) -> AsyncDjangoStore:
        return AsyncDjangoStore(self)

    def async_store(self) -> AsyncDjangoStore:
        """The same store for async views: each verb runs in the thread in which Django runs the view's ORM queries."""
        return self._awaited

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        wrapper = wrapper_of(self._using)
        with django_errors(wrapper, self._how_to_migrate), statements_on(wrapper) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        wrapper = wrapper_of(self._using)
        with django_errors(wrapper, self._how_to_migrate), writing_on(wrapper) as connection:
            lock_out_writers(connection, self._tables)
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[Ask]:
        ours = not in_hosts_transaction(wrapper_of(self._using))
        with self._reading() if ours else self._writing() as connection:
            yield asked_through(connection)


class AsyncDjangoStore(AwaitedPlans, AwaitedCounting):
    """Implements the async ports on a `DjangoStore`."""

    def __init__(self, store: DjangoStore) -> None:
        self._store = store

    async def _run(self, verb: Callable[[DjangoStore], T]) -> T:
        return await sync_to_async(verb, thread_sensitive=True)(self._store)

    async def close(self) -> None:
        """Nothing to let go of: the connections are Django's."""
