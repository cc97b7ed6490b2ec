"""What an operator configures, checked when it is made."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from kuploy_saas_kit.errors import ConfigurationError
from kuploy_saas_kit.license.reading import Trust
from kuploy_saas_kit.license.signature import TrustedKey
from kuploy_saas_kit.model.product import SCHEMAS, ProductSchema

KEY_PREFIX: Final = "lic_"
_KEY: Final = re.compile(r"lic_[\x21-\x7e]{1,252}")
_INSTANCE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_KEY_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
# What resolvers read as an address although it is not written as one: 127.1, 0x7f.1, 2130706433.
_NUMERIC_HOST: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?")
_SHORTEST_PERIOD: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseConfig:
    """How to reach the hub and whom to believe. `ConfigurationError` says what is wrong and how to mend it.

    *license_key* and *instance_id* beat what the store holds; None falls back to it. *trusted_keys* are the hub's
    public keys by key id; without any, *trust* must be `"tls_only"`, chosen knowingly. *issuer* is the `iss` of the
    hub's payloads (default: the origin of *hub_url*). *period* is the time between syncs, ± 20 %. *max_grace*
    shortens the hub's grace. *schema* is the product's (default: the shipped one for *product_type*).
    """

    hub_url: str = "https://kuploy.app"
    license_key: SecretStr | str | None = None
    instance_id: str | None = None
    product_type: str = "kuploy-cloud"
    trusted_keys: Mapping[str, TrustedKey | str] = field(default_factory=dict)
    trust: Trust | str | None = None
    period: timedelta = timedelta(seconds=60)
    max_grace: timedelta | None = None
    issuer: str | None = None
    schema: ProductSchema | None = None
    sync_path: str = "/api/license/sync"
    claims_path: str = "/api/license/claims"
    claims_poll_path: str = "/api/license/claims/poll"
    public_url: str = ""
    allow_private_hub: bool = False
    legacy_eddsa: bool = False

    def __post_init__(self) -> None:
        assign: Any = object.__setattr__
        assign(self, "hub_url", checked_hub_url(self.hub_url, allow_private=self.allow_private_hub))
        assign(self, "license_key", _checked_key(self.license_key))
        assign(self, "trusted_keys", _checked_trusted_keys(self.trusted_keys))
        assign(self, "trust", _checked_trust(self.trust, has_keys=bool(self.trusted_keys)))
        _check_instance_id(self.instance_id)
        _check_durations(self.period, self.max_grace)
        if self.schema is None and self.product_type not in SCHEMAS:
            raise ConfigurationError(
                f"the kit has no schema for the product {self.product_type!r}: pass schema=ProductSchema(...),"
                f" or use one of {', '.join(sorted(SCHEMAS))}"
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LicenseConfig holds the license key and is not to be pickled: make it from the environment")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> LicenseConfig:
        """The configuration in `LICENSE_*` variables; *settings* are what holds where a variable is not set.

        `LICENSE_KEY`, `LICENSE_HUB_URL`, `LICENSE_INSTANCE_ID`, `LICENSE_PRODUCT_TYPE`, `LICENSE_ISSUER`,
        `LICENSE_TRUST` (`pinned` or `tls_only`) and `LICENSE_TRUSTED_KEYS` (`kid=key,kid=key`).
        """
        found = os.environ if environ is None else environ
        values = {name: found[variable].strip() for variable, name in _VARIABLES.items() if found.get(variable)}
        from_env: dict[str, Any] = {name: value for name, value in values.items() if value}
        if "trusted_keys" in from_env:
            from_env["trusted_keys"] = _parse_trusted_keys(from_env["trusted_keys"])
        return cls(**{**settings, **from_env})

    @property
    def key(self) -> SecretStr | None:
        """The configured license key."""
        return self.license_key if isinstance(self.license_key, SecretStr) else None

    @property
    def keys(self) -> Mapping[str, TrustedKey]:
        """The hub's public keys by key id."""
        return {kid: key for kid, key in self.trusted_keys.items() if isinstance(key, TrustedKey)}

    @property
    def product_schema(self) -> ProductSchema:
        """The schema that payloads are read with."""
        return self.schema or SCHEMAS[self.product_type]

    @property
    def expected_issuer(self) -> str:
        """What payloads must name as `iss`."""
        return self.issuer or _origin(urlsplit(self.hub_url))


_VARIABLES: Final = {
    "LICENSE_KEY": "license_key",
    "LICENSE_HUB_URL": "hub_url",
    "LICENSE_INSTANCE_ID": "instance_id",
    "LICENSE_PRODUCT_TYPE": "product_type",
    "LICENSE_ISSUER": "issuer",
    "LICENSE_TRUST": "trust",
    "LICENSE_TRUSTED_KEYS": "trusted_keys",
}


def checked_hub_url(url: str, *, allow_private: bool) -> str:
    """*url* without a trailing slash, if the license key may be sent there; `ConfigurationError` otherwise."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError("the hub URL is no URL: set LICENSE_HUB_URL, such as https://kuploy.app") from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ConfigurationError("the hub URL must not hold a user or a password: remove what is before the '@'")
    if not host or parts.query or parts.fragment or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ConfigurationError("the hub URL must be scheme, host and path only, such as https://kuploy.app")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ConfigurationError(
            "the hub URL must begin with https://, so that the license key is not sent in the clear"
            " (http:// is for a hub on this machine, such as http://127.0.0.1:8000)"
        )
    if _is_private(host) and not allow_private:
        raise ConfigurationError("the hub URL names a private address; if that is meant, set allow_private_hub=True")
    return url.rstrip("/")


def checked_license_key(license_key: str) -> str:
    """*license_key*, if it can be one; the message of the `ConfigurationError` does not repeat it."""
    if not _KEY.fullmatch(license_key):
        raise ConfigurationError(
            f"the license key must begin with {KEY_PREFIX!r} and have no spaces:"
            " copy it from the hub, or claim a license instead"
        )
    return license_key


def _checked_key(license_key: SecretStr | str | None) -> SecretStr | None:
    if license_key is None:
        return None
    secret = license_key if isinstance(license_key, SecretStr) else SecretStr(license_key)
    checked_license_key(secret.get_secret_value())
    return secret


def _checked_trusted_keys(keys: Mapping[str, TrustedKey | str]) -> Mapping[str, TrustedKey]:
    checked: dict[str, TrustedKey] = {}
    for kid, key in keys.items():
        if not _KEY_ID.fullmatch(kid):
            raise ConfigurationError("the id of a trusted key must be 1 to 128 printable characters, such as '2026-a'")
        try:
            checked[kid] = key if isinstance(key, TrustedKey) else TrustedKey(key)
        except ConfigurationError as error:
            raise ConfigurationError(f"trusted key {kid!r}: {error}") from None
    return MappingProxyType(checked)


def _checked_trust(trust: Trust | str | None, *, has_keys: bool) -> Trust:
    if trust is None and not has_keys:
        raise ConfigurationError(
            "no key of the hub is trusted: set LICENSE_TRUSTED_KEYS (or trusted_keys) to the hub's public keys,"
            " or choose LICENSE_TRUST=tls_only (trust='tls_only') knowing that nothing then protects the stored license"
        )
    try:
        chosen = Trust.PINNED if trust is None else Trust(trust)
    except ValueError:
        raise ConfigurationError("LICENSE_TRUST must be 'pinned' or 'tls_only'") from None
    if chosen is Trust.PINNED and not has_keys:
        raise ConfigurationError("trust='pinned' needs the hub's public keys: set LICENSE_TRUSTED_KEYS or trusted_keys")
    if chosen is Trust.TLS_ONLY and has_keys:
        raise ConfigurationError("trust='tls_only' would ignore the trusted keys: remove one of the two")
    return chosen


def _check_instance_id(instance_id: str | None) -> None:
    if instance_id is not None and not _INSTANCE_ID.fullmatch(instance_id):
        raise ConfigurationError("LICENSE_INSTANCE_ID must be 1 to 128 letters, digits, '_', '.', ':' or '-'")


def _check_durations(period: timedelta, max_grace: timedelta | None) -> None:
    if period < _SHORTEST_PERIOD:
        raise ConfigurationError("period must be at least 5 seconds; 60 is what the hub expects")
    if max_grace is not None and max_grace < timedelta():
        raise ConfigurationError("max_grace must not be negative")


def _parse_trusted_keys(text: str) -> Mapping[str, str]:
    pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
    if not all(kid and separator and key for kid, separator, key in pairs):
        raise ConfigurationError("LICENSE_TRUSTED_KEYS must be kid=key pairs with commas between, such as '2026-a=…'")
    return {kid.strip(): key.strip() for kid, _, key in pairs}


def _origin(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_private(host: str) -> bool:
    """Whether *host* is written as an address that is not for the public; loopback is this machine and allowed."""
    address = _address(host)
    if address is None:
        return _NUMERIC_HOST.fullmatch(host.lower()) is not None
    mapped = getattr(address, "ipv4_mapped", None)
    real = mapped or address
    return not real.is_loopback and (not real.is_global or real.is_multicast)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
