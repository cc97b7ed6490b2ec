"""A million orgs known to the gate: bytes for each, and what a publication costs. In a process of its own.

    python benchmarks/_scale.py 1000000 10

Takes the number of orgs and of plans, and prints JSON. Garbage collection is off while anything is timed.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any

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
        return self._standings[_plan_number(org_id, len(self._standings))]


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


def publications(few: Gate, all_: Gate, plans: int, org_ids: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds of a publication with few orgs kept and with all of them, in interleaved rounds."""
    licenses, catalogs = (FEATURES[:20], FEATURES[:25]), (make_plans(plans, seed=1), make_plans(plans, seed=2))
    snapshots = [FixedSnapshot(grant=LicenseGrant("benchmark", licensed)) for licensed in licenses]
    times: dict[str, list[tuple[float, float]]] = {"publish_license": [], "publish_plans": []}
    for number in range(ROUNDS):
        new = number % 2
        for name, verb, argument in (
            ("publish_license", Gate.publish_license, snapshots[new]),
            ("publish_plans", Gate.publish_plans, catalogs[new]),
        ):
            times[name].append((_timed(verb, few, argument), _timed(verb, all_, argument)))
        for gate in (few, all_):
            verify(gate, org_ids[:100], licenses[new], catalogs[new])
    return {
        name: {
            "few_ms": min(first for first, _ in rounds),
            "all_ms": min(second for _, second in rounds),
            "ratio": median(second / first for first, second in rounds),
        }
        for name, rounds in times.items()
    }


def verify(gate: Gate, org_ids: Iterable[str], licensed: Sequence[str], catalog: PlanCatalog) -> None:
    """Stop the run unless the kept answers follow what was published."""
    for org_id in org_ids:
        plan = catalog.plans[_plan_number(org_id, len(catalog))]
        for feature in FEATURES:
            want = feature in licensed and plan.entitlements.allows(feature)
            if gate.allows(org_id, feature) is not want:
                raise SystemExit(f"wrong answer after a publication, for {org_id} and {feature}: not {want}")


def _timed(publish: Callable[[Gate, Any], None], gate: Gate, argument: object) -> float:
    with no_collection():
        start = thread_time_ns()
        publish(gate, argument)
        return (thread_time_ns() - start) / 1e6


def _plan_number(org_id: str, plans: int) -> int:
    return int(org_id[:8], 16) % plans


def at_scale(plans: int, org_ids: Sequence[str]) -> dict[str, object]:
    """Bytes an org, the time of its first question, and publications."""
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
        "publications": publications(few, all_, plans, org_ids),
    }


def main() -> None:
    """Print the figures."""
    orgs, plans = (int(argument) for argument in sys.argv[1:])
    draw = random.Random(11)  # noqa: S311 - no secret
    org_ids = [f"{n:08x}{draw.randbytes(12).hex()}" for n in range(orgs)]
    print(json.dumps(at_scale(plans, org_ids)))


if __name__ == "__main__":
    main()
