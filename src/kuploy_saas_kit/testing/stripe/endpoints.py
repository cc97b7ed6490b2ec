"""Webhook endpoints, made through the API or by hand."""

from __future__ import annotations

import hashlib

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.refusals import invalid
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of


def create(space: Space, call: Call) -> Row:
    """`POST /v1/webhook_endpoints`; the one answer that shows the signing secret."""
    _require_url(space, call.params["url"])
    row = new_endpoint(space, call.params["url"], tuple(call.params["enabled_events"]))
    row["_secrets"] = ["whsec_" + hashlib.sha256(row["id"].encode()).hexdigest()[:32]]
    row.update(call.given("api_version", "description"), metadata=metadata_of({}, call.get("metadata") or {}))
    return {**space.add(row), "secret": row["_secrets"][0]}


def new_endpoint(space: Space, url: str, events: tuple[str, ...]) -> Row:
    """An endpoint that nothing is sent to yet."""
    return {
        "id": space.world.new_id("we"),
        "object": "webhook_endpoint",
        "api_version": None,
        "application": None,
        "created": space.now,
        "description": None,
        "enabled_events": list(events),
        "livemode": space.livemode,
        "metadata": {},
        "status": "enabled",
        "url": url,
        "_secrets": [],
        "_receiver": None,
    }


def _require_url(space: Space, url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.", param="url", code="url_invalid"
        )
    if space.livemode and not url.startswith("https://"):
        raise invalid("Invalid URL: webhook endpoints in live mode must use https.", param="url", code="url_invalid")


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/webhook_endpoints/{webhook_endpoint}`."""
    return space.find("webhook_endpoint", call.id, param="webhook_endpoint", status=404)


def update(space: Space, call: Call) -> Row:
    """`POST /v1/webhook_endpoints/{webhook_endpoint}`."""
    row = retrieve(space, call)
    if "url" in call.params:
        _require_url(space, call.params["url"])
    row.update(call.given("url", "enabled_events", "description"))
    if "metadata" in call.params:
        row["metadata"] = metadata_of(row["metadata"], call.params["metadata"])
    if "disabled" in call.params:
        row["status"] = "disabled" if call.params["disabled"] else "enabled"
    return row


def delete(space: Space, call: Call) -> Row:
    """`DELETE /v1/webhook_endpoints/{webhook_endpoint}`."""
    return space.drop(retrieve(space, call), None)


def list_(space: Space, call: Call) -> list[Row]:  # noqa: ARG001 - the shape that every lister has
    """`GET /v1/webhook_endpoints`."""
    return space.rows("webhook_endpoint")
