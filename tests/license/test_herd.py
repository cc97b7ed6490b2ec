"""Many instances at once, simulated: pure schedules and seeded dice."""

import heapq
import random
from collections import Counter
from datetime import timedelta

from kuploy_saas_kit.license.schedule import Schedule

INSTANCES = 4000
PERIOD = timedelta(seconds=60)
DOWN_FROM, DOWN_UNTIL, END = timedelta(minutes=10), timedelta(minutes=70), timedelta(minutes=80)
STEADY = INSTANCES / PERIOD.total_seconds()


def simulate(seed: int) -> tuple[Counter[int], list[float]]:
    """Requests in each ten seconds, and how long after the outage each instance was synced again."""
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    load: Counter[int] = Counter()
    waiting = set(range(INSTANCES))
    resynced: list[float] = []
    due = [(PERIOD * dice.random(), number, Schedule()) for number in range(INSTANCES)]
    heapq.heapify(due)
    while due[0][0] < END:
        now, number, schedule = heapq.heappop(due)
        load[int(now.total_seconds()) // 10] += 1
        if DOWN_FROM <= now < DOWN_UNTIL:
            schedule = schedule.after_failure(now, None, dice.random())
        else:
            schedule = schedule.after_success(now, PERIOD, dice.random())
            if now >= DOWN_UNTIL and number in waiting:
                waiting.remove(number)
                resynced.append((now - DOWN_UNTIL).total_seconds())
        assert schedule.due is not None
        heapq.heappush(due, (schedule.due, number, schedule))
    return load, resynced


def test_a_herd_comes_back_without_a_stampede() -> None:
    """F61: after an hour's outage the peak is at most 1.2 × steady, and 99 % are synced within 300 s."""
    load, resynced = simulate(seed=1)
    after = [count / 10 for slot, count in load.items() if slot * 10 >= DOWN_UNTIL.total_seconds()]
    # Four thousand instances are noisy where a million are not: three standard deviations are allowed for it.
    noise = 3 * (STEADY / 10) ** 0.5
    assert max(after) <= 1.2 * STEADY + noise
    assert len(resynced) == INSTANCES
    assert sorted(resynced)[int(INSTANCES * 0.99)] <= 300


def test_an_outage_is_no_more_load_than_peace() -> None:
    """Back-off halves the load while the hub is down."""
    load, _ = simulate(seed=2)
    down = [load[slot] / 10 for slot in range(120, 420)]
    assert sum(down) / len(down) <= 0.5 * STEADY * 1.1
