"""The SQL store on Django's own connections, and a Django app whose migrations make its tables.

Name this package in `INSTALLED_APPS`, run `manage.py migrate`, and use `DjangoStore()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuploy_saas_kit.adapters.django.store import AsyncDjangoStore, DjangoStore

__all__ = ["AsyncDjangoStore", "DjangoStore"]


def __getattr__(name: str) -> object:
    # Django imports this package for every command; SQLAlchemy takes half a second, and few commands need it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kuploy_saas_kit.adapters.django import store  # noqa: PLC0415 - see above

    return getattr(store, name)
