"""Many threads in several processes take and give back on one store: nothing over its cap, nothing lost.

`python -m tests.adapters.soak 100000` does so on SQLite, on a PostgreSQL and on a Redis of its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import RedisStore, SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.plans.ports import Claim, TakeOutcome
from kuploy_saas_kit.testing.conformance.crew import ProcessCrew
from kuploy_saas_kit.testing.servers import PostgresServer, RedisServer

PROCESSES: Final = 4
THREADS: Final = 16
ORGS: Final = tuple(f"org{number}" for number in range(8))
ORG_CAP: Final = 20
INSTANCE_CAP: Final = 100
LIMIT: Final = "maxProjects"
PATIENCE: Final = timedelta(hours=1)
"""The longest soak."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What some workers did. *held* is what they took and did not give back, by scope."""

    operations: int
    granted: int
    over: int
    tried_again: int
    held: dict[str, int]


@dataclass(frozen=True, slots=True)
class Soaked:
    """What all did, and what the store says at the end."""

    tally: Tally
    counted: dict[str, int]

    @property
    def lost(self) -> int:
        """Units by which the counters differ from what was granted and not given back."""
        scopes = {*self.counted, *self.tally.held}
        return sum(abs(self.counted.get(scope, 0) - self.tally.held.get(scope, 0)) for scope in scopes)


def soak(url: str, operations: int, *, processes: int = PROCESSES) -> Soaked:
    """Let all processes work on the store at *url*, whose counters are set to 0 before."""
    with closing(open_store(url)) as store:
        for scope in ("", *ORGS):
            store.seed_usage((scope, LIMIT), 0)
        with ProcessCrew(partial(open_store, url), workers=processes, patience=PATIENCE) as crew:
            tally = _sum(crew.race(partial(_work, operations // processes)))
        return Soaked(tally, {scope: store.usage_of(scope)[LIMIT] for scope in ("", *ORGS)})


def open_store(url: str) -> SqlStore | RedisStore:
    """The store at *url*."""
    return RedisStore.from_url(url) if url.startswith("unix:") else SqlStore.from_url(url)


def _work(operations: int, store: SqlStore | RedisStore, number: int) -> Tally:
    with ThreadPoolExecutor(THREADS) as threads:
        seeds = [number * THREADS + thread for thread in range(THREADS)]
        return _sum(list(threads.map(lambda seed: _one_thread(store, -(-operations // THREADS), seed), seeds)))


def _one_thread(store: SqlStore | RedisStore, operations: int, seed: int) -> Tally:
    random, held, seen = Random(seed), Counter[str](), Counter[str]()  # noqa: S311 - which org is no secret
    for _ in range(operations):
        mine = [org for org in ORGS if held[org]]
        org = random.choice(mine if mine and random.random() < 0.5 else ORGS)
        amount = random.randint(1, 3)
        while not (done := _one_operation(store, org, amount, held, seen)):
            seen["tried_again"] += 1
        seen["operations"] += done
    return Tally(seen["operations"], seen["granted"], seen["over"], seen["tried_again"], dict(held))


def _one_operation(store: SqlStore | RedisStore, org: str, amount: int, held: Counter[str], seen: Counter[str]) -> bool:
    claims = [Claim(org, LIMIT, amount, ORG_CAP), Claim("", LIMIT, amount, INSTANCE_CAP)]
    try:
        if held[org] >= amount:
            store.give_back({claim.counter: amount for claim in claims})
            held.subtract({org: amount, "": amount})
            return True
        taken = store.take(claims)
    except StorageError:
        return False  # a store that is too busy says so, and has done nothing
    if taken.outcome is TakeOutcome.TAKEN:
        held.update({org: amount, "": amount})
        seen["granted"] += 1
        seen["over"] += any(taken.used[claim.counter] > claim.cap for claim in claims)
    return True


def _sum(tallies: list[Tally]) -> Tally:
    held = Counter[str]()
    for tally in tallies:
        held.update(tally.held)
    return Tally(
        sum(tally.operations for tally in tallies),
        sum(tally.granted for tally in tallies),
        sum(tally.over for tally in tallies),
        sum(tally.tried_again for tally in tallies),
        dict(held),
    )


@contextmanager
def _places() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as postgres, RedisServer() as redis:
        yield {"SQLite": f"sqlite:///{Path(folder) / 'kit.db'}", "PostgreSQL": postgres.url, "Redis": redis.url}


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(operations: int) -> int:
    """Soak each store and tell what came of it; 1 if anything was over or lost."""
    clock, failed = SystemClock(), False
    with _places() as places:
        for name, url in places.items():
            with closing(open_store(url)) as store:
                store.migrate()
            began = clock.elapsed()
            soaked = soak(url, operations)
            tally, took = soaked.tally, (clock.elapsed() - began).total_seconds()
            _tell(
                f"{name}: {tally.operations} operations of {THREADS} threads × {PROCESSES} processes in {took:.0f} s,"
                f" {tally.granted} grants, {tally.over} over, {soaked.lost} lost, {tally.tried_again} tried again"
            )
            failed = failed or bool(tally.over or soaked.lost) or tally.granted == 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
