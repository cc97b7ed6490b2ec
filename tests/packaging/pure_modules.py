"""Print the files of the pure modules as patterns for `coverage report --include`.

Which modules are pure stands once, in the import contract `pure` of pyproject.toml.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pure_modules() -> list[str]:
    """The dotted names in the import contract `pure`."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["id"]: contract for contract in config["tool"]["importlinter"]["contracts"]}
    return list(contracts["pure"]["source_modules"])


def patterns() -> list[str]:
    """One pattern for each module: the file, or all that the package holds."""
    paths = ["src/" + name.replace(".", "/") for name in pure_modules()]
    return [f"{path}/*" if (ROOT / path).is_dir() else f"{path}.py" for path in paths]


if __name__ == "__main__":
    sys.stdout.write(",".join(patterns()) + "\n")
