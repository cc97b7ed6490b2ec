"""Import the modules that are named as arguments, and fail if anything from outside the standard library came along.

A script for a fresh interpreter: `python -I import_guard.py kuploy_saas_kit`. It needs nothing but Python, so that it
also runs in an environment that holds only the built wheel.
"""

import importlib
import sys


def third_party(before: set[str]) -> list[str]:
    """The top-level names in `sys.modules` that are not in *before*, not Python's and not ours."""
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    return sorted(loaded - sys.stdlib_module_names - {"kuploy_saas_kit"})


def main(names: list[str]) -> int:
    """Import *names* and say what came along; 0 if it was only the standard library."""
    before = set(sys.modules)
    for name in names:
        importlib.import_module(name)
    guests = third_party(before)
    if guests:
        sys.stderr.write(f"importing {', '.join(names)} also loaded {', '.join(guests)}\n")
    return bool(guests)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
