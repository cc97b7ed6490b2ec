"""The endpoints: what is asked wrongly, and what no answer or log ever holds."""

import json
import logging
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.talk import SECRET, content, request, sync_body
from tests.hub.test_simulator import CLAIM, POLL

from kuploy_saas_kit.errors import ClaimError, HubRefusedError, InvalidValueError
from kuploy_saas_kit.hub.admin import HubAdmin
from kuploy_saas_kit.hub.records import HubPolicy, TenantSubscription
from kuploy_saas_kit.hub.service import Hub, Plain
from kuploy_saas_kit.hub.store import MemoryHubStore
from kuploy_saas_kit.license.ports import HubRequest, HubResponse
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.testing.clock import ManualClock

FREE = Plan("free", "Free", is_default=True)
_HOUR = timedelta(hours=1)


class World:
    """A hub without keys, its admin face and one license."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryHubStore()
        self.admin = HubAdmin(self.store, self.clock)
        self.hub = Hub(self.store, Plain(), self.clock, HubPolicy())
        self.tenant = self.admin.add_tenant("Acme")
        self.key = self.admin.issue_license(self.tenant, "kuploy-cloud", "growth")

    def sync(self, authorization: str | None = None, **changes: Any) -> HubResponse:
        """The answer to a sync."""
        return self.raw(json.dumps(sync_body(**changes)).encode(), authorization)

    def raw(self, body: bytes, authorization: str | None = None) -> HubResponse:
        """The answer to any body at the sync endpoint."""
        headers = {"authorization": f"Bearer {self.key}" if authorization is None else authorization}
        return self.hub.post(HubRequest("http://hub.invalid/api/license/sync", headers, body))

    def ask(self, path: str, body: dict[str, Any]) -> HubResponse:
        """The answer to a request about claims."""
        return self.hub.post(request(f"/api/license/{path}", body))


@pytest.fixture
def world() -> World:
    """A fresh hub."""
    return World()


def code(response: HubResponse) -> tuple[int, str]:
    """Status and code of a refusal, whose body has exactly the three documented fields."""
    got = content(response)
    assert got.keys() == {"success", "error", "code"}
    assert got["success"] is False
    assert got["error"]
    return response.status, got["code"]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic bGlj", "Bearer " + "x" * 300])
def test_a_sync_needs_a_key(world: World, authorization: str) -> None:
    """Without a license key, or with an absurd one, the answer is 401 and says how to send it."""
    response = world.sync(authorization)
    assert code(response) == (401, "license_not_found")
    assert response.headers["www-authenticate"] == "Bearer"


def test_an_unknown_key_is_not_found(world: World) -> None:
    """A key that the hub never issued is 404, and so is a license whose subscription is gone."""
    assert code(world.sync("Bearer lic_unknown")) == (404, "license_not_found")
    with world.store.transaction() as rows:
        rows.drop(TenantSubscription(tenant_id=world.tenant, product_type="kuploy-cloud", tier="growth"))
    assert code(world.sync()) == (404, "license_not_found")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": 2},
        {"schema": "1"},
        {"instanceId": "a b"},
        {"instanceId": "x" * 129},
        {"instanceId": None},
        {"nonce": "short"},
        {"nonce": "=" * 22},
        {"reportSeq": -1},
        {"reportSeq": 2**63},
        {"reportSeq": 1.0},
        {"knownEpoch": None},
        {"knownRevision": None},
        {"usage": {"maxApps": -1}},
        {"usage": {"maxApps": True}},
        {"usage": {"max apps": 1}},
        {"usage": {f"key{number}": 1 for number in range(129)}},
        {"meters": [{"key": "m", "period": "2026-11-01T00:00:00", "total": 1}]},
        {"meters": [{"key": "m", "period": "soon", "total": 1}]},
        {"meters": [{"key": "m", "period": "2026-11-01T00:00:00Z", "total": 1}] * 257},
        {"kitVersion": "a\nb"},
    ],
)
def test_a_sync_is_read_strictly(world: World, changes: dict[str, Any]) -> None:
    """What is not as the protocol has it is 400, names the field, and changes nothing."""
    response = world.sync(**changes)
    assert code(response) == (400, "invalid_request")
    assert next(iter(changes)) in content(response)["error"]
    assert content(world.sync())["license"]["revision"] == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 60_000, b'{"schema":1}'])
def test_a_body_that_is_no_sync_is_refused(world: World, body: bytes) -> None:
    """Broken, deep and foreign JSON is 400."""
    assert code(world.raw(body)) == (400, "invalid_request")


def test_a_large_body_is_refused(world: World) -> None:
    """More than 64 KiB is 413."""
    assert code(world.raw(b" " * (64 * 1024 + 1))) == (413, "invalid_request")


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_hub_raise(body: bytes) -> None:
    """Whatever is posted, the hub answers with a refusal."""
    world = World()
    assert world.raw(body).status == 400
    for path in ("claims", "claims/poll"):
        assert world.hub.post(request(f"/api/license/{path}", body)).status == 400


def test_unknown_fields_are_ignored(world: World) -> None:
    """A newer kit may say more."""
    assert world.sync(waitSeconds=30).status == 200


def test_other_paths_are_not_found(world: World) -> None:
    """Only the three paths answer."""
    assert code(world.ask("elsewhere", {})) == (404, "invalid_request")


@pytest.mark.parametrize(
    "changes", [{"code": "KPXY4829"}, {"secretHash": "a" * 64}, {"publicUrl": "x" * 2049}, {"hostname": "\x00"}]
)
def test_a_claim_is_read_strictly(world: World, changes: dict[str, str]) -> None:
    """A claim that is not as the protocol has it is 400 and does not repeat what was sent."""
    response = world.ask("claims", {**CLAIM, **changes})
    assert code(response) == (400, "invalid_request")
    assert next(iter(changes.values())) not in content(response)["error"]


def test_claims_collide_and_slow_down(world: World) -> None:
    """409 for a code that another shows; 429 with Retry-After for a poll before its time."""
    assert world.ask("claims", CLAIM).status == 201
    other = {**CLAIM, "instanceId": "inst_two", "secretHash": "sha256:" + "a" * 64}
    assert code(world.ask("claims", other)) == (409, "code_taken")
    assert content(world.ask("claims/poll", POLL)) == {"success": True, "status": "pending", "interval": 5}
    early = world.ask("claims/poll", POLL)
    assert code(early) == (429, "slow_down")
    assert early.headers["retry-after"] == "10"
    assert content(world.ask("claims/poll", {**POLL, "secret": "t" * 32})) == {"success": True, "status": "expired"}


def test_no_secret_in_any_log_or_refusal(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The license key, the claim's secret and its hash are in no log record and no answer but the approved one."""
    caplog.set_level(logging.DEBUG)
    answers = [world.sync(), world.sync(nonce="bad"), world.sync(f"Bearer {world.key}x"), world.ask("claims", CLAIM)]
    answers += [world.ask("claims/poll", POLL), world.ask("claims/poll", POLL), world.ask(f"{world.key}", {})]
    world.admin.approve_claim("KPXY-4829", world.key)
    assert content(world.ask("claims/poll", POLL))["licenseKey"] == world.key
    told = caplog.text + "".join(answer.body.decode() for answer in answers)
    assert "hub answered /api/license/sync with 200" in caplog.text
    assert not any(secret in told for secret in (world.key, SECRET, CLAIM["secretHash"]))


def test_a_license_key_is_not_kept(world: World) -> None:
    """The hub has the hash only, but for the minutes of an approved claim."""
    world.ask("claims", CLAIM)
    world.admin.approve_claim("KPXY-4829", world.key)
    assert world.key in _stored(world)
    world.clock.advance(world.admin.contract(world.key).license.issued_at - world.clock.now() + _HOUR)
    assert world.admin.pending_claims() == ()
    assert world.key not in _stored(world)


# --- the admin face --------------------------------------------------------------------------------------------------


def test_licenses_of_one_tenant_and_product_share_a_tier(world: World) -> None:
    """A second license is of the same tier, changing one changes both, and products are apart."""
    second = world.admin.issue_license(world.tenant, "kuploy-cloud", "growth")
    with pytest.raises(InvalidValueError, match="growth"):
        world.admin.issue_license(world.tenant, "kuploy-cloud", "hobby")
    leeram = world.admin.issue_license(world.tenant, "leeram-business", "studio")
    world.admin.change_tier(second, "business")
    tiers = [world.admin.contract(key).subscription.tier for key in (world.key, second, leeram)]
    assert tiers == ["business", "business", "studio"]
    with pytest.raises(InvalidValueError, match="no tier"):
        world.admin.change_tier(second, "studio")


def test_what_does_not_exist_is_refused_with_a_code(world: World) -> None:
    """Unknown tenants, licenses, instances and products have codes."""
    admin = world.admin
    refused: dict[str, Any] = {
        "tenant_not_found": lambda: admin.issue_license("tenant_none", "kuploy-cloud", "growth"),
        "license_not_found": lambda: admin.usage_of("lic_none"),
        "no_instance": lambda: admin.remove_instance(world.key, "inst_none"),
        "product_not_entitled": lambda: admin.set_catalog(world.tenant, "leeram-business", [FREE]),
    }
    for expected, call in refused.items():
        with pytest.raises(HubRefusedError) as error:
            call()
        assert error.value.code == expected


def test_bad_values_are_refused(world: World) -> None:
    """Naive instants, unlimited allowances and unprintable texts do not get in."""
    world.sync()
    wrong: list[Any] = [
        lambda: world.admin.pay_until(world.key, world.clock.now().replace(tzinfo=None)),
        lambda: world.admin.set_allowances(world.key, "inst_one", {"maxApps": -1}),
        lambda: world.admin.set_allowances(world.key, "inst_one", {"maxApps": UNLIMITED}),  # type: ignore[dict-item]
        lambda: world.admin.add_tenant("a\nb"),
        lambda: world.admin.add_tenant("x" * 256),
    ]
    for call in wrong:
        with pytest.raises(InvalidValueError):
            call()


def test_wrong_codes_lock_a_tenant(world: World) -> None:
    """After five wrong codes a tenant has to wait; the right code of another product is named as such."""
    world.ask("claims", {**CLAIM, "productType": "leeram-business"})
    codes = [_refused_code(world, "KPXY-4829"), *(_refused_code(world, "AAAA-0000") for _ in range(6))]
    assert codes == ["claim.product", *["claim.wrong_code"] * 5, "claim.locked"]


def test_a_wrong_code_is_not_denied(world: World) -> None:
    """Denying counts wrong codes too, for the tenant that denies."""
    for expected in [*["claim.wrong_code"] * 5, "claim.locked"]:
        with pytest.raises(ClaimError) as refused:
            world.admin.deny_claim("AAAA-0000", tenant_id=world.tenant)
        assert refused.value.code == expected
    assert _refused_code(world, "AAAA-0000") == "claim.locked"


def test_a_removed_instance_is_told(world: World) -> None:
    """Removing frees the seat for another instance."""
    world.sync()
    assert code(world.sync(instanceId="inst_two")) == (409, "instance_limit_reached")
    world.admin.remove_instance(world.key, "inst_one")
    assert content(world.sync())["license"]["status"] == "revoked"
    assert content(world.sync(instanceId="inst_two"))["license"]["status"] == "active"
    assert code(world.sync(productType="leeram-business")) == (403, "product_not_entitled")


def _refused_code(world: World, typed: str) -> str:
    with pytest.raises(ClaimError) as refused:
        world.admin.approve_claim(typed, world.key)
    return refused.value.code


def _stored(world: World) -> str:
    return str([str(getattr(row, "license_key", "")) for kept in world.store._rows.values() for row in kept.values()])
