"""Stores in SQLite and PostgreSQL, on SQLAlchemy Core."""

from __future__ import annotations

from importlib import import_module

from kuploy_saas_kit.errors import ConfigurationError

try:
    import_module("sqlalchemy")
    import_module("greenlet")  # SQLAlchemy alone does not bring it
except ModuleNotFoundError as error:
    raise ConfigurationError("The SQL stores need an extra: pip install 'kuploy-saas-kit[sql]'") from error

from kuploy_saas_kit.adapters.sql.aio import AsyncSqlStore
from kuploy_saas_kit.adapters.sql.layout import SqlLayout
from kuploy_saas_kit.adapters.sql.migration import migrate_on
from kuploy_saas_kit.adapters.sql.store import SqlStore

__all__ = ["AsyncSqlStore", "SqlLayout", "SqlStore", "migrate_on"]
