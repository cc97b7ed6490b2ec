"""`license doctor`: what it finds, what it says to do, and what it never says."""

import json
import stat
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from tests.cli.instance import SECRET_KEY, Instance

from kuploy_saas_kit.cli.findings import Finding, Level
from kuploy_saas_kit.cli.license import doctor
from kuploy_saas_kit.cli.license.bundle import redacted, secrets_in
from kuploy_saas_kit.cli.license.diagnosis import clock_finding, fingerprint, stored_license_finding, trust_findings
from kuploy_saas_kit.license import LicenseSnapshot, TrustedKey
from kuploy_saas_kit.license.state import LicenseState

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEY = "B" * 42 + "A"


@pytest.fixture
def patient(instance: Instance) -> Instance:
    """A licensed instance, examined by the world's own clock."""
    instance.monkeypatch.setattr(doctor, "SystemClock", lambda: instance.world.clock)
    instance.licensed()
    return instance


def found(instance: Instance, *options: str) -> dict[str, str]:
    """The level of each subject; the worst where there are several."""
    worst: dict[str, str] = {}
    for one in json.loads(instance.run("license", "doctor", "--json", *options).out):
        order = ["ok", "warn", "fail"]
        worst[one["subject"]] = max(one["level"], worst.get(one["subject"], "ok"), key=order.index)
    return worst


def test_a_healthy_instance(patient: Instance) -> None:
    """Everything is looked at, nothing fails, and each line has its mend where there is something to do."""
    patient.set(STRIPE_PUBLISHABLE_KEY="pk_test_kit")
    ran = patient.run("license", "doctor")
    assert (ran.status, ran.err) == (0, "")
    levels = found(patient)
    expected = {"configuration", "trusted key", "Stripe keys", "store", "plans", "license store", "counters", "leases"}
    expected |= {"instance", "license key", "stored license", "sync", "clock", "license", "Stripe", "disk"}
    assert expected <= levels.keys()
    assert {subject for subject, level in levels.items() if level != "ok"} <= {"disk"}
    assert "0 fail" in ran.out


def test_an_instance_without_anything(instance: Instance) -> None:
    """Without license and Stripe the doctor warns, fails for what does not work, and says how to begin."""
    instance.run("store", "migrate")
    ran = instance.run("license", "doctor")
    assert ran.status == 1
    assert "warn  license key: none\n      run `kuploy-saas-kit license claim`, or set LICENSE_KEY" in ran.out
    assert "warn  Stripe keys: none in the environment" in ran.out
    assert "fail  license: UNLICENSED" in ran.out


def test_an_unreachable_hub(patient: Instance) -> None:
    """The sync fails with what to look at; the stored license is well all the same."""
    patient.world.hub.outage("refused")
    levels = found(patient)
    assert (levels["sync"], levels["stored license"], levels["clock"]) == ("fail", "ok", "warn")
    assert "check network, firewall and LICENSE_HUB_URL" in patient.run("license", "doctor").out


def test_a_clock_that_is_wrong(patient: Instance) -> None:
    """A host's clock apart from what the hub has just signed is a failure."""
    patient.world.hub.outage("skew")
    assert found(patient)["clock"] == "fail"


def test_a_stored_license_that_was_edited(patient: Instance) -> None:
    """What no longer verifies is found before the sync replaces it."""
    store = patient.store()
    record = store.load_license()
    assert record is not None
    forged = type(record)(record.body + b" ", record.trust, 9, 9, record.received_at, record.mark)
    assert store.save_license(forged).saved
    patient.world.hub.outage("refused")
    assert found(patient)["stored license"] == "fail"


def test_a_wrong_configuration_hides_nothing_else(patient: Instance) -> None:
    """Whatever is wrong with the settings is said, and the store is examined nevertheless."""
    patient.set(LICENSE_HUB_URL="http://hub.example", STRIPE_SECRET_KEY="pk_test_mixedup")
    levels = found(patient)
    assert (levels["configuration"], levels["Stripe keys"], levels["store"]) == ("fail", "fail", "ok")
    assert "sync" not in levels


def test_no_store(patient: Instance) -> None:
    """A store that is not there is one failure among the findings."""
    assert found(patient, "--store", "sqlite:///elsewhere.db")["store"] == "fail"
    patient.database.parent.joinpath("empty.db").touch()
    assert found(patient, "--store", "sqlite:///empty.db")["store"] == "fail"


def test_a_key_that_stripe_refuses(patient: Instance) -> None:
    """The doctor asks Stripe whose the key is; a refusal is a failure, and license and store are untouched by it."""
    patient.world.stripe.fault("401", times=None)
    levels = found(patient)
    assert (levels["Stripe"], levels["sync"]) == ("fail", "ok")


def test_the_bundle_tells_no_secret(patient: Instance) -> None:
    """The bundle is for its owner only, holds what was found, none of the secrets, and replaces no file."""
    patient.set(KUPLOY_USAGE_STORE="", STRIPE_WEBHOOK_SECRET="whsec_canary1,whsec_canary2")
    assert patient.run("license", "doctor", "--bundle", "bundle.json").status == 0
    bundle = patient.database.parent / "bundle.json"
    text = bundle.read_text(encoding="utf-8")
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    told = json.loads(text)
    assert told["license"]["status"] == "active"
    assert told["packages"]["pydantic"]
    assert len(told["fingerprints"]) == 2
    for secret in (patient.world.license_key, SECRET_KEY, "whsec_canary1", "whsec_canary2"):
        assert secret not in text
    again = patient.run("license", "doctor", "--bundle", "bundle.json")
    assert again.status == 2
    assert "is there already" in again.one_line
    assert "cannot be written" in patient.run("license", "doctor", "--bundle", "no/such/folder/b.json").one_line


def test_secrets_are_looked_for_in_settings_and_addresses() -> None:
    """Keys, all webhook secrets, and the passwords in addresses, as written and as meant."""
    environ = {
        "LICENSE_KEY": "lic_1",
        "STRIPE_WEBHOOK_SECRET": "whsec_1, whsec_2",
        "KUPLOY_LICENSE_STORE": "redis://:p%40ss@host",
        "KUPLOY_STORE": "postgresql://user@/name?host=db&password=code&sslpassword=%21",
    }
    secrets = secrets_in(environ, "postgresql://user:word@host/name", None, "http://[")
    assert set(secrets) == {"lic_1", "whsec_1", "whsec_2", "p%40ss", "p@ss", "word", "code", "%21", "!"}


def test_redaction_reaches_every_text() -> None:
    """Keys and values at any depth are searched, and what is no text stays as it is."""
    document = {"a secret": ["is secret", {"deep": ("secret",)}], "n": 1, "none": None}
    assert redacted(document, ["secret"]) == {
        "a [redacted]": ["is [redacted]", {"deep": ["[redacted]"]}],
        "n": 1,
        "none": None,
    }


def levels(findings: Iterable[Finding]) -> list[Level]:
    """The levels in order."""
    return [one.level for one in findings]


def test_one_trusted_key_is_a_warning() -> None:
    """With one key a rotation at the hub would stop the syncs; none, or one that is over, is worth a word too."""
    key, over = TrustedKey(KEY), TrustedKey(KEY, not_after=NOW)
    assert levels(trust_findings({"a": key, "b": key}, NOW)) == [Level.OK, Level.OK]
    assert levels(trust_findings({"a": key}, NOW)) == [Level.OK, Level.WARN]
    assert levels(trust_findings({"a": key, "b": over}, NOW)) == [Level.OK, Level.WARN]
    assert levels(trust_findings({}, NOW)) == [Level.WARN]


def test_a_fingerprint_is_of_the_keys_bytes() -> None:
    """The fingerprint is the beginning of the SHA-256 of 32 bytes, so that others can compute it."""
    assert fingerprint(TrustedKey(KEY)) == "37d171c864533cb2"


@pytest.mark.parametrize(
    ("apart", "level"),
    [(0, "ok"), (30, "ok"), (31, "warn"), (300, "warn"), (301, "fail"), (-31, "warn"), (-301, "fail")],
)
def test_how_far_clocks_may_be_apart(apart: int, level: str) -> None:
    """Half a minute is normal, five minutes are too much, in both directions."""
    assert clock_finding(NOW, NOW + timedelta(seconds=apart)).level == level


def test_a_stored_license_without_a_key() -> None:
    """A license whose key was taken away cannot be judged, which is no failure of the license."""
    unlicensed = LicenseSnapshot(LicenseState(), NOW)
    assert stored_license_finding(unlicensed, has_record=True, refused=None).level is Level.WARN
    assert stored_license_finding(unlicensed, has_record=False, refused=None).level is Level.WARN


def test_no_file_is_left_behind(patient: Instance) -> None:
    """The doctor leaves nothing but the database where it runs."""
    before = set(patient.database.parent.iterdir())
    patient.run("license", "doctor")
    assert {file.suffix for file in set(patient.database.parent.iterdir()) - before} <= {".db-wal", ".db-shm"}
