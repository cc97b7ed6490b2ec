"""The hub over HTTP, as an ASGI application. Needs the extra `[hub]`.

uvicorn.run(create_app(hub))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuploy_saas_kit.errors import ConfigurationError, StorageError
from kuploy_saas_kit.hub.service import Hub, too_large, unavailable
from kuploy_saas_kit.hub.wire import MAX_BODY
from kuploy_saas_kit.license.ports import HubRequest, HubResponse

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
except ModuleNotFoundError as error:  # pragma: no cover - the tests have every extra
    raise ConfigurationError("serving the hub needs starlette and uvicorn: install kuploy-saas-kit[hub]") from error

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create_app(hub: Hub) -> ASGIApp:
    """The application that answers instances out of *hub*; bodies are read up to `MAX_BODY` bytes."""

    async def answer(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return _response(too_large())
        headers = {"authorization": request.headers.get("authorization", "")}
        try:
            response = await run_in_threadpool(hub.post, HubRequest(request.url.path, headers, body))
        except StorageError:
            response = unavailable()
        return _response(response)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])


def run(app: ASGIApp, *, host: str, port: int, ssl_certfile: str | None = None, ssl_keyfile: str | None = None) -> None:
    """Serve *app* until the process is told to stop."""
    uvicorn.run(app, host=host, port=port, ssl_certfile=ssl_certfile, ssl_keyfile=ssl_keyfile, lifespan="off")


async def _read(request: Request) -> bytes | None:
    """The body, or None as soon as it is too large."""
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > MAX_BODY:
            return None
    return bytes(chunks)


def _response(response: HubResponse) -> Response:
    return Response(response.body, response.status, dict(response.headers))
