"""What one of several processes does to the counters of one store. It is apart because they all have to load it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kuploy_saas_kit.errors import LimitExceededError
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Gate, Plan, PlanCatalog
from kuploy_saas_kit.testing.gates import FixedLicense, FixedPlans, FixedSnapshot

ORGS = ("one", "two", "three")
ORG_CAP, INSTANCE_CAP = 5, 11
LIMIT = "maxProjects"


def gate_over(store: Any, clock: Any = None, *, org_cap: int = ORG_CAP, instance_cap: int = INSTANCE_CAP) -> Gate:
    """A gate with one plan, a cap for each org and one for all of them."""
    plan = Plan("only", "Only", limits={LIMIT: org_cap, "maxApps": org_cap}, is_default=True)
    snapshot = FixedSnapshot(KUPLOY_CLOUD.tiers["enterprise"], caps={LIMIT: instance_cap, "maxApps": instance_cap})
    return Gate(
        license=FixedLicense(snapshot),
        plans=FixedPlans(PlanCatalog([plan])),
        subscriptions=store,
        usage=store,
        clock=clock,
    )


def hammer(store: Any, seed: int) -> Counter[str]:
    """One process with four threads that acquire, release and reserve; what it still holds at the end, by org."""
    gate = gate_over(store, org_cap=40, instance_cap=90)

    def work(turn: int) -> Counter[str]:
        kept: Counter[str] = Counter()
        for step in range(12):
            org_id = ORGS[(seed + turn + step) % len(ORGS)]
            if step % 5 == 4 and kept[org_id]:
                gate.release(org_id, LIMIT)
                kept[org_id] -= 1
            elif step % 3 == 0:
                kept[org_id] += _reserved(gate, org_id, keep=step % 2 == 0)
            elif gate.acquire_all(org_id, {LIMIT: 1, "maxApps": 1}).granted:
                gate.release(org_id, "maxApps")
                kept[org_id] += 1
        return kept

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(work, range(4)), Counter[str]())


def _reserved(gate: Gate, org_id: str, *, keep: bool) -> int:
    try:
        reservation = gate.reserve(org_id, LIMIT)
    except LimitExceededError:
        return 0
    if keep:
        reservation.commit()
        return 1
    reservation.release()
    return 0
