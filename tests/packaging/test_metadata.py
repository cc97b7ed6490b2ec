"""What the package says about itself."""

import re
import tomllib
from importlib import import_module, metadata, resources
from pathlib import Path
from typing import Any

import kuploy_saas_kit

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]


def test_version_is_the_same_everywhere() -> None:
    """`__version__`, the installed metadata and pyproject.toml name one version."""
    assert kuploy_saas_kit.__version__ == metadata.version("kuploy-saas-kit") == PROJECT["version"]


def test_changelog_knows_the_version() -> None:
    """The newest heading of the changelog is this version, or `Unreleased` above it."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings[:1] == ["Unreleased"] or released[:1] == [PROJECT["version"]]
    assert not released or released[0] == PROJECT["version"]


def test_is_typed() -> None:
    """The marker that lets type checkers read the annotations is part of the package."""
    assert resources.files("kuploy_saas_kit").joinpath("py.typed").is_file()


def test_all_extras_are_in_all() -> None:
    """`[all]` installs every other extra."""
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.partition("[")[2].rstrip("]").split(",")
    assert sorted(named) == sorted(extras.keys() - {"all"})


def test_commands_exist() -> None:
    """Every console script points at something callable."""
    for target in PROJECT["scripts"].values():
        module, _, name = target.partition(":")
        assert callable(getattr(import_module(module), name))
