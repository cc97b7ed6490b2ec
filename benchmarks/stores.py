"""How fast stores take a limit of an org and of the instance in one step, beside the best forms written by hand.

    python benchmarks/stores.py [--seconds 0.5] [--rounds 7] [--only Redis]

Each round times all forms, every other round in reverse, on the same server and with the same number of connections.
The ratio to a form written by hand is taken inside the round; shown is the median of the rounds, for the form that
makes it least. Servers run on this machine, reached through socket files. SQLite and PostgreSQL are timed as they come,
which is durable: each take is on the disk when it returns, and the target is held against that. Without durability,
what is left is the work around one round trip; those rows, and takes that are refused, are for comparison. Nothing here
enforces a target.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psycopg
import redis
from _targets import Target, table
from sqlalchemy import create_engine, event, text

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.adapters import RedisStore, SqlStore
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.subscription import Assignment
from kuploy_saas_kit.plans.ports import Claim
from kuploy_saas_kit.testing.servers import PostgresServer, RedisServer

LIMIT = "maxProjects"
CAP = 2**62
ORGS = [f"org{number}" for number in range(1000)]
SHARE = 0.85

Take = Callable[[str], object]
MakeTake = Callable[[ExitStack], Take]

# The org, the limit, the amount and both caps are parameters: they differ from call to call, as each plan has caps of
# its own.
SQLITE = """
UPDATE kuploy_saas_usage SET used = used + ?3
WHERE limit_key = ?2 AND scope IN (?1, '') AND 2 = (
  SELECT count(*) FROM kuploy_saas_usage
  WHERE limit_key = ?2 AND scope IN (?1, '') AND used + ?3 <= CASE scope WHEN '' THEN ?5 ELSE ?4 END)
RETURNING scope, used
"""

# The org's row first and the hot one last; what was taken is taken back on a refusal.
POSTGRESQL = """
CREATE FUNCTION take_two(org text, of_limit text, amount bigint, cap bigint, instance_cap bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE after bigint;
BEGIN
  UPDATE kuploy_saas_usage SET used = used + amount
  WHERE scope = org AND limit_key = of_limit AND used + amount <= cap RETURNING used INTO after;
  IF NOT FOUND THEN RETURN NULL; END IF;
  UPDATE kuploy_saas_usage SET used = used + amount
  WHERE scope = '' AND limit_key = of_limit AND used + amount <= instance_cap;
  IF NOT FOUND THEN
    UPDATE kuploy_saas_usage SET used = used - amount WHERE scope = org AND limit_key = of_limit;
    RETURN NULL;
  END IF;
  RETURN after;
END $$
"""

REDIS = """
local org, all = tonumber(redis.call('GET', KEYS[1])), tonumber(redis.call('GET', KEYS[2]))
if org + 1 > tonumber(ARGV[1]) or all + 1 > tonumber(ARGV[1]) then return false end
return {redis.call('INCR', KEYS[1]), redis.call('INCR', KEYS[2])}
"""


CAPS = {"": (CAP, CAP), ", refused by the org": (0, CAP), ", refused by the instance": (CAP, 0)}


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and the same step written by hand for it; each maker gives one worker's own connection, or the store.

    *is_target*: the target is held against it; else it is for comparison.
    """

    name: str
    ours: MakeTake
    by_hand: tuple[MakeTake, ...]
    is_target: bool = True


def seeded(store: SqlStore | RedisStore) -> SqlStore | RedisStore:
    """The store with every counter at 0."""
    store.migrate()
    for scope in ("", *ORGS):
        store.seed_usage((scope, LIMIT), 0)
    return store


def taken_by(store: SqlStore | RedisStore, cap: int = CAP, instance_cap: int = CAP) -> MakeTake:
    """The kit's own way; a store is shared by all workers, as in a host."""

    def make(_: ExitStack) -> Take:
        return lambda org: store.take([Claim(org, LIMIT, 1, cap), Claim("", LIMIT, 1, instance_cap)])

    return make


@contextmanager
def sqlite_place(*, is_durable: bool = True) -> Iterator[tuple[Place, ...]]:
    """A file; by hand one statement on the driver's own connection.

    Each worker has one, with and without a lock that workers wait for, or all share one under the lock.
    """
    synchronous = 2 if is_durable else 0  # FULL, which is what connections have by themselves, or OFF
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kit.db"

        def connected(exits: ExitStack) -> sqlite3.Connection:
            connection = exits.enter_context(
                closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30))
            )
            set_synchronous(connection, synchronous)
            return connection

        def by_hand(
            exits: ExitStack,
            cap: int = CAP,
            turn: AbstractContextManager[object] | None = None,
            shared: sqlite3.Connection | None = None,
        ) -> Take:
            connection = shared or connected(exits)

            def take(org: str) -> object:
                with turn or nullcontext():
                    return connection.execute(SQLITE, (org, LIMIT, 1, cap, cap)).fetchall()

            return take

        store = SqlStore.from_url(f"sqlite:///{file}?timeout=30")
        event.listen(store._engine, "connect", lambda connection, _: set_synchronous(connection, synchronous))  # noqa: SLF001
        with closing(seeded(store)), ExitStack() as exits:
            in_turn = partial(by_hand, turn=threading.Lock())
            forms = (by_hand, in_turn, partial(in_turn, shared=connected(exits)))
            name = "SQLite" if is_durable else "SQLite, synchronous = OFF"
            yield (
                Place(name, taken_by(store), forms, is_target=is_durable),
                Place(f"{name}, refused", taken_by(store, 0, 0), (partial(by_hand, cap=0),), is_target=False),
            )


def set_synchronous(connection: sqlite3.Connection, value: int) -> None:
    """Both forms are as durable as each other: where nothing is changed, it is what the connection has by itself."""
    if value:
        assert connection.execute("PRAGMA synchronous").fetchone() == (value,)
    connection.execute(f"PRAGMA synchronous = {value}")


@contextmanager
def postgres_place(*, is_durable: bool = True) -> Iterator[tuple[Place, ...]]:
    """A server; by hand one prepared call of a function on the driver's own connection."""
    fsync = "on" if is_durable else "off"
    with PostgresServer({"fsync": fsync}) as server, closing(seeded(SqlStore.from_url(server.url))) as store:
        with psycopg.connect(server.url, autocommit=True) as connection:
            assert connection.execute("SHOW fsync").fetchone() == (fsync,)
            connection.execute(POSTGRESQL)

        def by_hand(exits: ExitStack, caps: tuple[int, int]) -> Take:
            own = exits.enter_context(psycopg.connect(server.url, autocommit=True, prepare_threshold=0))
            call = "SELECT take_two(%s, %s, %s, %s, %s)"
            return lambda org: own.execute(call, (org, LIMIT, 1, *caps)).fetchone()

        name = "PostgreSQL" if is_durable else "PostgreSQL, fsync = off"
        yield tuple(
            Place(
                name + refused,
                taken_by(store, *caps),
                (partial(by_hand, caps=caps),),
                is_target=is_durable and not refused,
            )
            for refused, caps in CAPS.items()
        )


@contextmanager
def redis_place() -> Iterator[tuple[Place, ...]]:
    """A server; by hand one script of two keys through the same client package."""
    with RedisServer() as server, closing(seeded(RedisStore.from_url(server.url))) as store:
        client = redis.Redis.from_url(server.url, decode_responses=True)
        client.mset({f"hand:{scope}": 0 for scope in ("", *ORGS)})

        def by_hand(_: ExitStack) -> Take:
            script: Any = client.register_script(REDIS)
            return lambda org: script(keys=[f"hand:{org}", "hand:"], args=[CAP])

        with closing(client):
            yield (Place("Redis", taken_by(store), (by_hand,)),)


PLACES = {
    "SQLite": (sqlite_place, partial(sqlite_place, is_durable=False)),
    "PostgreSQL": (postgres_place, partial(postgres_place, is_durable=False)),
    "Redis": (redis_place,),
}


def throughput(make: MakeTake, workers: int, orgs: Sequence[str], seconds: float) -> float:
    """Takes a second, of all workers together."""
    counts = [0] * workers
    with ExitStack() as exits:
        takes = [make(exits) for _ in range(workers)]
        for take in takes:
            take(orgs[0])  # connections are opened, statements compiled
        start = threading.Barrier(workers)

        def work(worker: int) -> None:
            take, turn = takes[worker], cycle([*orgs[worker:], *orgs[:worker]])
            start.wait()
            end = perf_counter() + seconds
            while perf_counter() < end:
                take(next(turn))
                counts[worker] += 1

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (perf_counter() - began)


def takes(place: Place, rounds: int, seconds: float) -> Iterator[Target]:
    """How near the store comes to what is written by hand."""
    for workers in (1, 8):
        for shape, orgs in (("one hot org", ORGS[:1]), ("1,000 orgs", ORGS)):
            ours: list[float] = []
            ratios: dict[MakeTake, list[float]] = {form: [] for form in place.by_hand}
            for number in range(rounds):
                forms = (place.ours, *place.by_hand)[:: -1 if number % 2 else 1]
                timed = {form: throughput(form, workers, orgs, seconds) for form in forms}
                ours.append(timed[place.ours])
                for form in place.by_hand:
                    ratios[form].append(timed[place.ours] / timed[form])
            what = f"{place.name}, {workers} worker{'s'[: workers - 1]}, {shape} ({median(ours):,.0f}/s)"
            yield Target(what, min(map(median, ratios.values())), SHARE, "×", at_least=True)


def a_million_orgs() -> Iterator[Target]:
    """Reading what one of a million orgs is on, beside one of ten; a catalog that did not change, beside the first.

    The catalog is made anew each time, as one that comes from the hub is.
    """
    with PostgresServer({"fsync": "on"}) as server, closing(SqlStore.from_url(server.url)) as store:
        store.migrate()
        first = _replaced(store, 1)
        again = median(_replaced(store, 1) for _ in range(5))
        under_another = median(_replaced(store, revision) for revision in range(2, 7))
        few = _standing(store, 10, server.url)
        many = _standing(store, 1_000_000, server.url)
    yield Target("1,000 plans written again unchanged, of the first time", again / first * 100, 5, "%")
    yield Target("the same under a new revision, of the first time", under_another / first * 100, 5, "%")
    yield Target(f"standing() among 1,000,000 orgs ({many * 1e6:,.0f} µs), of that among 10", many / few, 1.5, "×")


def _replaced(store: SqlStore, revision: int) -> float:
    """The seconds that storing a catalog of 1,000 plans took."""
    plans = [
        Plan(f"plan{number}", f"Plan {number}", Price(100 + number, "cad", "monthly"), limits={LIMIT: number})
        for number in range(999)
    ]
    catalog = PlanCatalog([Plan("free", "Free", is_default=True), *plans])
    return _seconds(lambda: store.replace_plans(catalog, revision=revision))


def _standing(store: SqlStore, orgs: int, url: str) -> float:
    now = SystemClock().now()
    store.put_assignment(Assignment(org_id="template", plan="free", actor="bench", reason="bench", assigned_at=now))
    copied = text(
        "INSERT INTO kuploy_saas_assignment (org_id, plan, actor, reason, assigned_at, until)"
        " SELECT 'org' || n, plan, actor, reason, assigned_at, until"
        " FROM kuploy_saas_assignment, generate_series(1, :orgs) AS n WHERE org_id = 'template'"
        " ON CONFLICT DO NOTHING"
    )
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(copied, {"orgs": orgs})
        connection.execute(text("ANALYZE kuploy_saas_assignment"))
    engine.dispose()
    return median(_seconds(partial(store.standing, f"org{1 + number * orgs // 500}")) for number in range(500))


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=PLACES, help="time the takes of this store and nothing else")
    asked = parser.parse_args()
    held: list[Target] = []
    compared: list[Target] = []
    for name, places in PLACES.items():
        for open_places in places if asked.only in {None, name} else ():
            with open_places() as opened:
                for place in opened:
                    (held if place.is_target else compared).extend(takes(place, asked.rounds, asked.seconds))
    if asked.only is None:
        unchanged, under_another_revision, standing = a_million_orgs()
        held += unchanged, standing
        compared.append(under_another_revision)
    what = "take of org + instance, of what is written by hand"
    print(table((what, "measured", "target", "held"), (target.row for target in held)))
    if compared:
        print()
        print(table(("for comparison", "measured"), (target.row[:2] for target in compared)))


if __name__ == "__main__":
    main()
