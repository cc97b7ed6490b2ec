"""`kuploy-saas-kit hub …`: from arguments to `hub.commands`, and the lines that those return."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from kuploy_saas_kit.cli.output import say
from kuploy_saas_kit.errors import ConfigurationError, InvalidValueError
from kuploy_saas_kit.hub import TlsFiles, commands
from kuploy_saas_kit.license.config import KEY_PREFIX


def serve(parsed: argparse.Namespace) -> int:
    """Serve until told to stop."""
    tls = tls_files(parsed.tls_certificate, parsed.tls_key)
    commands.serve(_folder(parsed), host=parsed.host, port=parsed.port, issuer=parsed.issuer, tls=tls)
    return 0


def show_keys(parsed: argparse.Namespace) -> int:
    """Print the setting that pins the keys."""
    return _told(commands.show_keys(_folder(parsed)))


def rotate_keys(parsed: argparse.Namespace) -> int:
    """Rotate."""
    return _told(commands.rotate_keys(_folder(parsed), compromised=parsed.compromised))


def add_tenant(parsed: argparse.Namespace) -> int:
    """Add a tenant."""
    return _told(commands.add_tenant(_folder(parsed), parsed.name))


def list_tenants(parsed: argparse.Namespace) -> int:
    """List tenants."""
    return _told(commands.list_tenants(_folder(parsed)))


def issue_license(parsed: argparse.Namespace) -> int:
    """Issue a license."""
    return _told(commands.issue_license(_folder(parsed), parsed.tenant, product=parsed.product, tier=parsed.tier))


def list_licenses(parsed: argparse.Namespace) -> int:
    """List licenses."""
    return _told(commands.list_licenses(_folder(parsed), parsed.tenant))


def change_tier(parsed: argparse.Namespace) -> int:
    """Change a tier."""
    return _told(commands.change_tier(_folder(parsed), license_id(parsed.license), parsed.tier))


def suspend(parsed: argparse.Namespace) -> int:
    """Suspend a license."""
    return _told(commands.set_status(_folder(parsed), license_id(parsed.license), "suspended", parsed.reason))


def revoke(parsed: argparse.Namespace) -> int:
    """Revoke a license."""
    return _told(commands.set_status(_folder(parsed), license_id(parsed.license), "revoked", parsed.reason))


def reinstate(parsed: argparse.Namespace) -> int:
    """Make a license active again."""
    return _told(commands.set_status(_folder(parsed), license_id(parsed.license), "active"))


def pay_until(parsed: argparse.Namespace) -> int:
    """Set or lift the end of the hub's dunning."""
    return _told(commands.pay_until(_folder(parsed), license_id(parsed.license), parsed.instant))


def list_instances(parsed: argparse.Namespace) -> int:
    """List instances."""
    return _told(commands.list_instances(_folder(parsed), license_id(parsed.license)))


def remove_instance(parsed: argparse.Namespace) -> int:
    """Remove an instance."""
    return _told(commands.remove_instance(_folder(parsed), license_id(parsed.license), parsed.instance))


def set_plans(parsed: argparse.Namespace) -> int:
    """Set the plans of a tenant."""
    return _told(commands.set_plans(_folder(parsed), parsed.tenant, Path(parsed.file), product=parsed.product))


def list_claims(parsed: argparse.Namespace) -> int:
    """List claims."""
    return _told(commands.list_claims(_folder(parsed)))


def approve_claim(parsed: argparse.Namespace) -> int:
    """Approve a claim with the key that is asked for."""
    return _told(commands.approve_claim(_folder(parsed), parsed.code, ask_license_key()))


def deny_claim(parsed: argparse.Namespace) -> int:
    """Deny a claim."""
    return _told(commands.deny_claim(_folder(parsed), parsed.code))


def license_id(named: str) -> str:
    """*named*, unless it is a key: those are secret, and arguments are not."""
    if named.startswith(KEY_PREFIX):
        raise InvalidValueError(
            "a license key does not belong on the command line, where every user of the machine sees it:"
            " name the license by its id, from `kuploy-saas-kit hub license list`"
        )
    return named


def ask_license_key() -> str:
    """The key, typed without being shown, or the first line of standard input."""
    license_key = getpass.getpass("license key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not license_key.strip():
        raise InvalidValueError("no license key was given: type it, or pipe it in")
    return license_key.strip()


def tls_files(certificate: str | None, private_key: str | None) -> TlsFiles | None:
    """Both files or none."""
    if certificate is None and private_key is None:
        return None
    if certificate is None or private_key is None:
        raise ConfigurationError("TLS needs both --tls-certificate and --tls-key")
    return TlsFiles(Path(certificate), Path(private_key))


def _folder(parsed: argparse.Namespace) -> Path:
    return Path(parsed.folder or os.environ.get("KUPLOY_HUB_FOLDER") or "hub")


def _told(lines: commands.Lines) -> int:
    say(*lines)
    return 0
