"""What an installed kit adds to pytest, in a project of somebody else's."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from kuploy_saas_kit.testing import pytest_plugin

INNOCENT = """
import sys

def test_of_somebody_else():
    ours = {name for name in sys.modules if name.startswith("kuploy_saas_kit")}
    assert ours == {"kuploy_saas_kit", "kuploy_saas_kit.testing", "kuploy_saas_kit.testing.pytest_plugin"}
    assert not {"pydantic", "httpx", "hypothesis", "sqlalchemy", "cachetools"} & set(sys.modules)
"""
ADAPTER = """
from dataclasses import replace
import pytest
from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.plans import UNLIMITED
from kuploy_saas_kit.testing.conformance import UsageStoreTests

class NoCap(MemoryStore):
    def take(self, claims, *, key=None, ttl=None):
        return super().take([replace(claim, cap=UNLIMITED) for claim in claims], key=key, ttl=ttl)

class TestNoCap(UsageStoreTests):
    @pytest.fixture
    def store(self, clock):
        return NoCap(clock)

def test_with_doubles(kuploy_clock, kuploy_hub):
    assert kuploy_clock.now().tzinfo is not None
    assert kuploy_hub.requests == []
"""


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest in *project*, in a process of its own, without any of this project's configuration."""
    (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=100)  # noqa: S603


def test_the_package_names_the_plugin() -> None:
    """The plugin is found it by the entry point of the installed package."""
    (found,) = metadata.entry_points(group="pytest11", name="kuploy-saas-kit")
    assert found.load() is pytest_plugin


def test_a_project_that_asks_for_nothing(tmp_path: Path) -> None:
    """Nothing of the kit is imported but the plugin, no warning is raised, and no line is printed."""
    (tmp_path / "test_innocent.py").write_text(INNOCENT)
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "kuploy-saas-kit:" not in done.stdout


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A run over an adapter that goes over every cap, with the option."""
    project = tmp_path_factory.mktemp("project")
    (project / "test_adapter.py").write_text(ADAPTER)
    return run(project, "-rfsp", "--kuploy-rounds=2", "-k", "unit or step or doubles")


def test_a_failure_shows_its_values(judged: subprocess.CompletedProcess[str]) -> None:
    """A law that fails says what it found, as a test of the project's own does; so does a law of races."""
    assert judged.returncode == 1
    assert "FAILED test_adapter.py::TestNoCap::test_a_race_for_the_last_units[threads]" in judged.stdout
    assert "assert <TakeOutcome.TAKEN: 'taken'> is <TakeOutcome.REFUSED: 'refused'>" in judged.stdout


def test_what_was_not_raced_says_why(judged: subprocess.CompletedProcess[str]) -> None:
    """Laws that need another process are skipped with what to do about it."""
    assert "no other process: override the fixture `reopen`" in judged.stdout
    assert "no steps: override the fixture `stepping`" in judged.stdout


def test_the_fixtures_and_the_option(judged: subprocess.CompletedProcess[str]) -> None:
    """The doubles are there for those who ask, and the header tells of longer races."""
    assert "PASSED test_adapter.py::test_with_doubles" in judged.stdout
    assert "kuploy-saas-kit: races and crashes 2 times as often" in judged.stdout
