"""What a kit sees to before anything else: that its stores are ready, and that there are plans to begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from kuploy_saas_kit.errors import storage_errors


@runtime_checkable
class TableStore(Protocol):
    """A store that can tell whether its tables are as it needs them."""

    def require_tables(self) -> None:
        """`StorageError` that says what to do unless they are."""


def make_embedded_tables(stores: Iterable[Any]) -> None:
    """Make the tables of stores that are files of this host's own."""
    for store in stores:
        if getattr(store, "is_embedded", False):
            store.migrate()


def require_tables(stores: Iterable[object]) -> None:
    """`StorageError` where a server's tables were not migrated."""
    for store in stores:
        if isinstance(store, TableStore):
            with storage_errors("look at the tables"):
                store.require_tables()
