"""The hub, the client and the published OpenAPI file say the same."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import examples
from tests.hub.openapi import OpenApi
from tests.hub.talk import NONCE, SECRET, content, read_token, request, sync_request
from tests.hub.test_simulator import CLAIM, POLL

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.hub.records import RefusalCode
from kuploy_saas_kit.hub.service import Hub, Plain, too_large, unavailable
from kuploy_saas_kit.hub.store import HubRows
from kuploy_saas_kit.license import LicenseClient, LicenseConfig
from kuploy_saas_kit.license.ports import HubRequest, HubResponse, MeterReport, UsageReport
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.hub import HubSimulator

SYNC, CLAIMS, POLLS = "/api/license/sync", "/api/license/claims", "/api/license/claims/poll"
PATHS = {"sync": SYNC, "claims": CLAIMS, "polls": POLLS}
PLANS = [
    Plan("free", "Free", limits={"maxProjects": 1}, is_default=True),
    Plan("pro", "Pro", Price(2000, "cad"), {"customDomains"}, {"maxProjects": 10, "maxApps": UNLIMITED}),
]


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    """The published file."""
    return OpenApi()


class Story:
    """A hub, and every answer that it gave, by path and status."""

    def __init__(self, *, signed: bool) -> None:
        self.clock = ManualClock()
        self.hub = HubSimulator(clock=self.clock, signed=signed)
        self.tenant = self.hub.add_tenant("Acme")
        self.key = self.hub.issue_license(self.tenant, tier="growth")
        self.hub.set_catalog(self.tenant, PLANS)
        self.answers: list[tuple[str, HubResponse]] = []

    def sync(self, key: str | None = None, **changes: Any) -> HubResponse:
        """Ask for a sync."""
        return self._kept(SYNC, sync_request(key or self.key, **changes))

    def ask(self, path: str, body: dict[str, Any]) -> HubResponse:
        """Ask about a claim."""
        return self._kept(path, request(path, body))

    def _kept(self, path: str, wanted: HubRequest) -> HubResponse:
        response = self.hub.transport().post(wanted)
        self.answers.append((path, response))
        return response

    def play(self) -> None:
        """Bring about every answer that the hub has but for a failing store and a body that is too large."""
        self.sync(usage={"maxProjects": 2}, meters=[])
        self.sync("lic_unknown")
        self.answers.append((SYNC, self.hub.transport().post(request(SYNC, {}))))
        self.sync(productType="leeram-business")
        self.sync(nonce="bad")
        self.sync(instanceId="inst_two")
        self.hub.change_tier(self.key, "enterprise")
        self.sync(instanceId="inst_two", usage={"maxProjects": 7})
        self.hub.set_allowances(self.key, "inst_one", {"maxProjects": 3})
        self.hub.pay_until(self.key, self.clock.now())
        self.hub.suspend(self.key, "unpaid")
        self.sync()
        self.hub.revoke(self.key)
        self.sync()
        for path in (CLAIMS, POLLS):
            self.ask(path, {})
        self.ask(CLAIMS, CLAIM)
        self.ask(CLAIMS, {**CLAIM, "secretHash": "sha256:" + "a" * 64})
        for number in range(5):
            more = {"code": f"ABCD-000{number}", "secretHash": f"sha256:{number:064}"}
            self.ask(CLAIMS, {**CLAIM, **more})
        self.ask(POLLS, POLL)
        self.ask(POLLS, POLL)
        self.hub.approve_claim("KPXY-4829", self.key)
        self.ask(POLLS, POLL)
        self.clock.advance(timedelta(minutes=15))
        self.ask(POLLS, POLL)
        self.ask(CLAIMS, CLAIM)
        self.hub.deny_claim("KPXY-4829")
        self.ask(POLLS, POLL)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_every_answer_is_as_documented(openapi: OpenApi, *, signed: bool) -> None:
    """Each status that the file names is brought about, and every answer's body and headers are as it says."""
    story = Story(signed=signed)
    story.play()
    for path in PATHS.values():
        story.answers += [(path, too_large()), (path, unavailable())]
        seen = {response.status for answered, response in story.answers if answered == path}
        assert seen == openapi.statuses(path)
    for path, response in story.answers:
        assert openapi.problems(content(response), openapi.response(path, response.status)) == []
        assert openapi.headers(path, response.status) <= response.headers.keys()
        if signed and path == SYNC and response.status == 200:
            payload = read_token(content(response)["license"], story.hub.trusted_keys)
            assert openapi.problems(payload, openapi.schema("LicensePayload")) == []


def test_every_code_is_documented(openapi: OpenApi) -> None:
    """The hub's codes are those of the file."""
    assert openapi.schema("Refusal")["properties"]["code"]["enum"] == list(RefusalCode)


def test_the_client_asks_as_documented(openapi: OpenApi) -> None:
    """What the license client sends is as the file has it."""
    sent: list[HubRequest] = []
    clock = ManualClock()
    hub = HubSimulator(clock=clock)
    key = hub.issue_license(hub.add_tenant("Acme"))

    class Recording:
        def post(self, wanted: HubRequest) -> HubResponse:
            sent.append(wanted)
            return hub.transport().post(wanted)

        def close(self) -> None:
            """Nothing is open."""

        def usage_report(self) -> UsageReport:
            month = clock.now().replace(day=1, hour=0)
            return UsageReport({"maxProjects": 2}, [MeterReport("buildMinutesPerMonth", month, 60)])

    outside = Recording()
    store = MemoryStore(clock=clock)
    config = LicenseConfig(trusted_keys=hub.trusted_keys)
    client = LicenseClient(config, store, usage=outside, transport=outside, clock=clock)
    ticket = client.begin_claim()
    hub.approve_claim(ticket.code, key)
    client.poll_claim()
    assert client.confirm_claim().ok
    assert [wanted.url.removeprefix("https://kuploy.app") for wanted in sent] == [CLAIMS, POLLS, SYNC]
    for wanted in sent:
        path = wanted.url.removeprefix("https://kuploy.app")
        assert openapi.problems(json.loads(wanted.body), openapi.request(path)) == []


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@settings(max_examples=examples(30))
@given(data=st.data())
def test_what_the_file_allows_is_understood(openapi: OpenApi, path: str, data: st.DataObject) -> None:
    """Every body that is as the file has it is read: the hub answers as documented, and never `invalid_request`."""
    hub = HubSimulator(clock=ManualClock(), signed=False)
    key = hub.issue_license(hub.add_tenant("Acme"))
    body = data.draw(openapi.values(openapi.request(path)))
    headers = {"Authorization": f"Bearer {key}"}
    response = hub.transport().post(HubRequest("http://hub.invalid" + path, headers, json.dumps(body).encode()))
    assert response.status in openapi.statuses(path)
    assert response.status != 400, response.body
    assert openapi.problems(content(response), openapi.response(path, response.status)) == []


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@settings(max_examples=examples(30))
@given(data=st.data())
def test_what_the_file_requires_is_required(openapi: OpenApi, path: str, data: st.DataObject) -> None:
    """A body without a required field, or with a field of another type, is `invalid_request`."""
    hub = HubSimulator(clock=ManualClock(), signed=False)
    key = hub.issue_license(hub.add_tenant("Acme"))
    schema = openapi.request(path)
    body = data.draw(openapi.values(schema))
    name = data.draw(st.sampled_from(sorted(body)))
    if name in schema["required"] and data.draw(st.booleans()):
        del body[name]
    else:
        body[name] = data.draw(st.sampled_from([[{}], {"": ""}, 1.5, False]))
    headers = {"Authorization": f"Bearer {key}"}
    response = hub.transport().post(HubRequest("http://hub.invalid" + path, headers, json.dumps(body).encode()))
    assert (response.status, content(response)["code"]) == (400, "invalid_request")


def test_the_samples_are_valid(openapi: OpenApi) -> None:
    """The examples in the file are as their own schemas have them, and the checker sees what is not."""
    for schema in openapi.document["components"]["schemas"].values():
        for example in schema.get("examples", ()):
            assert openapi.problems(example, schema) == []
    bad = {"schema": 2, "instanceId": "a b", "productType": 1, "usage": {"1": -1}, "meters": [{}], "other": 1}
    assert len(openapi.problems({**bad, "nonce": NONCE}, openapi.request(SYNC))) >= 7
    assert openapi.problems({"instanceId": "inst_one", "secret": SECRET}, openapi.request(POLLS)) == []


def test_a_store_that_fails_is_the_caller_s_to_answer() -> None:
    """The service raises `StorageError`, of which the application makes the documented 503."""

    class Broken:
        @contextmanager
        def transaction(self) -> Iterator[HubRows]:
            raise StorageError("the disk is full")
            yield

        def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(StorageError):
        Hub(Broken(), Plain(), ManualClock()).post(request(POLLS, POLL))
    assert content(unavailable())["code"] == "rate_limited"
