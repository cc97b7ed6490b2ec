import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.license.doubles import KEY, FakeHub, World, answer

from kuploy_saas_kit.errors import ClaimError, HubRefusedError, HubUnavailableError
from kuploy_saas_kit.license import ClaimStatus, LicenseStatus
from kuploy_saas_kit.license.claim import make_code
from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.license.reading import hash_of_key

SECOND = timedelta(seconds=1)


class ClaimingHub(FakeHub):
    """A hub that registers claims and lets a test decide about them."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.claims: list[dict[str, Any]] = []
        self.polls: list[dict[str, Any]] = []
        self.decision: Mapping[str, Any] = {"status": "pending"}
        self.taken = 0
        self.refusal: HubResponse | None = None

    def post(self, request: HubRequest) -> HubResponse:
        if self.fault is not None or "/claims" not in request.url:
            return super().post(request)
        assert "Authorization" not in request.headers
        body = json.loads(request.body)
        return self._polled(body) if request.url.endswith("/poll") else self._begun(body)

    def _begun(self, body: dict[str, Any]) -> HubResponse:
        if self.taken:
            self.taken -= 1
            return answer({"success": False, "error": "taken", "code": "code_taken"}, 409)
        self.claims.append(body)
        ends = int((self.clock.now() + timedelta(minutes=15)).timestamp())
        return answer({"success": True, "expiresAt": ends, "interval": 5}, 201)

    def _polled(self, body: dict[str, Any]) -> HubResponse:
        self.polls.append(body)
        if self.refusal is not None:
            return self.refusal
        assert hash_of_key(body["secret"]) == self.claims[-1]["secretHash"]
        return answer({"success": True, **self.decision})


@pytest.fixture
def world() -> World:
    """An instance without a key, and a hub that takes claims."""
    world = World(license_key=None)
    world.hub = ClaimingHub(world)
    return world


def hub_of(world: World) -> ClaimingHub:
    """The world's hub as what it is."""
    assert isinstance(world.hub, ClaimingHub)
    return world.hub


APPROVED = {"status": "approved", "licenseKey": KEY, "tenantName": "Acme Hosting"}


def test_codes_are_made_to_be_read_aloud() -> None:
    """Four letters without look-alikes, a dash, four digits; of a thousand hardly two are the same."""
    codes = [make_code() for _ in range(1000)]
    assert all(re.fullmatch("[A-Z]{4}-[0-9]{4}", code) for code in codes)
    letters = {letter for code in codes for letter in code[:4]}
    assert len(letters) == 22
    assert letters.isdisjoint("ILOU")
    assert len(set(codes)) > 990


def test_a_claim_from_the_code_to_the_license(world: World) -> None:
    """Code shown, approved at the hub, tenant confirmed, key stored, license ACTIVE; the secret is gone."""
    client, hub = world.client(), hub_of(world)
    ticket = client.begin_claim()
    assert re.fullmatch(r"[A-HJKMNP-TV-Z]{4}-[0-9]{4}", ticket.code)
    assert ticket.expires_at == world.clock.now() + timedelta(minutes=15)
    assert client.poll_claim().status is ClaimStatus.PENDING
    hub.decision = APPROVED
    world.clock.advance(5 * SECOND)
    state = client.poll_claim()
    assert (state.status, state.tenant_name) == (ClaimStatus.APPROVED, "Acme Hosting")
    assert world.store.license_key is None
    assert client.snapshot().status is LicenseStatus.UNLICENSED
    assert client.confirm_claim().status is LicenseStatus.ACTIVE
    assert world.store.license_key == KEY
    assert world.store.claim is None


def test_the_hub_learns_a_hash_and_never_shows_the_secret_with_the_code(world: World) -> None:
    """What registers the claim holds no secret; what polls holds no code."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    client.poll_claim()
    assert world.store.claim is not None
    secret = world.store.claim.secret
    assert len(secret) >= 22
    assert secret not in json.dumps(hub.claims)
    assert set(hub.polls[0]) == {"instanceId", "secret"}
    assert secret not in repr(world.store.claim)


def test_a_restart_resumes_the_claim(world: World) -> None:
    """Another process shows the same code and polls with the same secret (F85)."""
    first = world.client().begin_claim()
    other = world.client()
    assert other.begin_claim() == first
    assert len(hub_of(world).claims) == 1
    hub_of(world).decision = APPROVED
    assert other.poll_claim().status is ClaimStatus.APPROVED
    again = world.client()
    assert again.poll_claim().status is ClaimStatus.APPROVED
    assert again.confirm_claim().status is LicenseStatus.ACTIVE


def test_a_confirmed_claim_is_seen_by_other_processes(world: World) -> None:
    """A running process picks the key up from the store at its next tick."""
    other = world.client()
    other.tick()
    client = world.client()
    client.begin_claim()
    hub_of(world).decision = APPROVED
    client.poll_claim()
    client.confirm_claim()
    world.clock.advance(SECOND)
    other.tick()
    assert other.snapshot().status is LicenseStatus.ACTIVE


def test_polling_sooner_than_the_interval_asks_nobody(world: World) -> None:
    """A host may poll in a tight loop; the hub is asked once per interval."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    for _ in range(10):
        client.poll_claim()
        world.clock.advance(SECOND)
    assert len(hub.polls) == 2


def test_slow_down_adds_five_seconds(world: World) -> None:
    """429 `slow_down` is obeyed, and remembered over a restart (F82)."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    hub.refusal = answer({"success": False, "error": "slow", "code": "slow_down"}, 429)
    state = client.poll_claim()
    assert (state.status, state.problem, state.interval) == (ClaimStatus.PENDING, "slow_down", 10 * SECOND)
    hub.refusal = None
    world.clock.advance(9 * SECOND)
    client.poll_claim()
    assert len(hub.polls) == 1
    assert world.client().begin_claim().interval == 10 * SECOND


@pytest.mark.parametrize("status", [ClaimStatus.DENIED, ClaimStatus.EXPIRED])
def test_a_claim_that_the_hub_ends_is_over(world: World, status: ClaimStatus) -> None:
    """Denied and expired wipe the secret; a new code comes only on request (F83)."""
    client, hub = world.client(), hub_of(world)
    first = client.begin_claim()
    hub.decision = {"status": status.value}
    assert client.poll_claim().status is status
    assert world.store.claim is None
    assert client.poll_claim().status is status
    with pytest.raises(ClaimError, match="no approved claim"):
        client.confirm_claim()
    assert client.begin_claim().code != first.code


def test_a_claim_expires_by_itself(world: World) -> None:
    """After 15 minutes nobody is asked any more (F83)."""
    client = world.client()
    client.begin_claim()
    world.clock.advance(timedelta(minutes=15))
    assert client.poll_claim().status is ClaimStatus.EXPIRED
    assert (world.store.claim, hub_of(world).polls) == (None, [])


def test_a_code_that_is_taken_is_replaced(world: World) -> None:
    """409 `code_taken` makes another code, a few times."""
    hub_of(world).taken = 2
    assert world.client().begin_claim().code == hub_of(world).claims[0]["code"]
    hub_of(world).taken = 99
    world.store.claim = None
    with pytest.raises(HubRefusedError, match="code_taken"):
        world.client().begin_claim()


def test_an_approval_without_a_license_key_is_no_approval(world: World) -> None:
    """A forged or damaged approval stores nothing and leaves the instance UNLICENSED (F84)."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    for key in ("", "nonsense", "lic_a b", "lic_" + "x" * 300):
        hub.decision = {**APPROVED, "licenseKey": key}
        world.clock.advance(60 * SECOND)
        state = client.poll_claim()
        assert (state.status, state.problem) == (ClaimStatus.PENDING, "payload.schema")
    assert world.store.license_key is None
    assert client.snapshot().status is LicenseStatus.UNLICENSED


def test_a_forged_license_after_a_claim_grants_nothing(world: World) -> None:
    """The claimed key does not make an unverified payload believable (F84)."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    hub.decision = APPROVED
    client.poll_claim()
    hub.says = {"keyHash": "sha256:" + "0" * 64}
    result = client.confirm_claim()
    assert (result.code, result.status) == ("bind.license", LicenseStatus.PENDING)
    assert client.snapshot().grant is None
    assert world.store.record is None


def test_an_unreachable_hub_is_an_error_to_begin_and_none_to_poll(world: World) -> None:
    """Beginning needs the hub and says so; polling goes on."""
    client, hub = world.client(), hub_of(world)
    hub.goes_down()
    with pytest.raises(HubUnavailableError, match="try again"):
        client.begin_claim()
    hub.comes_back()
    client.begin_claim()
    hub.goes_down("transport.timeout")
    state = client.poll_claim()
    assert (state.status, state.problem) == (ClaimStatus.PENDING, "transport.timeout")


@pytest.mark.parametrize("body", [b"<html>", b"{}", {"success": True, "expiresAt": []}])
def test_a_claim_that_is_not_understood_has_not_begun(world: World, body: object) -> None:
    """A 201 that is no answer to a claim keeps nothing: there is no code to show."""
    hub_of(world).fault = lambda _: answer(body, 201)
    with pytest.raises((HubRefusedError, HubUnavailableError)):
        world.client().begin_claim()
    assert world.store.claim is None


def test_a_configured_key_needs_no_claim(world: World) -> None:
    """LICENSE_KEY always wins, so a claim would change nothing."""
    with pytest.raises(ClaimError, match="unset LICENSE_KEY"):
        world.client(license_key=KEY).begin_claim()


def test_without_a_claim_there_is_nothing_to_poll(world: World) -> None:
    """Polling before beginning says so and asks nobody."""
    assert world.client().poll_claim().status is ClaimStatus.NONE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        {"success": True},
        {"success": True, "status": "yes"},
        {"success": True, "status": 1},
    ],
)
def test_any_other_answer_to_a_poll_changes_nothing(world: World, body: object) -> None:
    """Portals and damaged answers leave the claim pending."""
    client, hub = world.client(), hub_of(world)
    client.begin_claim()
    hub.refusal = answer(body)
    assert client.poll_claim().status is ClaimStatus.PENDING
    assert world.store.claim is not None


@pytest.mark.parametrize("expires_at", ["2026-11-01T12:10:00Z", "2026-11-01T12:10:00", "soon"])
def test_expiry_may_be_written_as_text(world: World, expires_at: str) -> None:
    """An ISO instant is understood, nonsense is the protocol's 15 minutes."""
    hub = hub_of(world)
    hub.fault = lambda _: answer({"success": True, "expiresAt": expires_at}, 201)
    wait = world.client().begin_claim().expires_at - world.clock.now()
    assert wait == timedelta(minutes=15 if expires_at == "soon" else 10)


def test_two_processes_that_begin_at_once_have_one_code(world: World) -> None:
    """While another process is making the claim nobody makes a second one (F85)."""
    world.store.leases["license-claim"] = "another process", world.clock.now() + timedelta(seconds=60)
    client = world.client()
    with pytest.raises(ClaimError, match="ask again in a moment"):
        client.begin_claim()
    world.clock.advance(timedelta(seconds=61))
    assert client.begin_claim() == world.client().begin_claim()
    assert len(hub_of(world).claims) == 1
    assert "license-claim" not in world.store.leases
