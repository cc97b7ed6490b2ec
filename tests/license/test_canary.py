import logging
import pickle
import traceback
from dataclasses import replace
from typing import Any

import pytest
from tests.license.doubles import KEY, World
from tests.license.test_faults import ROWS

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.license import LicenseClient, LicenseConfig, LicenseEvent
from kuploy_saas_kit.testing.hub import HubSimulator


def everything_said(client: LicenseClient, world: World, caplog: pytest.LogCaptureFixture) -> str:
    """All that a host could print, log or send somewhere."""
    snapshot = client.snapshot()
    records = [f"{record.__dict__} {record.getMessage()}" for record in caplog.records]
    values = [repr(getattr(snapshot, name)) for name in dir(snapshot) if not name.startswith("__")]
    shown = [repr(client), repr(snapshot), repr(snapshot.state), repr(client.sync()), repr(client._config)]
    return "\n".join([*records, *values, *shown, repr(world.hub.requests), repr(world.store.record)])


FAULTS: dict[str, Any] = {"no fault": None, **{row[0]: row[2] for row in ROWS[::6]}}


@pytest.mark.parametrize("name", FAULTS)
def test_the_key_is_nowhere_to_be_seen(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Good or faulty, an exchange leaves the license key in no log record, repr, snapshot or cache."""
    caplog.set_level(logging.DEBUG)
    world = World()
    client = world.client()
    client.sync()
    fault = FAULTS[name]
    if fault is not None:
        world.hub.fault = lambda body: fault(world, body)
    for _ in range(3):
        world.clock.advance(world.config.get("period", client._config.period))
        client.tick()
        client.sync()
    assert KEY not in everything_said(client, world, caplog)
    assert world.store.record is not None
    assert KEY.encode() not in world.store.record.body


def test_a_key_that_the_hub_sends_back_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """A hub that echoes the key in an error body leaks nothing into our logs and results."""
    caplog.set_level(logging.DEBUG)
    world = World()
    client = world.client()
    client.sync()
    for body in (KEY.encode(), {"success": False, "error": KEY, "code": f"x{KEY}<"}, {"license": {"plan": KEY}}):
        world.hub.answers(body, 400)
        world.clock.advance(client._config.period)
        client.sync()
    assert KEY not in everything_said(client, world, caplog)


def test_tracebacks_with_locals_hold_no_key() -> None:
    """An exception out of the client's depths, printed with all local variables, shows no key."""
    world = World()
    client = world.client()

    def interrupted(_: object) -> Any:
        raise KeyboardInterrupt

    world.hub.fault = interrupted
    with pytest.raises(KeyboardInterrupt) as caught:
        client.sync()
    told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    inside = [frame for frame in told.stack if "kuploy_saas_kit" in frame.filename]
    assert inside
    assert KEY not in repr([frame.locals for frame in inside])


def test_what_holds_the_key_is_not_to_be_pickled() -> None:
    """Neither a configuration nor a claim on its way writes a secret where nobody expects one."""
    config = LicenseConfig(license_key=KEY, trust="tls_only")
    with pytest.raises(TypeError):
        pickle.dumps(config)
    assert KEY not in repr(replace(config, instance_id="inst_b"))


def test_over_a_real_connection_nobody_logs_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """A claim and a sync over HTTP, with the HTTP library at its most talkative: neither key nor secret is logged."""
    caplog.set_level(logging.DEBUG)
    hub = HubSimulator()
    events: list[LicenseEvent] = []
    store = MemoryStore()
    with hub.serve() as url:
        client = LicenseClient(LicenseConfig(hub_url=url, trusted_keys=hub.trusted_keys), store)
        client.add_observer(events.append)
        ticket = client.begin_claim()
        claim = store.load_claim()
        assert claim is not None
        key = hub.issue_license(hub.add_tenant("Acme"))
        hub.approve_claim(ticket.code, key)
        state = client.poll_claim()
        assert state.tenant_name == "Acme"
        assert client.confirm_claim().ok
        client.stop()
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    assert events
    said = "\n".join(f"{record.__dict__} {record.getMessage()}" for record in caplog.records)
    for secret in (key, claim.secret):
        assert secret not in said + repr(events) + repr(state) + repr(client.snapshot()) + repr(claim)
