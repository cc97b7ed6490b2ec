"""A million orgs known to the gate: bytes for each, and what a publication costs. In a process of its own.

    python benchmarks/_scale.py [orgs]

Prints JSON. Garbage collection is off while anything is timed.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import thread_time_ns

from _rounds import no_collection
from _world import make_catalog, make_gate

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.model.subscription import Assignment, OrgStanding
from kuploy_saas_kit.plans import Gate, LicenseGrant, PlanCatalog
from kuploy_saas_kit.testing.gates import FixedSnapshot

FEATURES = tuple(f"feature-{n:02d}" for n in range(30))
FEW = 1000
"""Enough orgs for every plan to have one."""
ROUNDS = 7

_STATM = Path("/proc/self/statm")


class ManyOrgs(MemoryStore):
    """Knows what any org is on without holding it, so that what grows is the gate's own memory."""

    def __init__(self, catalog: PlanCatalog) -> None:
        super().__init__()
        self.replace_plans(catalog, revision=1)
        self._standings = [_standing(plan.slug) for plan in catalog]

    def standing(self, org_id: str) -> OrgStanding:
        """One of the plans, by the number that the org's id begins with."""
        return self._standings[int(org_id[:8], 16) % len(self._standings)]


def _standing(slug: str) -> OrgStanding:
    assigned = Assignment(
        org_id="", plan=slug, actor="benchmark", reason="benchmark", assigned_at=datetime(2026, 11, 20, tzinfo=UTC)
    )
    return OrgStanding(assignment=assigned, version=1)


def resident_bytes() -> int | None:
    """What this process has in memory; None where the system does not say."""
    if not _STATM.exists():
        return None
    return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_plans(count: int, seed: int) -> PlanCatalog:
    """*count* plans, each with half of the features."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    return make_catalog({f"plan-{n:04d}": draw.sample(FEATURES, len(FEATURES) // 2) for n in range(count)})


def fill(gate: Gate, org_ids: Sequence[str]) -> None:
    """Let the gate get to know the orgs, through its front door."""
    with no_collection():
        for org_id in org_ids:
            gate.allows(org_id, FEATURES[0])


def publications(few: Gate, all_: Gate, plans: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a publication with few orgs kept and with all of them, in interleaved rounds."""
    catalogs = [make_plans(plans, seed) for seed in (1, 2)]
    snapshots = [FixedSnapshot(grant=LicenseGrant("benchmark", FEATURES[:n])) for n in (20, 25)]
    verbs: dict[str, Callable[[Gate, int], None]] = {
        "publish_license": lambda gate, n: gate.publish_license(snapshots[n % 2]),
        "publish_plans": lambda gate, n: gate.publish_plans(catalogs[n % 2]),
    }
    figures = {}
    for name, verb in verbs.items():
        rounds = [[_timed(verb, gate, n) for gate in (few, all_)] for n in range(ROUNDS)]
        figures[name] = {
            "few_ms": min(first for first, _ in rounds),
            "all_ms": min(second for _, second in rounds),
            "ratio": median(second / first for first, second in rounds),
        }
    return figures


def _timed(verb: Callable[[Gate, int], None], gate: Gate, number: int) -> float:
    with no_collection():
        start = thread_time_ns()
        verb(gate, number)
        return (thread_time_ns() - start) / 1e6


def at_scale(plans: int, org_ids: Sequence[str]) -> dict[str, object]:
    """The figures for one number of plans."""
    catalog = make_plans(plans, seed=1)
    few, all_ = (make_gate(FEATURES, FEATURES, ManyOrgs(catalog)) for _ in range(2))
    fill(few, org_ids[:FEW])
    fill(all_, org_ids[:FEW])
    before = resident_bytes()
    start = thread_time_ns()
    fill(all_, org_ids[FEW:])
    cold = (thread_time_ns() - start) / (len(org_ids) - FEW)
    after = resident_bytes()
    return {
        "bytes_per_org": None if before is None or after is None else (after - before) / (len(org_ids) - FEW),
        "first_question_ns": cold,
        "publications": publications(few, all_, plans),
    }


def main() -> None:
    """Print the figures for 10 and 1,000 plans."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    draw = random.Random(11)  # noqa: S311 - no secret
    org_ids = [f"{n:08x}{draw.randbytes(12).hex()}" for n in range(count)]
    print(json.dumps({"orgs": count, "plans": {plans: at_scale(plans, org_ids) for plans in (10, 1000)}}))


if __name__ == "__main__":
    main()
