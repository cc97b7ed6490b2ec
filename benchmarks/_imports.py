"""What `import kuploy_saas_kit.plans` costs a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

KIT = "import kuploy_saas_kit.plans"
NAMES = "from kuploy_saas_kit.plans import Gate, LicenseGrant, Plan, PlanCatalog"
LIBRARY = "import contextlib, dataclasses, datetime, enum, threading, typing"
"""A yardstick: what nearly every package needs of the standard library."""

_TIMED = """
import sys, time
before = set(sys.modules)
start = time.process_time()
{statement}
took = time.process_time() - start
import json
print(json.dumps([took * 1e3, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def import_times(rounds: int) -> tuple[dict[str, float], list[str]]:
    """Milliseconds by statement, the best of *rounds* fresh interpreters, and the third-party modules that came along.

    Processor time, in which other work of the machine does not show. The interpreter's own start is not in it, and
    bytecode is written in a round before the first.
    """
    times: dict[str, list[float]] = {statement: [] for statement in (LIBRARY, KIT, NAMES)}
    loaded: set[str] = set()
    with TemporaryDirectory() as bytecode:
        for number in range(rounds + 1):
            for statement in times:
                took, modules = _run(statement, bytecode)
                loaded.update(modules)
                times[statement] += [took] if number else []
    foreign = loaded - sys.stdlib_module_names - {"kuploy_saas_kit"}
    return {statement: min(took) for statement, took in times.items()}, sorted(foreign)


def _run(statement: str, bytecode: str) -> tuple[float, list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    command = [sys.executable, "-c", _TIMED.format(statement=statement)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)  # noqa: S603 - our own text
    took, modules = json.loads(done.stdout)
    return took, modules
