"""Who this instance is, and as much of its license key as may be shown."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from kuploy_saas_kit.errors import storage_errors
from kuploy_saas_kit.license.config import LicenseConfig
from kuploy_saas_kit.license.ports import ClientStore

_SHOWN: Final = 4
_SHORTEST_TO_SHOW: Final = 20  # of a shorter key the end would tell too much


@dataclass(frozen=True, slots=True)
class Identity:
    """*key* is how the license key ends, None without one; *key_from* is where it is configured.

    *claim_code* is that of a claim on its way.
    """

    instance_id: str
    key: str | None = None
    key_from: str = ""
    claim_code: str | None = None

    @property
    def named_key(self) -> str:
        """The key as people may see it."""
        return "none" if self.key is None else f"{self.key} (from {self.key_from})"


def end_of(license_key: str) -> str:
    """The last characters of *license_key*, by which its owner tells it apart."""
    return f"…{license_key[-_SHOWN:]}" if len(license_key) >= _SHORTEST_TO_SHOW else "…"


def read_identity(config: LicenseConfig, store: ClientStore) -> Identity:
    """Who this instance is by configuration and store; an instance without an id gets one, as at any start."""
    with storage_errors("read who this instance is"):
        stored = store.load_license_key()
        claim = store.load_claim()
        instance_id = config.instance_id or store.ensure_instance_id(f"inst_{secrets.token_hex(16)}")
    code = None if claim is None else claim.code
    if config.key is not None:
        return Identity(instance_id, end_of(config.key.get_secret_value()), "LICENSE_KEY", code)
    if stored is not None:
        return Identity(instance_id, end_of(stored), "the store", code)
    return Identity(instance_id, claim_code=code)
