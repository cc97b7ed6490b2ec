"""In an asyncio host the client works as it is: reads are memory, the refresher is a thread."""

import asyncio
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.license.doubles import INSTANCE, ISSUER, KEY, SIGNER, FakeHub, TinyStore

from kuploy_saas_kit._clock import SystemClock
from kuploy_saas_kit.license import LicenseClient, LicenseConfig
from kuploy_saas_kit.license.ports import HubResponse


def client_of_a_hanging_hub(release: threading.Event, hanging: threading.Event) -> LicenseClient:
    """A client with a license whose next sync hangs until *release*."""
    clock: Any = SystemClock()
    hub = FakeHub(clock)
    config = LicenseConfig(
        hub_url=ISSUER,
        license_key=KEY,
        instance_id=INSTANCE,
        trusted_keys={"k1": SIGNER.public},
        period=timedelta(seconds=5),
    )
    client = LicenseClient(config, TinyStore(clock), transport=hub, clock=clock)
    client.sync()

    def hang(body: Mapping[str, Any]) -> HubResponse:
        hanging.set()
        release.wait(90)
        return hub.license(body)

    hub.fault = hang
    client._schedule = type(client._schedule)()
    return client


@pytest.mark.anyio
async def test_the_loop_is_never_blocked_under_uvicorn() -> None:
    """While a sync hangs in the background, requests that read the license are answered at once."""
    release, hanging = threading.Event(), threading.Event()
    client = client_of_a_hanging_hub(release, hanging)

    async def status(_: Request) -> PlainTextResponse:
        return PlainTextResponse(client.snapshot().status.value)

    app = Starlette(routes=[Route("/", status)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    client.start()
    try:
        assert await asyncio.to_thread(hanging.wait, 60)
        while not server.started:
            await asyncio.wait({serving}, timeout=0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as asking:
            answers = [(await asking.get("/")).text for _ in range(50)]
        assert answers == ["active"] * 50
        assert not release.is_set()
    finally:
        release.set()
        await asyncio.to_thread(client.stop)
        server.should_exit = True
        await serving


@pytest.mark.anyio
async def test_a_cancelled_wait_for_a_sync_harms_nothing() -> None:
    """F79: whoever waits for `sync` in a thread and is cancelled leaves the license as it was; the sync ends well."""
    release, hanging = threading.Event(), threading.Event()
    client = client_of_a_hanging_hub(release, hanging)
    before = client.snapshot()
    client._asked_at = None
    waiting = asyncio.create_task(asyncio.to_thread(client.sync))
    assert await asyncio.to_thread(hanging.wait, 60)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    after = client.snapshot()
    assert (after.status, after.grant, after.revision) == (before.status, before.grant, before.revision)
    release.set()
    result = await asyncio.to_thread(client.sync)
    assert result.ok
    client.stop()
