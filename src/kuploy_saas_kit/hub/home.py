"""A hub in a folder: its rows in `hub.db`, its signing keys in `keys.json`. What `kuploy-saas-kit hub` works on."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.catalogs import product_schema
from kuploy_saas_kit.hub.records import HubPolicy
from kuploy_saas_kit.hub.service import Hub
from kuploy_saas_kit.hub.signing import KeyRing, SigningKey
from kuploy_saas_kit.hub.store import SqliteHubStore
from kuploy_saas_kit.license.wire import read_plan_file
from kuploy_saas_kit.model.plan import Plan

if TYPE_CHECKING:
    from kuploy_saas_kit._clock import Clock
    from kuploy_saas_kit.hub.payload import Payload

_KEYS: Final = "keys.json"
_ROWS: Final = "hub.db"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The certificate chain and its private key, as PEM files."""

    certificate: Path
    private_key: Path


class HubHome:
    """The hub that lives in *folder*. `create` makes what is missing; nothing else writes before it is asked to."""

    def __init__(self, folder: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self.folder = Path(folder)
        self.store = SqliteHubStore(self.folder / _ROWS)
        self._clock = clock or SystemClock()

    def create(self) -> None:
        """Make the folder (for its owner only), the tables and two signing keys, each unless it is there.

        Raises:
            StorageError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._key_file.exists():
                self._write_keys(KeyRing.generate(), anew=True)
        except OSError as error:
            raise StorageError(f"the hub's folder {self.folder} cannot be written: {error.strerror}") from error
        self.store.migrate()

    def keys(self) -> KeyRing:
        """The signing keys as they stand in the file.

        Raises:
            ConfigurationError: there is no such file, or it holds no keys.
        """
        try:
            return _ring_of(json.loads(self._key_file.read_bytes()))
        except OSError as error:
            raise ConfigurationError(
                f"{self._key_file} cannot be read: make a hub with `kuploy-saas-kit hub serve`"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(f"{self._key_file} holds no signing keys: restore it from a backup") from None

    def rotate_keys(self, *, compromised: bool = False) -> KeyRing:
        """Sign with the next key from now on, also in a hub that is serving; returns the new ring.

        Instances that pinned both keys notice nothing. Give them the new ring's keys before the next rotation.
        """
        ring = self.keys().rotated(compromised=compromised)
        try:
            self._write_keys(ring)
        except OSError as error:
            raise StorageError(f"{self._key_file} cannot be written: {error.strerror}") from error
        return ring

    def admin(self) -> HubAdmin:
        """The verbs for tenants, licenses, plans and claims."""
        return HubAdmin(self.store, self._clock)

    def hub(self, policy: HubPolicy) -> Hub:
        """What answers instances."""
        return Hub(self.store, _FileSeal(self), self._clock, policy)

    def serve(
        self, *, host: str = "127.0.0.1", port: int = 8321, issuer: str | None = None, tls: TlsFiles | None = None
    ) -> None:
        """Serve until the process is told to stop. *issuer* is the URL at which instances reach the hub.

        Raises:
            ConfigurationError: *host* is not this machine and there is no *tls*, or the extra `[hub]` is missing.
        """
        check_transport(host, tls)

        from kuploy_saas_kit.hub.app import create_app, run  # noqa: PLC0415 - only serving needs the extra [hub]

        self.create()
        app = create_app(self.hub(HubPolicy(issuer=issuer or _origin(host, port, tls))))
        if tls is None:
            run(app, host=host, port=port)
        else:
            run(app, host=host, port=port, ssl_certfile=str(tls.certificate), ssl_keyfile=str(tls.private_key))

    @property
    def _key_file(self) -> Path:
        return self.folder / _KEYS

    def _write_keys(self, ring: KeyRing, *, anew: bool = False) -> None:
        """Replace the file in one step; with *anew* another process's keys, made meanwhile, are kept."""
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix=_KEYS)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(_content_of(ring), file)
                file.flush()
                os.fsync(file.fileno())
            if anew:
                _link(name, self._key_file)
            else:
                Path(name).replace(self._key_file)
        finally:
            Path(name).unlink(missing_ok=True)


class _FileSeal:
    """Signs with the keys that stand in the file at each answer, so that a rotation needs no restart."""

    def __init__(self, home: HubHome) -> None:
        self._home = home

    @property
    def epoch(self) -> int:
        return self._home.keys().epoch

    def seal(self, payload: Payload) -> str:
        return self._home.keys().seal(payload)


def check_transport(host: str, tls: TlsFiles | None) -> None:
    """Refuse to carry license keys in the clear: without TLS the hub is reached from this machine only."""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if tls is None and not is_loopback:
        raise ConfigurationError(
            "without TLS the hub serves 127.0.0.1 only, since requests carry license keys:"
            " give it a certificate, or put a proxy that ends TLS in front of it"
        )


def _origin(host: str, port: int, tls: TlsFiles | None) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{port}"


def trusted_keys_setting(ring: KeyRing) -> str:
    """What instances set as `LICENSE_TRUSTED_KEYS`."""
    return ",".join(f"{kid}={public_key}" for kid, public_key in ring.trusted_keys.items())


def read_plans(document: bytes, product: str) -> tuple[Plan, ...]:
    """The plans of a product that this hub sells, as `read_plan_file` reads them."""
    return read_plan_file(document, product_schema(product)).plans


def _content_of(ring: KeyRing) -> dict[str, Any]:
    return {
        "epoch": ring.epoch,
        "current": {"kid": ring.current.kid, "private": base64.b64encode(ring.current.to_bytes()).decode()},
        "following": {"kid": ring.following.kid, "private": base64.b64encode(ring.following.to_bytes()).decode()},
        "retired": dict(ring.retired),
    }


def _ring_of(content: Mapping[str, Any]) -> KeyRing:
    return KeyRing(
        _key_of(content["current"]), _key_of(content["following"]), dict(content["retired"]), int(content["epoch"])
    )


def _key_of(content: Mapping[str, str]) -> SigningKey:
    try:
        private = base64.b64decode(content["private"], validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    return SigningKey.from_bytes(private, kid=content["kid"])


def _link(name: str, target: Path) -> None:
    try:
        os.link(name, target)
    except FileExistsError:
        return
