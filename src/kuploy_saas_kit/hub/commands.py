"""What `kuploy-saas-kit hub …` does: plain functions on the hub in a folder, which return the lines to print.

A license is named by its id or its key. Whatever cannot be done is a `KitError` whose message says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.errors import InvalidValueError, StorageError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.home import HubHome, TlsFiles, read_plans, trusted_keys_setting
from kuploy_saas_kit.hub.ledger import Contract
from kuploy_saas_kit.hub.records import HubStatus, Instance
from kuploy_saas_kit.model.product import KUPLOY_CLOUD

Lines: TypeAlias = tuple[str, ...]

_CLOUD = KUPLOY_CLOUD.product_type


def serve(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8321, issuer: str | None = None, tls: TlsFiles | None = None
) -> None:
    """`hub serve`: make the hub if it is not there, and serve it until the process is told to stop."""
    HubHome(folder).serve(host=host, port=port, issuer=issuer, tls=tls)


def show_keys(folder: Path) -> Lines:
    """`hub keys`: what instances are to trust."""
    return (f"LICENSE_TRUSTED_KEYS={trusted_keys_setting(_opened(folder).keys())}",)


def rotate_keys(folder: Path, *, compromised: bool = False) -> Lines:
    """`hub keys rotate`: sign with the next key from now on."""
    ring = _opened(folder).rotate_keys(compromised=compromised)
    return (
        f"the hub signs with {ring.current.kid} (epoch {ring.epoch}); before the next rotation instances need:",
        f"LICENSE_TRUSTED_KEYS={trusted_keys_setting(ring)}",
    )


def add_tenant(folder: Path, name: str) -> Lines:
    """`hub tenant add`: the new tenant's id."""
    return (_admin(folder).add_tenant(name),)


def list_tenants(folder: Path) -> Lines:
    """`hub tenant list`."""
    return tuple(f"{tenant.tenant_id}  {tenant.name}" for tenant in _admin(folder).tenants())


def issue_license(folder: Path, tenant_id: str, *, product: str = _CLOUD, tier: str = "growth") -> Lines:
    """`hub license issue`: the new license key, which is shown this once."""
    return (_admin(folder).issue_license(tenant_id, product, tier),)


def list_licenses(folder: Path, tenant_id: str | None = None) -> Lines:
    """`hub license list`: id, product, tier, status and instances of each."""
    return tuple(_license_line(contract) for contract in _admin(folder).licenses(tenant_id))


def change_tier(folder: Path, license_: str, tier: str) -> Lines:
    """`hub license tier`: upgrade or downgrade the tenant's subscription."""
    _admin(folder).change_tier(license_, tier)
    return _changed(folder, license_)


def set_status(folder: Path, license_: str, status: str, reason: str = "") -> Lines:
    """`hub license suspend|revoke|reinstate`: *status* is `suspended`, `revoked` or `active`."""
    if status not in set(HubStatus):
        raise InvalidValueError(f"a license is {', '.join(HubStatus)}, not {status[:40]!r}")
    _admin(folder).set_status(license_, HubStatus(status), reason)
    return _changed(folder, license_)


def pay_until(folder: Path, license_: str, instant: str | None) -> Lines:
    """`hub license pay-until`: an ISO instant with its zone, such as `2026-12-01T00:00:00Z`, or None for paid."""
    _admin(folder).pay_until(license_, None if instant is None else _instant(instant))
    return _changed(folder, license_)


def list_instances(folder: Path, license_: str) -> Lines:
    """`hub instance list`: in the order of their seats, with what they use."""
    instances = _admin(folder).contract(license_).instances.values()
    now = SystemClock().now()
    return tuple(_instance_line(one, now) for one in sorted(instances, key=lambda one: one.place))


def remove_instance(folder: Path, license_: str, instance_id: str) -> Lines:
    """`hub instance remove`: free its seat."""
    _admin(folder).remove_instance(license_, instance_id)
    return _changed(folder, license_)


def set_plans(folder: Path, tenant_id: str, file: Path, *, product: str = _CLOUD) -> Lines:
    """`hub catalog set`: make the tenant's plans be those in *file*, `{"plans": […]}`."""
    try:
        document = file.read_bytes()
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}") from error
    revision = _admin(folder).set_catalog(tenant_id, product, read_plans(document, product))
    return (f"the catalog has revision {revision}",)


def list_claims(folder: Path) -> Lines:
    """`hub claim list`: who waits, so that whoever approves can see whose code it is."""
    claims = _admin(folder).pending_claims()
    return tuple(
        f"{one.code}  {one.product_type}  {one.instance_id}  {one.hostname} {one.public_url}" for one in claims
    )


def approve_claim(folder: Path, code: str, license_key: str) -> Lines:
    """`hub claim approve`: give the license to the instance that shows *code*. Read the key from a prompt."""
    _admin(folder).approve_claim(code, license_key)
    return ("approved: the instance fetches the key with its next poll",)


def deny_claim(folder: Path, code: str) -> Lines:
    """`hub claim deny`."""
    _admin(folder).deny_claim(code)
    return ("denied",)


def _opened(folder: Path) -> HubHome:
    home = HubHome(folder)
    home.create()
    return home


def _admin(folder: Path) -> HubAdmin:
    return _opened(folder).admin()


def _changed(folder: Path, license_: str) -> Lines:
    return (_license_line(_admin(folder).contract(license_)), "instances learn it with their next sync")


def _license_line(contract: Contract) -> str:
    license_, subscription = contract.license, contract.subscription
    held = sum(not instance.is_removed for instance in contract.instances.values())
    reason = f" ({license_.status_reason})" if license_.status_reason else ""
    until = f"  paid until {subscription.paid_until:%Y-%m-%d %H:%M}Z" if subscription.paid_until else ""
    return (
        f"{license_.license_id}  {license_.product_type} {subscription.tier}  {license_.status}{reason}"
        f"  {held} of {contract.seats} instances{until}"
    )


def _instance_line(instance: Instance, now: datetime) -> str:
    state = "removed" if instance.is_removed else "seated" if instance.is_live(now) else "silent"
    return f"{instance.instance_id}  {state}  kit {instance.kit_version or '?'}  {_pairs(instance.usage.items())}"


def _pairs(items: Iterable[tuple[str, int]]) -> str:
    return " ".join(f"{key}={value}" for key, value in items)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValueError("an instant is written as 2026-12-01T00:00:00Z") from None
