"""`kuploy-saas-kit license sync`: one exchange with the hub."""

from __future__ import annotations

import argparse

from kuploy_saas_kit.cli.license.codes import mend_of
from kuploy_saas_kit.cli.license.status import headline, notes
from kuploy_saas_kit.cli.output import complain, say, say_json
from kuploy_saas_kit.cli.wiring import open_kit
from kuploy_saas_kit.license import LicenseSnapshot, SyncResult


def run(parsed: argparse.Namespace) -> int:
    """Sync now; 2 if nothing came of it."""
    with open_kit(parsed) as opened:
        result = opened.kit.license.sync()
        snapshot = opened.kit.license.snapshot()
    if parsed.json:
        say_json(sync_document(result, snapshot))
    else:
        say(*sync_lines(result, snapshot))
    if not result.ok:
        complain(f"not synced ({named_code(result)}): {mend(result)}")
    return 0 if result.ok else 2


def sync_lines(result: SyncResult, snapshot: LicenseSnapshot) -> list[str]:
    """How it ended, and the license after it."""
    ended = f"synced: revision {snapshot.revision}" if result.ok else "nothing has changed"
    return [ended, f"the license is {headline(snapshot)}", *notes(snapshot)]


def sync_document(result: SyncResult, snapshot: LicenseSnapshot) -> dict[str, object]:
    """The same for machines."""
    return {
        "ok": result.ok,
        "code": result.code,
        "hub_code": result.hub_code,
        "mend": mend(result),
        "status": result.status,
        "revision": snapshot.revision,
    }


def named_code(result: SyncResult) -> str:
    """The code of *result*, with the hub's own where it said one."""
    return result.code if result.hub_code is None else f"{result.code}, {result.hub_code}"


def mend(result: SyncResult) -> str | None:
    """What to do, if something is to be done."""
    return None if result.ok else mend_of(result.code, result.hub_code)
