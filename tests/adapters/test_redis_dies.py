"""Redis goes away in the middle of every verb: a clear error, nothing half-written, nothing done twice."""

import inspect
import re
import select
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.ways import Way
from tests.conftest import why_no_redis
from tests.kit.world import make_world

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import AsyncRedisStore, RedisStore
from kuploy_saas_kit.adapters.awaited import AwaitedCounting
from kuploy_saas_kit.adapters.redis.client import unanswered
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license import LicenseStatus
from kuploy_saas_kit.plans import KUPLOY_CLOUD, GatePolicy, Reason
from kuploy_saas_kit.plans.ports import MeterEntry
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import MINUTE, NOW
from kuploy_saas_kit.testing.conformance.license import CLAIM, RECORD
from kuploy_saas_kit.testing.conformance.threads import FromThreads
from kuploy_saas_kit.testing.conformance.usage import claims, seed
from kuploy_saas_kit.testing.servers import RedisServer

if reason := why_no_redis():
    pytest.skip(reason, allow_module_level=True)

Verb = Callable[[Any], object]

VERBS: dict[str, Verb] = {
    "take": lambda store: store.take(claims()),
    "take under a key": lambda store: store.take(claims(org="umbrella"), key="new", ttl=MINUTE),
    "take that sweeps": lambda store: store.take(claims(3, cap=8), key="new"),
    "give_back": lambda store: store.give_back({("acme", "maxProjects"): 1, ("", "maxProjects"): 1}),
    "usage_of": lambda store: store.usage_of("acme"),
    "seed_usage": lambda store: store.seed_usage(("third", "maxProjects"), 1),
    "put_usage": lambda store: store.put_usage("acme", "maxProjects", 3),
    "settle_holding": lambda store: store.settle_holding("acme", "held"),
    "release_holding": lambda store: store.release_holding("acme", "held"),
    "sweep_holdings": lambda store: store.sweep_holdings(),
    "add_meter": lambda store: store.add_meter(
        "e1", [MeterEntry("acme", "build", NOW, 5), MeterEntry("", "build", NOW, 5)]
    ),
    "meter_total": lambda store: store.meter_total("acme", "build", NOW),
    "announce_once": lambda store: store.announce_once("80 %"),
    "changes": lambda store: store.changes(None),
    "publish_change": lambda store: store.publish_change("acme"),
    "load_license": lambda store: store.load_license(),
    "save_license": lambda store: store.save_license(RECORD),
    "save_mark": lambda store: store.save_mark(NOW + MINUTE),
    "ensure_instance_id": lambda store: store.ensure_instance_id("inst_2"),
    "load_license_key": lambda store: store.load_license_key(),
    "save_license_key": lambda store: store.save_license_key("lic_2"),
    "load_claim": lambda store: store.load_claim(),
    "save_claim": lambda store: store.save_claim(CLAIM),
    "take_lease": lambda store: store.take_lease("sync", "a", MINUTE),
    "drop_lease": lambda store: store.drop_lease("sweep", "a"),
}
NO_VERBS = {"from_url", "migrate", "erase", "async_store", "watch_changes", "after_fork", "close"}
"""What a store has beside verbs. `erase` is many commands and may be done again."""
AWAITED = [name for name in VERBS if name.split(" ")[0] in {*dir(AwaitedCounting), "publish_change"}]


def public(kind: type) -> set[str]:
    """The public methods of a class."""
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_the_table_has_every_verb() -> None:
    """A verb that is new has to stand in the table above, on the awaited side too."""
    assert {name.split(" ")[0] for name in VERBS} == public(RedisStore) - NO_VERBS
    assert {name.split(" ")[0] for name in AWAITED} == public(AsyncRedisStore) - NO_VERBS


class Line(Enum):
    """What the way to the server does to the next request."""

    OPEN = "open"
    CUT_BEFORE = "the request is lost"
    CUT_AFTER = "the answer is lost"
    CUT_ONCE = "the request is lost, and no other"


class Proxy(Way):
    """A way to the server that can be cut. *requests* counts what was sent by whoever waits for each answer."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.url = f"unix://{folder / 'proxy.sock'}"
        self.line = Line.OPEN
        self.requests = 0
        super().__init__(server.folder / "redis.sock", folder / "proxy.sock")

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([client, server], [], [])
            came = ready[0].recv(1 << 16)
            is_request = ready[0] is client
            self.requests += is_request and came != b""
            if self.line is Line.CUT_ONCE:
                self.line = Line.OPEN
                return
            if not came or self.line is (Line.CUT_BEFORE if is_request else Line.CUT_AFTER):
                return
            (server if is_request else client).sendall(came)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A real server that knows all scripts: every verb is one request then."""
    with RedisServer() as server, closing(RedisStore.from_url(server.url)) as store:
        for verb in VERBS.values():
            verb(store)
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    """A way to the server."""
    with tempfile.TemporaryDirectory() as folder, closing(Proxy(server, Path(folder))) as proxy:
        yield proxy


@pytest.fixture
def direct(server: RedisServer) -> Iterator[RedisStore]:
    """The store, reached past the proxy."""
    with closing(RedisStore.from_url(server.url, clock=ManualClock(NOW + MINUTE))) as store:
        prepare(store, server)
        yield store


def prepare(store: RedisStore, server: RedisServer) -> None:
    """Something for each verb to change, and nothing else: a holding that expired a minute ago among it."""
    store.erase()
    with closing(RedisStore.from_url(server.url, clock=ManualClock(NOW))) as earlier:
        seed(earlier)
        earlier.take(claims(2, cap=9), key="expired", ttl=MINUTE)
        earlier.take(claims(1, cap=9), key="held", ttl=10 * MINUTE)
        earlier.take(claims(3, cap=9))
        earlier.save_license(RECORD.__class__(b"older", "pinned", 1, 1, NOW, NOW))
        earlier.take_lease("sweep", "a", MINUTE)


def kept(store: RedisStore) -> dict[str, object]:
    """All that is kept, apart from the feed's random name."""
    read = store._client
    readers = {"hash": read.hgetall, "set": read.smembers, "string": read.get}
    found = {}
    for key in read.scan_iter():
        kind = read.type(key)
        found[key] = readers[kind](key) if kind in readers else read.sort(key, alpha=True)
    if feed := found.get(store._asking._key("feed").decode()):
        feed.pop("epoch")
    return found


def of_url(url: str) -> RedisStore:
    """A store as a host makes it."""
    return RedisStore.from_url(url, clock=ManualClock(NOW + MINUTE))


def of_client(url: str) -> RedisStore:
    """A store over a client that tries everything again."""
    from redis import Redis  # noqa: PLC0415 - where it is missing these tests are skipped
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    client = Redis.from_url(url, decode_responses=True, retry=Retry(NoBackoff(), 3))
    return RedisStore(client, clock=ManualClock(NOW + MINUTE))


@contextmanager
def awaited(url: str) -> Iterator[FromThreads]:
    """The awaited store behind a sync face."""
    with FromThreads(lambda: AsyncRedisStore.from_url(url, clock=ManualClock(NOW + MINUTE))) as store:
        yield store


OPENERS: dict[str, Callable[[str], Any]] = {
    "url": lambda url: closing(of_url(url)),
    "client": lambda url: closing(of_client(url)),
    "awaited": awaited,
}
CASES = [(opener, name) for opener in OPENERS for name in (AWAITED if opener == "awaited" else VERBS)]


@pytest.mark.parametrize(("opener", "name"), CASES)
def test_a_request_that_is_lost(direct: RedisStore, proxy: Proxy, opener: str, name: str) -> None:
    """The verb raises and nothing has changed; asked again, it does what it should."""
    before = kept(direct)
    with OPENERS[opener](proxy.url) as store:
        store.usage_of("acme")
        proxy.line = Line.CUT_BEFORE
        with pytest.raises(StorageError, match="as a whole or not at all"):
            VERBS[name](store)
        assert kept(direct) == before
        proxy.line = Line.OPEN
        VERBS[name](store)


@pytest.mark.parametrize(("opener", "name"), CASES)
def test_an_answer_that_is_lost(direct: RedisStore, server: RedisServer, proxy: Proxy, opener: str, name: str) -> None:
    """The verb raises and was done once, whatever the client does by itself; the next one gets its own answer."""
    VERBS[name](direct)
    once = kept(direct)
    prepare(direct, server)
    with OPENERS[opener](proxy.url) as store:
        store.usage_of("acme")
        proxy.line, proxy.requests = Line.CUT_AFTER, 0
        with pytest.raises(StorageError):
            VERBS[name](store)
        assert (kept(direct), proxy.requests) == (once, 1)
        proxy.line = Line.OPEN
        assert store.usage_of("umbrella") == direct.usage_of("umbrella")


def test_asking_again_under_the_same_key(direct: RedisStore, proxy: Proxy) -> None:
    """Whoever got no answer asks again, and has taken once."""
    with closing(of_url(proxy.url)) as store:
        store.usage_of("umbrella")
        proxy.line = Line.CUT_AFTER
        with pytest.raises(StorageError):
            store.take(claims(org="umbrella"), key="new")
        proxy.line = Line.OPEN
        assert store.take(claims(org="umbrella"), key="new").outcome == "held"
        assert store.usage_of("umbrella") == {"maxProjects": 1}


@pytest.mark.parametrize("opener", ["url", "awaited"])
def test_a_connection_that_died_in_its_sleep(direct: RedisStore, proxy: Proxy, opener: str) -> None:
    """After idle time a connection is tried before anything is sent over it, and another one taken where it is dead."""
    with OPENERS[opener](proxy.url) as store:
        store.usage_of("acme")
        (connection,) = pool_of(store)._get_free_connections()
        connection.next_health_check = 0.0
        proxy.line = Line.CUT_ONCE
        assert store.take(claims(cap=9)).outcome == "taken"
        assert proxy.connections == 2


def pool_of(store: Any) -> Any:
    """The connections of a store."""
    return (store._store if isinstance(store, FromThreads) else store)._client.connection_pool


@pytest.mark.parametrize("opener", ["url", "awaited"])
def test_a_server_that_became_a_replica(direct: RedisStore, proxy: Proxy, opener: str) -> None:
    """A server that takes no writes any more is left: the same address may lead to another one by now."""
    with OPENERS[opener](proxy.url) as store:
        store.usage_of("acme")
        connections = proxy.connections
        direct._client.replicaof("127.0.0.1", 1)
        with pytest.raises(StorageError):
            store.take(claims())
        direct._client.replicaof("NO", "ONE")
        assert store.take(claims(cap=9)).outcome == "taken"
        assert proxy.connections == connections + 1


@pytest.mark.parametrize("name", VERBS)
def test_a_server_without_memory(direct: RedisStore, server: RedisServer, name: str) -> None:
    """A verb is refused, or done as a whole all the same; never in part."""
    before = kept(direct)
    VERBS[name](direct)
    once = kept(direct)
    prepare(direct, server)
    direct._client.config_set("maxmemory", 1)
    expected = before
    with suppress(StorageError):
        VERBS[name](direct)
        expected = once
    direct._client.config_set("maxmemory", 0)
    assert kept(direct) == expected


@pytest.mark.parametrize("opener", ["url", "awaited"])
def test_room_can_be_freed_without_memory(direct: RedisStore, server: RedisServer, opener: str) -> None:
    """What only lowers counters is done by a server that is out of memory, so that things can be deleted."""
    with OPENERS[opener](server.url) as store:
        direct._client.config_set("maxmemory", 1)
        try:
            assert store.give_back({("acme", "maxProjects"): 1, ("", "maxProjects"): 1}).drift == {}
            assert store.release_holding("acme", "held").drift == {}
            assert store.sweep_holdings().drift == {}
        finally:
            direct._client.config_set("maxmemory", 0)
        assert store.usage_of("acme") == {"maxProjects": 2}


TROUBLE: dict[str, tuple[dict[str, object], str]] = {
    "out of memory": ({"maxmemory": 1}, "out of memory.*maxmemory"),
    "too few replicas": ({"min-replicas-to-write": 1}, "too few replicas.*min-replicas-to-write"),
    "a replica without its primary": ({"replica-serve-stale-data": "no", "replicaof": "127.0.0.1 1"}, "primary"),
    "a replica": ({"replicaof": "127.0.0.1 1"}, "replica.*primary"),
}


@pytest.mark.parametrize("name", ["seed_usage", "save_license_key"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_what_the_server_complains_about(direct: RedisStore, trouble: str, name: str) -> None:
    """A command and a script say the same of a server that takes no writes, and what to do about it."""
    settings, expected = TROUBLE[trouble]
    usual = {"replica-serve-stale-data": "yes", "min-replicas-to-write": 0, "maxmemory": 0}
    before = kept(direct)
    for setting, value in settings.items():
        apply(direct, setting, value)
    try:
        with pytest.raises(StorageError, match=f"{expected}.*Nothing was done"):
            VERBS[name](direct)
    finally:
        apply(direct, "replicaof", "NO ONE")
        for setting in settings.keys() & usual.keys():
            apply(direct, setting, usual[setting])
    assert kept(direct) == before


def apply(store: RedisStore, setting: str, value: object) -> None:
    """Give the server another role or setting."""
    if setting == "replicaof":
        store._client.execute_command("REPLICAOF", *str(value).split())
    else:
        store._client.config_set(setting, value)


def test_a_user_who_may_not(direct: RedisStore, server: RedisServer) -> None:
    """Keys that the user of the URL may not touch, and a password that is wrong, are told apart."""
    direct._client.execute_command("ACL", "SETUSER", "kit", "on", ">pass", "~other*", "+@all")
    try:
        for password, expected in (("pass", "grant it"), ("word", "another user or password")):
            url = server.url.replace("unix://", f"unix://kit:{password}@")
            with closing(RedisStore.from_url(url)) as store, pytest.raises(StorageError, match=expected):
                store.take(claims())
    finally:
        direct._client.execute_command("ACL", "DELUSER", "kit")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("LOADING Redis is loading the dataset in memory", "loads its data"),
        ("MISCONF Redis is configured to save RDB snapshots, but it is not able to persist on disk.", "disk"),
        ("ERR Error running script: @user_script: 19: -MISCONF Redis is configured to save RDB snapshots", "disk"),
        ("OOM command not allowed when used memory > 'maxmemory'. script: f_6724, on @user_script:19.", "maxmemory"),
        ("ERR max number of clients reached", "maxclients"),
        ("NOAUTH Authentication required.", "another user or password"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "another user or password"),
    ],
)
def test_what_servers_say(said: str, expected: str) -> None:
    """Answers that need a disk that is full, or another version of the server, are known by their text."""
    from redis._parsers import BaseParser  # noqa: PLC0415 - where it is missing these tests are skipped

    assert re.search(f"{expected}.*Nothing was done", str(unanswered(BaseParser.parse_error(said))))


class Durable(RedisServer):
    """A Redis that finds all it had answered when it is started again."""

    def _command(self) -> Sequence[str]:
        # With `everysec` the server answers before it has written, where the disk is slow.
        return [*super()._command(), "--appendonly", "yes", "--appendfsync", "always"]


def test_a_server_that_is_killed_while_it_works() -> None:
    """What was answered is there afterwards, and of what was not each take is there as a whole or not at all."""
    with Durable() as server, closing(RedisStore.from_url(server.url)) as store:
        seed(store)
        begun, workers = threading.Barrier(5), 4

        def work(_: int) -> int:
            for taken in range(100_000):
                if taken == 20:
                    begun.wait()
                try:
                    store.take(claims(1, 10**6, 10**6))
                except StorageError:
                    return taken
            raise AssertionError("the server lives")

        with ThreadPoolExecutor(workers) as threads:
            answers = threads.map(work, range(workers))
            begun.wait()
            server.kill()
            answered = sum(answers)
        server.start()
        org, instance = store.usage_of("acme")["maxProjects"], store.usage_of("")["maxProjects"]
        assert org == instance
        assert answered <= org <= answered + workers


class Rows:
    """A host's own rows, from which counters begin."""

    def __init__(self) -> None:
        self.projects = {"acme": 2}

    def count(self, org_id: str | None) -> int:
        """The rows of one org, or all."""
        return sum(self.projects.values()) if org_id is None else self.projects.get(org_id, 0)


def test_a_redis_that_lost_everything() -> None:
    """License and gate answer from memory while it is away; counters and license are there again afterwards."""
    rows = Rows()
    with ExitStack() as exits:
        server = exits.enter_context(RedisServer())
        redis = exits.enter_context(closing(RedisStore.from_url(server.url)))
        world = exits.enter_context(make_world())
        kit = world.kit(
            policy=GatePolicy(schema=KUPLOY_CLOUD, counts={"maxProjects": rows.count}),
            license_store=redis,
            usage_store=redis,
            license_settings={"license_key": world.license_key, "instance_id": "inst_1"},
        )
        kit.run_once()
        kit.gate.begin_keeping(world.store.load_plans().catalog)
        kit.gate.assign("acme", "pro", actor="admin", reason="comp")
        assert kit.gate.acquire("acme", "maxProjects").used == 3
        rows.projects["acme"] = 3
        assert kit.gate.allows("acme", "aiAssistant")

        server.kill()
        world.later(seconds=60)
        assert kit.license.sync().ok
        answers_from_memory(kit)

        server.start()
        assert redis.load_license() is None
        assert kit.gate.acquire("acme", "maxProjects").used == 4
        assert redis.usage_of("") == {"maxProjects": 4}
        world.later(seconds=60)
        assert kit.license.sync().ok
        assert redis.load_license() is not None


def answers_from_memory(kit: SaasKit) -> None:
    """What is known is answered, what has to be counted is an error."""
    assert kit.license.snapshot().status is LicenseStatus.ACTIVE
    assert kit.gate.allows("acme", "aiAssistant")
    assert kit.gate.check_feature("acme", "whiteLabel").reason is Reason.NOT_IN_LICENSE
    with pytest.raises(StorageError):
        kit.gate.acquire("acme", "maxProjects")
    with pytest.raises(StorageError):
        kit.gate.record("acme", "buildMinutesPerMonth", 1, event_key="e1", at=NOW)


def test_erasing_says_so_too(proxy: Proxy) -> None:
    """What is no verb raises the same."""
    with closing(of_url(proxy.url)) as store:
        store.usage_of("acme")
        proxy.line = Line.CUT_BEFORE
        with pytest.raises(StorageError):
            store.erase()
