"""A Django host for tests: settings once for each process, a database of its own for each test."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from sqlalchemy import make_url

from kuploy_saas_kit.adapters import DjangoStore

_numbers = count()


def set_up() -> None:
    """Make this process a Django host, if it is none yet."""
    if not settings.configured:
        settings.configure(INSTALLED_APPS=["kuploy_saas_kit.adapters.django"], LOGGING_CONFIG=None)
        django.setup()


@contextmanager
def database(url: str, **changes: Any) -> Iterator[str]:
    """A new alias for the database at *url*. At the end the connections of all threads to it are closed."""
    set_up()
    alias = f"test{next(_numbers)}"
    opened: list[BaseDatabaseWrapper] = []

    def made(connection: BaseDatabaseWrapper, **_: object) -> None:
        if connection.alias == alias:
            opened.append(connection)

    connection_created.connect(made)
    connections.settings[alias] = configured({**settings_of(url), **changes})
    try:
        yield alias
    finally:
        connection_created.disconnect(made)
        for connection in opened:
            connection.inc_thread_sharing()
            connection.close()
        del connections.settings[alias]


def configured(chosen: dict[str, Any]) -> dict[str, Any]:
    """The settings of a database, with Django's defaults for those that are not *chosen*."""
    found: dict[str, Any] = connections.configure_settings({"default": chosen})["default"]
    return found


def settings_of(url: str) -> dict[str, Any]:
    """What Django calls *url*."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        options = {"timeout": 30, "init_command": "PRAGMA synchronous = OFF"}  # no test cuts the power
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(str(parsed.database)), "OPTIONS": options}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parsed.database,
        "USER": parsed.username,
        "HOST": parsed.query["host"],
        "OPTIONS": {"options": parsed.query.get("options", "")},
    }


def reopened(url: str) -> DjangoStore:
    """The store once more, in whatever process."""
    set_up()
    connections.settings["again"] = configured(settings_of(url))
    return DjangoStore("again")
