"""What a kit needs of its stores, and what is said of one that lacks it."""

from __future__ import annotations

import inspect
import os
from typing import Any, Protocol

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.ports import ClientStore
from kuploy_saas_kit.plans.ports import ChangeFeed, CountingStore, PlanStore, StandingStore
from kuploy_saas_kit.stripe_provision.ports import BillingStore


class KitStore(PlanStore, StandingStore, ChangeFeed, Protocol):
    """What a `SaasKit` needs of its main store.

    It is a `ClientStore` and a `CountingStore` too unless `license_store` and `usage_store` are, and a `BillingStore`
    where plans are sold.
    """


def main_part(store: KitStore) -> KitStore:
    """*store*, which keeps what no other store can bring."""
    _require(
        "store", store, KitStore, "the main store needs them: SqlStore, DjangoStore and MemoryStore have all verbs"
    )
    return store


def license_part(store: KitStore, license_store: ClientStore | None) -> ClientStore:
    """Whichever keeps the license."""
    part: Any = store if license_store is None else license_store
    _require(
        "license_store", part, ClientStore, "license_store= takes a store that has them, such as a FileLicenseStore"
    )
    found: ClientStore = part
    return found


def usage_part(store: KitStore, usage_store: CountingStore | None) -> CountingStore:
    """Whichever counts."""
    part: Any = store if usage_store is None else usage_store
    _require("usage_store", part, CountingStore, "usage_store= takes a store that has them, such as a RedisStore")
    found: CountingStore = part
    return found


def billing_part(store: KitStore) -> BillingStore:
    """*store*, as far as plans are sold."""
    part: Any = store
    _require("store", part, BillingStore, "the main store needs them where plans are sold: with stripe=None none are")
    found: BillingStore = part
    return found


def async_part(store: object) -> Any:
    """The async side of *store*."""
    make = getattr(store, "async_store", None)
    if make is None:
        raise ConfigurationError(
            f"{type(store).__name__} has no async side: make an AsyncGate over an async store of your own"
        )
    return make()


def _require(argument: str, store: object, port: type, otherwise: str) -> None:
    if isinstance(store, str | os.PathLike | type):  # not shown: a URL may have a password in it
        raise ConfigurationError(
            f"{argument}= is an address or a class, and no store: make one, such as with SqlStore.from_url or "
            "FileLicenseStore(path)"
        )
    lacking = [verb for verb in _verbs(port) if not _is_verb(getattr(store, verb, None))]
    if lacking:
        raise ConfigurationError(f"{type(store).__name__} lacks {', '.join(lacking)}; {otherwise}")


def _verbs(port: type) -> list[str]:
    own = (vars(base).items() for base in port.__mro__)
    return sorted({name for members in own for name, member in members if _is_verb(member) and name[0] != "_"})


def _is_verb(member: object) -> bool:
    """Whether it can be called as it is; those of an async store have to be awaited."""
    return callable(member) and not inspect.iscoroutinefunction(member)
