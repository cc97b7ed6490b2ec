"""What a store of the host raises, as the kit's own error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kuploy_saas_kit.errors import KitError, StorageError


@contextmanager
def storage_errors() -> Iterator[None]:
    """Whatever a store raises within reaches the caller as `StorageError`, with its cause."""
    try:
        yield
    except KitError:
        raise
    except Exception as error:
        raise StorageError(f"the store failed ({type(error).__name__}); nothing was half-written") from error
