"""The hub's ASGI application against its OpenAPI file, by schemathesis; `make contract` runs it, in process.

What the file allows is sent and what it forbids, by strangers and with a license key. Status, headers and body of each
answer must be as the file has them, and no answer may be a failure of the hub. Each run sends the same requests.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from tests.hub.openapi import OpenApi

from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.app import create_app
from kuploy_saas_kit.hub.service import Hub, Plain
from kuploy_saas_kit.hub.store import MemoryHubStore
from kuploy_saas_kit.testing.clock import ManualClock

schemathesis = pytest.importorskip("schemathesis")

EXAMPLES = 200
PRODUCT = "kuploy-cloud"

CLOCK = ManualClock()
STORE = MemoryHubStore()
ADMIN = HubAdmin(STORE, CLOCK)
KEY = ADMIN.issue_license(ADMIN.add_tenant("Acme"), PRODUCT, "enterprise")
APP = create_app(Hub(STORE, Plain(), CLOCK))
STATUSES: Counter[int] = Counter()
Test = TypeVar("Test", bound=Callable[[Any], None])


def documented(path: str | None = None, **properties_of_a_sync: Any) -> Callable[[Test], Test]:
    """Run a test with what the file allows and forbids, at *path* or all, with these properties of a sync instead."""
    config = schemathesis.Config()
    config.projects.default.generation.update(deterministic=True, max_examples=EXAMPLES)
    # A key that no license has is 404 in this protocol, and not 401.
    config.projects.default.checks.update(excluded_check_names=["ignored_auth"])
    document = OpenApi().document
    document["components"]["schemas"]["SyncRequest"]["properties"] |= properties_of_a_sync
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.app = APP
    chosen = schema if path is None else schema.include(path=path)
    marked: Callable[[Test], Test] = chosen.parametrize()
    return marked


def without_fractions(value: Any) -> Any:
    """*value* with 1 for each 1.0: one integer to JSON Schema, of which the protocol has only the first spelling."""
    if isinstance(value, dict):
        return {name: without_fractions(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_fractions(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def answered(case: Any) -> int:
    """The status of the answer to *case*, which is as documented."""
    CLOCK.advance(timedelta(minutes=1))
    case.body = without_fractions(case.body)
    status: int = case.call_and_validate().status_code
    return status


@documented()
def test_strangers(case: Any) -> None:
    """Whatever a stranger sends is answered as documented."""
    answered(case)


@documented("/api/license/sync", productType={"const": PRODUCT})
def test_an_instance(case: Any) -> None:
    """Whatever is sent with a license key is answered as documented."""
    case.headers["Authorization"] = f"Bearer {KEY}"
    STATUSES[answered(case)] += 1


def test_the_instance_was_heard() -> None:
    """Of what was sent with a license key, much was answered with a license and much refused as malformed."""
    assert STATUSES[200] > EXAMPLES / 10
    assert STATUSES[400] > EXAMPLES / 10
