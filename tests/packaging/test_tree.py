"""What holds for every file of the project."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+]+)( ; .+)?")

# In two pieces each, so that this file does not match itself.
ADDRESSES = [
    "index" + "-url",
    "find" + "-links",
    "py" + "pi.org",
    "python" + "hosted.org",
    "registry." + "npmjs",
    "/sim" + "ple/",
]
MACHINE_PATHS = ["/wo" + "rk/", "/ro" + "ot/", "/fa" + "rm/", "/ho" + "me/", "/Us" + "ers/", "/opt/" + "py"]


def tracked_texts() -> Iterator[tuple[str, str]]:
    """The path and the text of every file that git tracks and that is text."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    for name in filter(None, listing.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


def pins() -> list[re.Match[str] | None]:
    """Each line of constraints.txt, as the parts of a pin, or None where it is something else."""
    return [PIN.fullmatch(line) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]


def declared_requirements() -> Iterator[Requirement]:
    """Every third-party requirement that pyproject.toml names."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = config["project"]
    lists = [
        config["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *config["dependency-groups"].values(),
    ]
    for item in (item for items in lists for item in items):
        if isinstance(item, str) and canonicalize_name(Requirement(item).name) != project["name"]:
            yield Requirement(item)


def test_constraints_are_pins_and_nothing_else() -> None:
    """constraints.txt holds exact versions, and no options, addresses or comments."""
    assert all(pins())


def test_every_requirement_is_pinned() -> None:
    """Each requirement has pins, and each of them satisfies it (`make constraints` brings it up to date)."""
    pinned: dict[str, list[str]] = {}
    for pin in filter(None, pins()):
        pinned.setdefault(pin["name"], []).append(pin["version"])
    for requirement in declared_requirements():
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} has no pin"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}, pinned {versions}"


@pytest.mark.parametrize("pattern", ADDRESSES + MACHINE_PATHS)
def test_no_tracked_file_names(pattern: str) -> None:
    """No file names a package registry or a folder of the machine that it was written on."""
    assert [name for name, text in tracked_texts() if pattern in text] == []


def test_ci_runs_what_the_readme_says() -> None:
    """The README's make commands are targets, and CI calls its test command."""
    commands = set(re.findall(r"^\$ make ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= commands <= targets
    assert "make test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
