"""From options and environment to the stores and the kit that a command works on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kuploy_saas_kit.adapters import FileLicenseStore, RedisStore, SqlLayout, SqlStore
from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.kit import SaasKit
from kuploy_saas_kit.license.ports import ClientStore
from kuploy_saas_kit.plans.ports import CountingStore

DEFAULT_STORE: Final = "sqlite:///kit.db"
_FILE: Final = "file:"
_REDIS: Final = ("redis://", "rediss://", "unix://")


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """Which stores a command works on. *license* and *usage* are None where they are in the main one.

    *layout* is where the main one's tables are.
    """

    main: str = DEFAULT_STORE
    license: str | None = None
    usage: str | None = None
    layout: SqlLayout = field(default_factory=SqlLayout)

    @classmethod
    def of(cls, parsed: argparse.Namespace, environ: Mapping[str, str]) -> StoreUrls:
        """The options, or the variables that stand in for them."""
        return cls(
            main=parsed.store or environ.get("KUPLOY_STORE") or DEFAULT_STORE,
            license=parsed.license_store or environ.get("KUPLOY_LICENSE_STORE") or None,
            usage=parsed.usage_store or environ.get("KUPLOY_USAGE_STORE") or None,
            layout=_layout(parsed, environ),
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files among them."""
        found = (_sqlite_file(self.main), _license_file(self.license))
        return tuple(file for file in found if file is not None)


@dataclass(frozen=True, slots=True)
class Stores:
    """The opened stores."""

    urls: StoreUrls
    main: SqlStore
    license: ClientStore
    usage: CountingStore


@contextmanager
def open_stores(parsed: argparse.Namespace, *, make_file: bool = False) -> Iterator[Stores]:
    """The stores, closed at the end. An SQLite file that is not there is refused, unless *make_file*."""
    urls = StoreUrls.of(parsed, os.environ)
    file = _sqlite_file(urls.main)
    if file is not None and not make_file and not file.exists():
        raise ConfigurationError(
            f"there is no SQLite file {file}: name the host's with --store or KUPLOY_STORE,"
            " or make it with `kuploy-saas-kit store migrate`"
        )
    with ExitStack() as exits:
        main = exits.enter_context(closing(SqlStore.from_url(urls.main, layout=urls.layout)))
        license_store = main if urls.license is None else _license_store(urls.license, exits)
        usage_store = main if urls.usage is None else _redis("--usage-store", urls.usage, exits)
        yield Stores(urls, main, license_store, usage_store)


def make_kit(stores: Stores, *, namespace: str | None = None) -> SaasKit:
    """The kit over *stores*, configured by the environment."""
    return SaasKit.from_env(
        stores.main, license_store=stores.license, usage_store=stores.usage, namespace=namespace or None
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """What a command works on."""

    kit: SaasKit
    stores: Stores


@contextmanager
def open_kit(parsed: argparse.Namespace) -> Iterator[Opened]:
    """The kit with its stored license loaded; nothing runs in the background and the network is not touched."""
    with open_stores(parsed) as stores:
        namespace = getattr(parsed, "namespace", None) or os.environ.get("KUPLOY_NAMESPACE")
        kit = make_kit(stores, namespace=namespace)
        try:
            stores.license.load_license_key()  # a store that fails is an error here, and no missing license
            kit.license.load()
            yield Opened(kit, stores)
        finally:
            kit.stop()


def _layout(parsed: argparse.Namespace, environ: Mapping[str, str]) -> SqlLayout:
    chosen = {
        "prefix": parsed.prefix or environ.get("KUPLOY_PREFIX"),
        "schema": parsed.schema or environ.get("KUPLOY_SCHEMA"),
        "plans_table": parsed.plans_table or environ.get("KUPLOY_PLANS_TABLE"),
    }
    return SqlLayout(**{name: value for name, value in chosen.items() if value})


def _license_store(url: str, exits: ExitStack) -> ClientStore:
    file = _license_file(url)
    return _redis("--license-store", url, exits) if file is None else FileLicenseStore(file)


def _redis(option: str, url: str, exits: ExitStack) -> RedisStore:
    if not url.startswith(_REDIS):
        takes = "redis:// or file:" if option == "--license-store" else "redis://"
        raise ConfigurationError(f"{option} is an address that begins with {takes}")
    return exits.enter_context(closing(RedisStore.from_url(url)))


def _license_file(url: str | None) -> Path | None:
    return Path(url.removeprefix(_FILE)) if url is not None and url.startswith(_FILE) else None


def _sqlite_file(url: str) -> Path | None:
    scheme, _, rest = url.partition(":///")
    name = rest.partition("?")[0]
    return Path(name) if scheme.partition("+")[0] == "sqlite" and name and name != ":memory:" else None
