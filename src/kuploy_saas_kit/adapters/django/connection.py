"""SQLAlchemy's statements on a connection of Django's, which begins, commits and closes as Django says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DjangoDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError, atomic
from django.utils.connection import ConnectionDoesNotExist
from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from kuploy_saas_kit.adapters.sql.connection import driver_needed
from kuploy_saas_kit.adapters.sql.failures import storage_errors
from kuploy_saas_kit.errors import ConfigurationError, StorageError

_APP: Final = "kuploy_saas_kit.adapters.django"
_URLS: Final = {"sqlite": "sqlite+pysqlite://", "postgresql": "postgresql+psycopg://"}
_WRAPPER: ContextVar[BaseDatabaseWrapper] = ContextVar("the connection that the pool lends next")


class _Lent:
    """A driver's connection, as SQLAlchemy sees it. What would end a transaction or change it does nothing."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def cursor(self) -> Any:
        """A cursor for one statement."""
        return self._connection.cursor()

    def commit(self) -> None:
        """Django commits."""

    def rollback(self) -> None:
        """Django rolls back."""

    def close(self) -> None:
        """Django closes."""


class _LentSqlite(_Lent):
    def create_function(self, *_: object, **__: object) -> None:
        """Django's own functions of these names stay."""


class _LentPostgres(_Lent):
    def cursor(self) -> Any:
        """A cursor of the driver's own kind, whose values are those of the driver and not of Django's fields."""
        from psycopg import Cursor  # noqa: PLC0415 - hosts on SQLite lack it
        from psycopg.rows import tuple_row  # noqa: PLC0415
        from psycopg.types.datetime import TimestamptzLoader  # noqa: PLC0415
        from psycopg.types.json import JsonbLoader  # noqa: PLC0415

        cursor = Cursor(self._connection, row_factory=tuple_row)
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        cursor.adapters.register_loader("jsonb", JsonbLoader)
        return cursor

    def add_notice_handler(self, _: object) -> None:
        """SQLAlchemy would add one at each verb."""


def how_to_migrate(using: str) -> str:
    """How the tables of the settings' layout are made in the database *using*."""
    option, argument = ("", "") if using == DEFAULT_DB_ALIAS else (f" --database {using}", repr(using))
    is_app_missing = apps.apps_ready and not apps.is_installed(_APP)
    named = f"name {_APP} in INSTALLED_APPS, and " if is_app_missing else ""
    return (
        f"{named}run `manage.py migrate{option}`; where that finds nothing to do, `DjangoStore({argument}).migrate()`"
    )


def wrapper_of(using: str) -> BaseDatabaseWrapper:
    """This thread's connection of Django's to the database *using*."""
    try:
        wrapper: BaseDatabaseWrapper = connections[using]
    except ConnectionDoesNotExist as error:
        raise ConfigurationError(
            f"there is no database {using!r} in settings.DATABASES, which has {', '.join(connections)}"
        ) from error
    if wrapper.vendor not in _URLS:
        raise ConfigurationError(
            f"Django's database {using!r} is {wrapper.vendor}: the kit's tables need SQLite or PostgreSQL"
        )
    return wrapper


def in_hosts_transaction(wrapper: BaseDatabaseWrapper) -> bool:
    """Whether somebody else than the verb ends the transaction that it runs in."""
    if wrapper.connection is None:
        return not wrapper.settings_dict["AUTOCOMMIT"]
    return wrapper.in_atomic_block or not wrapper.autocommit


@contextmanager
def statements_on(wrapper: BaseDatabaseWrapper) -> Iterator[Connection]:
    """SQLAlchemy on Django's connection, in the transaction that Django has begun, or in none."""
    lent = _WRAPPER.set(wrapper)
    try:
        connection = _engine(wrapper.vendor).connect()
    finally:
        _WRAPPER.reset(lent)
    with connection, connection.begin():
        yield connection


@contextmanager
def writing_on(wrapper: BaseDatabaseWrapper) -> Iterator[Connection]:
    """SQLAlchemy on Django's connection, in a transaction; in a savepoint where the host ends the transaction."""
    if wrapper.vendor == "sqlite" and in_hosts_transaction(wrapper):
        _begin(wrapper)
    with atomic(wrapper.alias), statements_on(wrapper) as connection:
        yield connection


def _begin(wrapper: BaseDatabaseWrapper) -> None:
    """Where autocommit is off SQLite's driver begins before rows change; a savepoint before that would commit them."""
    with wrapper.cursor() as cursor:
        if not wrapper.connection.in_transaction:
            cursor.execute("BEGIN IMMEDIATE")


@cache
def _engine(vendor: str) -> Engine:
    """One for all connections to databases of one kind, so that each statement is compiled once."""
    url = make_url(_URLS[vendor])
    options = {"use_native_hstore": False} if vendor == "postgresql" else {}
    with driver_needed(url):
        return create_engine(
            url, creator=_lent, poolclass=NullPool, pool_reset_on_return=None, hide_parameters=True, **options
        )


def _lent() -> _Lent:
    wrapper = _WRAPPER.get()
    # As each of Django's cursors does.
    wrapper.close_if_health_check_failed()
    wrapper.ensure_connection()
    wrapper.validate_thread_sharing()
    if wrapper.vendor == "sqlite":
        return _LentSqlite(wrapper.connection)
    return _LentPostgres(wrapper.connection)


@contextmanager
def django_errors(wrapper: BaseDatabaseWrapper, migrate: str) -> Iterator[None]:
    """Turn whatever Django, SQLAlchemy or a driver raises into `StorageError`; a connection that is lost is let go.

    An event loop is no outage: that it was called there is `ConfigurationError`.

    *migrate* says how the tables are made.
    """
    name, dialect = f"Django's database {wrapper.alias!r}", _engine(wrapper.vendor).dialect
    try:
        wrapper.validate_no_broken_transaction()
    except TransactionManagementError as error:
        raise StorageError(
            f"an error before this one broke the atomic block on {name}, which can only be rolled back"
        ) from error
    try:
        with storage_errors(dialect, name, migrate=migrate), _driver_errors(wrapper):
            yield
    except SynchronousOnlyOperation as error:
        raise ConfigurationError(
            "Django's connections do not work in an event loop: await kit.async_gate instead of kit.gate, "
            "store.async_store() instead of the store, or call sync code through sync_to_async"
        ) from error
    except StorageError:
        _let_go_if_lost(wrapper)
        raise


@contextmanager
def _driver_errors(wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    """What Django made of a driver's error, as SQLAlchemy would have it."""
    try:
        yield
    except DjangoDatabaseError as error:
        cause: Any = error.__cause__ or error
        is_lost = _engine(wrapper.vendor).dialect.is_disconnect(cause, wrapper.connection, None)
        raise DBAPIError(None, None, cause, connection_invalidated=is_lost) from error


def _let_go_if_lost(wrapper: BaseDatabaseWrapper) -> None:
    """Do at once what Django does at the end of a request; in a transaction of the host's leave it to that end."""
    wrapper.errors_occurred = True
    if wrapper.connection is None or in_hosts_transaction(wrapper):
        return
    if not wrapper.is_usable():
        wrapper.close()
