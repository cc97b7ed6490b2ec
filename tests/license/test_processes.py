"""What only real threads and processes show: one flight, forks, exits, an event loop that is never blocked."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.conftest import examples
from tests.license.doubles import World

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.license import LicenseSnapshot, LicenseStatus, Refresher
from kuploy_saas_kit.license.ports import HubResponse

SECOND = timedelta(seconds=1)


def run(script: str, timeout: float = 100) -> str:
    """What the script printed; it must end well."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=False, timeout=timeout, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_hundred_threads_make_one_request() -> None:
    """F78: whoever comes while a sync is under way gets its result."""
    world = World()
    client = world.client()
    gate = threading.Event()

    def slow(body: Mapping[str, Any]) -> HubResponse:
        gate.wait(60)
        return world.hub.license(body)

    world.hub.fault = slow
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(client.sync().code)) for _ in range(100)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(60)
    assert results == ["ok"] * 100
    assert len(world.hub.requests) == 1


def test_reads_wait_for_nothing() -> None:
    """While a sync hangs, the snapshot answers from memory."""
    world = World()
    client = world.client()
    client.sync()
    world.clock.advance(timedelta(minutes=1))
    hanging, gate = threading.Event(), threading.Event()

    def hang(body: Mapping[str, Any]) -> HubResponse:
        hanging.set()
        gate.wait(60)
        return world.hub.license(body)

    world.hub.fault = hang
    thread = threading.Thread(target=client.sync)
    thread.start()
    assert hanging.wait(60)
    assert client.snapshot().status is LicenseStatus.ACTIVE
    assert thread.is_alive()
    gate.set()
    thread.join(60)


def test_a_listener_that_blocks_delays_no_tick() -> None:
    """F80: listeners are called apart from the loop."""
    world = World()
    client = world.client()
    gate, heard = threading.Event(), threading.Event()

    def blocks(_: LicenseSnapshot) -> None:
        heard.set()
        gate.wait(60)

    client.add_listener(blocks)
    client.tick()
    assert heard.wait(60)
    world.pass_time(client, timedelta(minutes=5))
    assert len(world.hub.requests) > 2
    gate.set()
    client.stop()


def test_the_refresher_ticks_until_it_is_stopped() -> None:
    """start, poke and stop do what they say; a tick that raises is not the end."""
    ticked = threading.Semaphore(0)
    raised = iter([RuntimeError("bug")])

    def tick() -> timedelta:
        ticked.release()
        for error in raised:
            raise error
        return timedelta(seconds=30)

    refresher = Refresher(tick, name="test")
    refresher.start()
    refresher.start()
    for _ in range(3):
        assert ticked.acquire(timeout=60)
        refresher.poke()
    refresher.stop()
    refresher.stop()
    assert not refresher.is_running
    while ticked.acquire(blocking=False):
        pass
    refresher.start()
    assert ticked.acquire(timeout=60)
    refresher.stop()


@pytest.mark.parametrize("error", [StorageError("the store is away"), KeyError("a mistake")])
def test_a_store_that_fails_a_tick_is_one_sentence(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """What the log says of a store has no traceback of drivers; a mistake in code has one."""
    ticked = threading.Event()

    def tick() -> timedelta:
        ticked.set()
        raise error

    refresher = Refresher(tick, name="test")
    refresher.start()
    assert ticked.wait(60)
    refresher.stop()
    (record,) = caplog.records
    of_the_store = "the store is away; it is tried again in a while" in record.getMessage()
    assert of_the_store is isinstance(error, StorageError)
    assert of_the_store is (record.exc_info is None)


def test_start_syncs_once_where_nothing_is_stored() -> None:
    """First boot is ACTIVE when start returns; with a cache it does not wait for the hub at all."""
    world = World()
    with world.client() as client:
        assert client.snapshot().status is LicenseStatus.ACTIVE
    asked = len(world.hub.requests)
    world.hub.goes_down()
    cached = world.client()
    cached.load()
    assert cached.snapshot().status is LicenseStatus.ACTIVE
    assert len(world.hub.requests) == asked


PREFORK = """
    import os, sys, threading
    from datetime import timedelta
    from kuploy_saas_kit._clock import SystemClock
    from kuploy_saas_kit.license import LicenseClient, LicenseConfig
    from tests.license.doubles import FakeHub, INSTANCE, ISSUER, KEY, SIGNER, TinyStore

    clock = SystemClock()
    hub, store = FakeHub(clock), TinyStore(clock)
    config = LicenseConfig(
        hub_url=ISSUER, license_key=KEY, instance_id=INSTANCE, trusted_keys={"k1": SIGNER.public},
        period=timedelta(seconds=5),
    )
    client = LicenseClient(config, store, transport=hub, clock=clock)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_of_a_fork_serve_and_refresh() -> None:
    """F77: locks that were held in the parent hold nobody up, and reading restarts the refresher in the child."""
    run(
        PREFORK
        + """
    client.start()
    client._flight.acquire()
    client._refresher._lock.acquire()
    client._listeners._waiting.mutex.acquire()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            published = threading.Event()
            client.on_publish(lambda snapshot: published.set())
            assert client.snapshot().status == "active"
            assert client._refresher.is_running
            client.sync()
            store.leases.clear()
            ok = published.wait(60)
            client.stop()
            os._exit(0 if ok else 1)
        children.append(child)
    client._flight.release()
    client._refresher._lock.release()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    client.stop()
    """
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("store", ["file", "sqlite"])
def test_a_killed_writer_leaves_the_old_license_or_the_new_one(store: str) -> None:
    """F66, 64 × SIGKILL during writes, 16 outside CI: what was saved is found whole, and no litter is left."""
    kills = examples(64)
    out = run(f"from tests.license.kill_writes import kill; print(*kill({store!r}, {kills}, seed=2))")
    writes, half_written = map(int, out.split())
    assert writes >= kills
    assert half_written > 0


def test_the_interpreter_exits_at_once_during_a_sync() -> None:
    """F81: a hanging hub does not hold up the exit, and nothing is printed."""
    out = run(
        PREFORK
        + """
    client.sync()
    hanging = threading.Event()
    def hang(body):
        hanging.set()
        threading.Event().wait()
    hub.fault = hang
    client._schedule = type(client._schedule)()
    client._refresher.start()
    assert hanging.wait(60)
    print("bye at", clock.elapsed().total_seconds())
    """
    )
    assert out.startswith("bye at ")
    assert out.count("\n") == 1
    ended = timedelta(seconds=float(out.removeprefix("bye at ")))
    assert SystemClock().elapsed() - ended < timedelta(seconds=10)
