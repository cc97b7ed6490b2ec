"""The hub as an ASGI application, under uvicorn on loopback."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from tests.hub.talk import content, post, read_token, request, sync_request, until
from tests.hub.test_simulator import CLAIM, POLL

from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.app import create_app
from kuploy_saas_kit.hub.service import Hub
from kuploy_saas_kit.hub.signing import KeyRing
from kuploy_saas_kit.hub.store import SqliteHubStore
from kuploy_saas_kit.license.ports import HubRequest
from kuploy_saas_kit.testing.clock import ManualClock


class Served:
    """A hub over SQLite, served by uvicorn."""

    def __init__(self, path: Path) -> None:
        self.clock = ManualClock()
        self.ring = KeyRing.generate()
        self.store = SqliteHubStore(path)
        self.store.migrate()
        self.admin = HubAdmin(self.store, self.clock)
        self.key = self.admin.issue_license(self.admin.add_tenant("Acme"), "kuploy-cloud", "growth")
        self.app = create_app(Hub(self.store, self.ring, self.clock))
        self.url = ""


@contextmanager
def running(served: Served) -> Iterator[Served]:
    """Serve until the block ends."""
    config = uvicorn.Config(served.app, port=0, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        served.url = f"http://127.0.0.1:{port}"
        yield served
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A hub that is being served."""
    with running(Served(tmp_path / "hub.db")) as hub:
        yield hub


def test_the_three_endpoints_over_http(served: Served) -> None:
    """Claim, poll and sync work over HTTP out of SQLite, with a token that verifies."""
    assert post(request("/api/license/claims", CLAIM, url=served.url)).status == 201
    served.admin.approve_claim("KPXY-4829", served.key)
    polled = content(post(request("/api/license/claims/poll", POLL, url=served.url)))
    assert polled["licenseKey"] == served.key
    response = post(sync_request(served.key, url=served.url))
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "no-store"
    payload = read_token(content(response)["license"], served.ring.trusted_keys)
    assert (payload["plan"], payload["revision"]) == ("growth", 1)


def test_refusals_over_http(served: Served) -> None:
    """No key, a body that is too large and a path that is none are answered as documented."""
    assert post(request("/api/license/sync", {}, url=served.url)).status == 401
    large = request("/api/license/sync", b" " * (1 << 20), url=served.url)
    assert post(large).status == 413
    assert post(request("/api/elsewhere", {}, url=served.url)).status == 404


def test_only_post(served: Served) -> None:
    """Other methods are not allowed."""
    connection = http.client.HTTPConnection("127.0.0.1", int(served.url.rpartition(":")[2]), timeout=60)
    connection.request("GET", "/api/license/sync")
    assert connection.getresponse().status == 405
    connection.close()


def test_a_failing_store_is_503(tmp_path: Path) -> None:
    """Where the store fails the answer is 503 with Retry-After and says nothing of the store."""
    hub = Served(tmp_path / "hub.db")

    class Broken(Hub):
        def post(self, request: HubRequest) -> None:  # type: ignore[override]
            raise StorageError("the disk is full")

    hub.app = create_app(Broken(hub.store, hub.ring, hub.clock))
    with running(hub):
        response = post(sync_request(hub.key, url=hub.url))
    assert (response.status, response.headers["retry-after"]) == (503, "30")
    assert b"disk" not in response.body
