"""The doctor's bundle for a support case: what was found, without secrets."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kuploy_saas_kit.cli.findings import Finding, documents_of
from kuploy_saas_kit.cli.license.diagnosis import fingerprint
from kuploy_saas_kit.cli.license.status import LicenseReport, report_document
from kuploy_saas_kit.cli.output import iso
from kuploy_saas_kit.errors import ConfigurationError

_PACKAGES: Final = ("kuploy-saas-kit", "pydantic", "httpx", "cryptography", "sqlalchemy", "psycopg", "redis", "stripe")
_SECRETS: Final = ("LICENSE_KEY", "STRIPE_SECRET_KEY")
_SECRET_LISTS: Final = ("STRIPE_WEBHOOK_SECRET",)
_ADDRESSES: Final = ("KUPLOY_STORE", "KUPLOY_LICENSE_STORE", "KUPLOY_USAGE_STORE")
_REDACTED: Final = "[redacted]"


def bundle_text(
    findings: Iterable[Finding], report: LicenseReport | None, *, at: datetime, secrets: Iterable[str]
) -> str:
    """The bundle as JSON. It is made of what may be told; *secrets* are looked for all the same, and taken out."""
    document = {
        "made_at": iso(at),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": _versions(),
        "findings": documents_of(findings),
        "fingerprints": {} if report is None else {kid: fingerprint(key) for kid, key in report.trusted_keys.items()},
        "license": None if report is None else report_document(report),
    }
    return json.dumps(redacted(document, secrets), indent=2)


def redacted(document: object, secrets: Iterable[str]) -> object:
    """*document* without *secrets* in any of its texts, longer ones first."""
    longest_first = sorted(set(secrets), key=len, reverse=True)
    return _without(json.loads(json.dumps(document, default=str)), longest_first)


def _without(part: object, secrets: list[str]) -> object:
    match part:
        case str():
            for secret in secrets:
                part = part.replace(secret, _REDACTED)
            return part
        case list():
            return [_without(one, secrets) for one in part]
        case dict():
            return {_without(key, secrets): _without(value, secrets) for key, value in part.items()}
        case _:
            return part


def secrets_in(environ: Mapping[str, str], *addresses: str | None) -> list[str]:
    """The secrets that are configured: keys, and passwords in *addresses* of stores."""
    named = [environ.get(name, "") for name in _SECRETS]
    listed = [part for name in _SECRET_LISTS for part in environ.get(name, "").split(",")]
    stores = (*addresses, *(environ.get(name) for name in _ADDRESSES))
    written = [password for address in stores for password in _passwords(address)]
    passwords = [form for password in written for form in (password, unquote(password))]
    return [secret.strip() for secret in (*named, *listed, *passwords) if secret.strip()]


def write_bundle(name: str, text: str) -> None:
    """Write *text* to the new file *name*, for its owner only; a file that is there stays as it is."""
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError as error:
        raise ConfigurationError(f"{Path(name)} is there already: remove it, or name another file") from error
    except OSError as error:
        raise ConfigurationError(f"{Path(name)} cannot be written: {error.strerror}") from error


def _passwords(address: str | None) -> list[str]:
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return []
    settings = (setting.partition("=") for setting in parts.query.split("&"))
    return [parts.password or "", *(value for name, _, value in settings if "password" in name)]


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
