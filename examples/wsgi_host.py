"""A host in one file, on the standard library's WSGI server: gates, a limit, checkout, webhooks, a license page.

    LICENSE_KEY=lic_… LICENSE_TRUSTED_KEYS=… STRIPE_SECRET_KEY=sk_test_… python examples/wsgi_host.py

It needs the extras [stripe,signing,sql]. Other frameworks differ in the first and the last lines only.
"""

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import make_server

from kuploy_saas_kit import SaasKit
from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import (
    BillingError,
    DeniedError,
    KitError,
    LimitExceededError,
    StorageError,
    StripeUnavailableError,
)
from kuploy_saas_kit.license import Operation

Answer = tuple[HTTPStatus, object]


def license_page(kit: SaasKit) -> Answer:
    """Reachable whatever the license says."""
    snapshot = kit.license.snapshot()
    creating = snapshot.permits(Operation.CREATE)
    return HTTPStatus.OK, {"status": snapshot.status, "last_sync": snapshot.last_sync_code, "creating": creating}


def org_page(kit: SaasKit, org_id: str) -> Answer:
    """What an org has and uses."""
    overview = kit.gate.overview(org_id)
    features = [row.key for row in overview.features if row.granted]
    limits = {row.key: {"used": row.used, "of": str(row.limit), "level": row.level.name} for row in overview.limits}
    return HTTPStatus.OK, {"plan": overview.resolution.slug, "features": features, "limits": limits}


def create_project(kit: SaasKit, org_id: str, name: str) -> Answer:
    """Take a project; a host with tables of its own does this in its transaction, see docs/how-to/limits.md."""
    decision = kit.gate.acquire(org_id, "maxProjects", key=f"project:{name}")
    if not decision.granted:
        raise LimitExceededError(decision)
    return HTTPStatus.CREATED, {"project": name, "used": decision.used}


def delete_project(kit: SaasKit, org_id: str, name: str) -> Answer:
    """Give it back: always permitted."""
    return HTTPStatus.OK, dict(kit.gate.release(org_id, "maxProjects", key=f"project:{name}").returned)


def buy(kit: SaasKit, org_id: str, plan: str) -> Answer:
    """Where to send the browser."""
    session = kit.checkout.start(
        org_id, plan, success_url="https://host.example/ok", cancel_url="https://host.example/"
    )
    return HTTPStatus.OK, {"url": session.url}


def refused(error: KitError) -> Answer:
    """What a request gets for an error of the kit."""
    if isinstance(error, DeniedError):
        return HTTPStatus.FORBIDDEN, {"reason": error.decision.reason, "remedy": str(error.decision.remedy)}
    unavailable = isinstance(error, StorageError | StripeUnavailableError)
    billing = HTTPStatus.CONFLICT if isinstance(error, BillingError) else HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.SERVICE_UNAVAILABLE if unavailable else billing, {"error": str(error)}


def answer(  # noqa: PLR0911 - one return a route
    kit: SaasKit, method: str, path: str, body: bytes, signature: str | None
) -> Answer:
    """Find the route."""
    match method, path.strip("/").split("/"):
        case "POST", ["api", "webhooks", "stripe"]:
            return HTTPStatus(kit.webhooks.handle(body, signature).status), {}
        case "GET", ["license"]:
            return license_page(kit)
        case "GET", ["orgs", org_id]:
            return org_page(kit, org_id)
        case "POST", ["orgs", org_id, "projects", name]:
            return create_project(kit, org_id, name)
        case "DELETE", ["orgs", org_id, "projects", name]:
            return delete_project(kit, org_id, name)
        case "POST", ["orgs", org_id, "checkout", plan]:
            return buy(kit, org_id, plan)
        case _:
            return HTTPStatus.NOT_FOUND, {}


def make_app(kit: SaasKit) -> Callable[[dict[str, Any], Callable[..., object]], Iterable[bytes]]:
    """The WSGI application over *kit*."""

    def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        signature = environ.get("HTTP_STRIPE_SIGNATURE")
        try:
            status, content = answer(kit, environ["REQUEST_METHOD"], environ["PATH_INFO"], body, signature)
        except KitError as error:
            status, content = refused(error)
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [json.dumps(content).encode()]

    return app


if __name__ == "__main__":
    with SaasKit.from_env(SqlStore.from_url("sqlite:///host.db")) as running:
        make_server("127.0.0.1", 8080, make_app(running)).serve_forever()
