"""The tables of the documentation say what the code says."""

from __future__ import annotations

import inspect
import re
import tomllib

import pytest
from tests.docs.pages import ROOT

from kuploy_saas_kit import errors
from kuploy_saas_kit.license import ports as license_ports
from kuploy_saas_kit.license.config import _VARIABLES
from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits
from kuploy_saas_kit.model.subscription import STATUS_ACCESS
from kuploy_saas_kit.plans import Reason
from kuploy_saas_kit.plans import ports as plans_ports
from kuploy_saas_kit.stripe_provision import Alarm
from kuploy_saas_kit.stripe_provision.webhooks import EVENT_TYPES


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in _page(page).splitlines()
        if line.startswith("|")
    ]


@pytest.mark.parametrize("status", LicenseStatus)
def test_the_status_table(status: LicenseStatus) -> None:
    """The license page permits in each status what the code permits."""
    header = next(row for row in _rows("docs/concepts/license.md") if row[0] == "status")
    row = next(row for row in _rows("docs/concepts/license.md") if row[0] == status.name)
    for operation, word in zip(header[2:], row[2:], strict=True):
        assert (word == "yes") is permits(status, Operation[operation])


@pytest.mark.parametrize("page", ["docs/concepts/plans.md"])
def test_every_reason_has_a_remedy(page: str) -> None:
    """The table of reasons is complete."""
    told = set(re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in _rows(page))))
    assert told >= set(Reason)


def test_every_status_of_a_subscription_is_in_the_dunning_table() -> None:
    """All of Stripe's words are there, each in a row that gives the plan or does not."""
    given = {
        word: row[1] == "its plan"
        for row in _rows("docs/concepts/provisioning.md")
        for word in re.findall(r"`([a-z_]+)`", row[0])
        if word in STATUS_ACCESS
    }
    assert given == {word: access > 0 for word, access in STATUS_ACCESS.items()}


def test_every_error_is_on_its_page() -> None:
    """The page of errors names every class of the tree."""
    names = {name for name, value in vars(errors).items() if inspect.isclass(value) and name.endswith("Error")}
    told = set(re.findall(r"`(\w+Error)`", _page("docs/reference/errors.md")))
    assert {name for name in names if not name.startswith("_")} - {"KitError"} <= told


def test_the_table_of_ports() -> None:
    """Ports and their verbs are named as they are, and none is left out."""
    ports = {**vars(plans_ports), **vars(license_ports)}
    for row in _rows("docs/how-to/bring-your-own-storage.md"):
        name = row[0].strip("`")
        if name in ports:
            verbs = {verb for verb in vars(ports[name]) if not verb.startswith("_")}
            assert set(re.findall(r"`(\w+)`", row[2])) == verbs, name


def test_variables_events_and_alarms_are_complete() -> None:
    """What an operator has to set, choose or answer is all there."""
    assert set(_VARIABLES) <= set(re.findall(r"`(LICENSE_\w+)`", _page("docs/how-to/operate.md")))
    assert set(EVENT_TYPES) <= set(re.findall(r"^- `([a-z_.]+)`", _page("docs/how-to/going-live.md"), re.MULTILINE))
    assert set(Alarm) <= {row[0].strip("`") for row in _rows("docs/how-to/webhooks.md")}


def test_the_extras_of_the_readme_exist() -> None:
    """README.md names only extras that can be installed."""
    extras = tomllib.loads(_page("pyproject.toml"))["project"]["optional-dependencies"]
    rows = _rows("README.md")
    told = [row[0].strip("`") for row in rows if row[0].startswith("`")]
    assert told
    assert set(told) <= set(extras)
