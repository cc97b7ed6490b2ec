"""`license status` and `license sync`, as an operator runs them."""

import json

import pytest
from tests.cli.instance import Instance

from kuploy_saas_kit.cli.license.codes import mend_of
from kuploy_saas_kit.cli.license.identity import end_of
from kuploy_saas_kit.cli.license.status import meaning
from kuploy_saas_kit.license import LicenseStatus


def test_status_of_a_licensed_instance(instance: Instance) -> None:
    """All that a status page needs is there, the key by its end only, and the network is not touched."""
    instance.licensed()
    instance.world.hub.outage("refused")
    shown = instance.run("license", "status")
    assert shown.status == 0
    for expected in ("ACTIVE: everything works", "growth (", f"…{instance.world.license_key[-4:]}", "maxProjects 20"):
        assert expected in shown.out
    told = json.loads(instance.run("license", "status", "--json").out)
    assert told["status"] == "active"
    assert told["permits"]["create"] is True
    assert told["limits"]["maxProjects"] == 20
    assert told["plans"] == ["free", "pro"]


def test_status_follows_the_clock(instance: Instance) -> None:
    """Long without the hub the words say what still works, and until when."""
    instance.licensed()
    instance.world.later(days=3)
    assert "GRACE" in instance.run("license", "status").out
    instance.world.later(days=30)
    expired = instance.run("license", "status").out
    assert "EXPIRED (offline): nothing new, what runs goes on" in expired
    assert "refused      create, provision, configure" in expired


def test_status_without_a_license(instance: Instance) -> None:
    """No license is no error of the command: it says how to get one."""
    instance.run("store", "migrate")
    shown = instance.run("license", "status")
    assert shown.status == 0
    assert "UNLICENSED" in shown.out
    assert "claim a license, or set LICENSE_KEY" in shown.out
    assert json.loads(instance.run("license", "status", "--json").out)["features"] == []


def test_sync_brings_the_license(instance: Instance) -> None:
    """One exchange stores the license; the next process has it without the hub."""
    instance.run("store", "migrate")
    instance.set(LICENSE_KEY=instance.world.license_key)
    synced = instance.run("license", "sync")
    assert (synced.status, synced.err) == (0, "")
    assert "synced: revision 1" in synced.out
    instance.world.hub.outage("refused")
    assert "ACTIVE" in instance.run("license", "status").out


@pytest.mark.parametrize(
    ("outage", "told"), [("refused", "cannot be reached"), ("5xx", "has trouble"), ("html", "login page")]
)
def test_sync_with_an_unreachable_hub(instance: Instance, outage: str, told: str) -> None:
    """A hub that fails is one line on standard error that says what to look at, and nothing changes."""
    instance.licensed()
    instance.world.hub.outage(outage)
    failed = instance.run("license", "sync")
    assert failed.status == 2
    assert told in failed.one_line
    assert "ACTIVE" in failed.out
    assert json.loads(instance.run("license", "sync", "--json").out)["ok"] is False


def test_sync_without_a_key(instance: Instance) -> None:
    """Without a key nothing is asked, and the line says how to get one."""
    instance.run("store", "migrate")
    failed = instance.run("license", "sync")
    assert failed.status == 2
    assert "license claim" in failed.one_line
    assert instance.world.hub.requests == []


def test_a_wrong_key(instance: Instance) -> None:
    """A key that the hub does not know, and one that cannot be a key, are named without being shown."""
    instance.run("store", "migrate")
    instance.set(LICENSE_KEY="lic_neverissuedbyanyhub")
    refused = instance.run("license", "sync")
    assert refused.status == 2
    assert "check LICENSE_KEY" in refused.one_line
    assert "neverissued" not in refused.err + refused.out
    instance.set(LICENSE_KEY="sk_live_mixedup")
    impossible = instance.run("license", "status")
    assert impossible.status == 2
    assert "must begin with 'lic_'" in impossible.one_line
    assert "mixedup" not in impossible.err


def test_nobody_to_trust(instance: Instance) -> None:
    """Without trusted keys the commands that need the license say what to set."""
    instance.run("store", "migrate")
    instance.set(LICENSE_TRUSTED_KEYS="")
    assert "LICENSE_TRUSTED_KEYS" in instance.run("license", "status").one_line


@pytest.mark.parametrize("command", [("license", "status"), ("license", "sync"), ("plans", "list"), ("stripe", "diff")])
def test_missing_tables(instance: Instance, command: tuple[str, ...]) -> None:
    """A database without the kit's tables is an error, and never looks like a missing license."""
    instance.database.touch()
    failed = instance.run(*command)
    assert failed.status == 2
    assert "does not have the kit's tables" in failed.one_line


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///elsewhere.db", "there is no SQLite file elsewhere.db"),
        ("mysql://user:hunter2@host/name", "no SQL store for 'mysql'"),
        ("redis://localhost/0", "no SQL store for 'redis'"),
        ("nonsense", "no database URL"),
        ("postgresql://user:pa@ss:hunter2/rd@host/name", "no database URL"),
        ("sqlite://", "needs an SQLite file"),
    ],
)
def test_a_wrong_store(instance: Instance, url: str, told: str) -> None:
    """A wrong address is one line that says what is wrong, makes no file, and repeats no password."""
    failed = instance.run("license", "status", "--store", url)
    assert failed.status == 2
    assert told in failed.one_line
    assert "hunter2" not in failed.err
    assert not (instance.database.parent / "elsewhere.db").exists()


def test_a_license_store_apart(instance: Instance) -> None:
    """The license may be in a file beside the database; a wrong address says which are right."""
    instance.run("store", "migrate")
    instance.set(LICENSE_KEY=instance.world.license_key, KUPLOY_LICENSE_STORE="file:license.json")
    assert instance.run("license", "sync").status == 0
    assert (instance.database.parent / "license.json").exists()
    assert "ACTIVE" in instance.run("license", "status").out
    assert "ACTIVE" not in instance.run("license", "status", "--license-store", "file:other.json").out
    for option in ("--license-store", "--usage-store"):
        wrong = instance.run("license", "status", option, "ftp://host")
        assert f"{option} is an address that begins with" in wrong.one_line


def test_every_status_has_a_meaning() -> None:
    """No status of the license is without words."""
    assert all(meaning(status) for status in LicenseStatus)


def test_what_a_code_means() -> None:
    """The hub's own word goes first, then the code, then its family; an unknown one is not left without advice."""
    assert "seat" in mend_of("http.4xx", "instance_limit_reached")
    assert "LICENSE_HUB_URL" in mend_of("transport.dns", "never_heard_of")
    assert "somebody else" in mend_of("bind.instance")
    assert mend_of("never.heard_of")


def test_of_a_short_key_nothing_is_shown() -> None:
    """The end of a short key would be most of it."""
    assert end_of("lic_1234567") == "…"
    assert end_of("lic_0123456789abcdefghij") == "…ghij"
