"""What an import costs a host: nothing that it did not ask for."""

import subprocess
import sys
from pathlib import Path

import pytest

GUARD = Path(__file__).with_name("import_guard.py")


def guard(*modules: str) -> subprocess.CompletedProcess[str]:
    """The outcome of importing *modules* in a fresh, isolated interpreter."""
    command = [sys.executable, "-I", str(GUARD), *modules]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own interpreter and file)


@pytest.mark.parametrize(
    "module",
    ["kuploy_saas_kit", "kuploy_saas_kit.errors", "kuploy_saas_kit.model", "kuploy_saas_kit.plans"],
)
def test_loads_only_the_standard_library(module: str) -> None:
    """The face, the vocabulary and the plans can be imported without any dependency."""
    outcome = guard(module)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_the_guard_sees_a_third_party_module() -> None:
    """The guard fails, and names the guest, where an import does bring one."""
    outcome = guard("pydantic")
    assert outcome.returncode == 1
    assert "pydantic" in outcome.stderr
