from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.license.doubles import SIGNER, World, tls_only_world

from kuploy_saas_kit.license import LicenseClient, LicenseStatus, Operation, Trust
from kuploy_saas_kit.license.ports import HubResponse

SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def warm() -> tuple[World, LicenseClient]:
    """A client of a hub without keys, after a good sync."""
    world = tls_only_world()
    client = world.client()
    assert client.sync().ok
    world.clock.advance(MINUTE)
    return world, client


def test_a_plain_payload_is_taken_and_survives_a_restart() -> None:
    """Chosen knowingly, TLS alone makes an answer believable; the snapshot says so."""
    world, client = warm()
    restarted = world.client()
    restarted.load()
    for process in (client, restarted):
        assert process.snapshot().status is LicenseStatus.ACTIVE
        assert process.snapshot().trust is Trust.TLS_ONLY


def test_without_a_revision_the_order_of_arrival_counts() -> None:
    """A hub that numbers nothing is taken as it comes."""
    world = tls_only_world()
    world.hub.says = {"epoch": None, "revision": None, "nonce": None}
    client = world.client()
    assert client.sync().ok
    assert client.snapshot().revision == 1
    world.clock.advance(MINUTE)
    world.hub.says["plan"] = "business"
    assert client.sync().ok
    assert (client.snapshot().revision, client.snapshot().plan) == (2, "business")
    restarted = world.client()
    restarted.load()
    assert restarted.snapshot().revision == 2


def test_the_grace_is_seven_days_at_most() -> None:
    """Whatever an unsigned payload promises."""
    world = tls_only_world()
    issued = int(world.clock.now().timestamp())
    world.hub.says = {"graceUntil": issued + 40 * 86_400}
    client = world.client()
    client.sync()
    assert client.snapshot().grace_until == world.clock.now() + 7 * DAY


def test_a_token_cannot_be_verified_without_keys() -> None:
    """A hub that signs wants its keys configured, and the code says so."""
    world, client = warm()
    world.hub.signer = SIGNER
    assert client.sync().code == "sig.unverifiable"
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_cache_of_the_other_mode_is_absent() -> None:
    """Going from tls_only to pinned, the unsigned cache counts for nothing, and is replaced."""
    world, _ = warm()
    world.hub.signer = SIGNER
    pinned = world.client(trust="pinned", trusted_keys={"k1": SIGNER.public})
    pinned.load()
    assert pinned.snapshot().status is LicenseStatus.PENDING
    world.hub.revision = 0
    assert pinned.sync().ok
    assert world.store.record is not None
    assert world.store.record.trust == "pinned"


def by_code(world: World) -> None:
    """The hub refuses with a code."""
    world.hub.answers({"success": False, "error": "x", "code": "license_suspended"}, 403)


def by_payload(world: World) -> None:
    """The hub says it in a plain 200."""
    world.hub.comes_back()
    world.hub.says = {"status": "suspended"}


@pytest.mark.parametrize("say", [by_code, by_payload])
def test_a_suspension_needs_three_voices_over_ten_minutes(say: Any) -> None:
    """Unsigned bad news counts when it is repeated for long; a network failure between changes nothing."""
    world, client = warm()
    say(world)
    for _ in range(9):
        client.sync()
        assert client.snapshot().permits(Operation.CREATE)
        world.clock.advance(MINUTE)
    world.hub.goes_down()
    client.sync()
    world.clock.advance(MINUTE)
    assert client.snapshot().permits(Operation.CREATE)
    say(world)
    client.sync()
    assert client.snapshot().status is LicenseStatus.SUSPENDED
    world.hub.says = {}
    world.hub.comes_back()
    world.clock.advance(MINUTE)
    client.sync()
    assert client.snapshot().status is LicenseStatus.ACTIVE


@pytest.mark.parametrize("say", [by_code, by_payload])
@pytest.mark.parametrize(
    ("voices", "status"),
    [
        ((0, 600), LicenseStatus.STALE),
        ((0, 300, 599), LicenseStatus.STALE),
        ((0, 300, 600), LicenseStatus.SUSPENDED),
    ],
)
def test_how_many_voices_over_how_long(say: Any, voices: tuple[int, ...], status: LicenseStatus) -> None:
    """Two are too few however far apart, three too few within less than ten minutes."""
    world, client = warm()
    say(world)
    begun = world.clock.elapsed()
    for second in voices:
        world.clock.advance(begun + timedelta(seconds=second) - world.clock.elapsed())
        client.sync()
    assert client.snapshot().status is status


def test_a_good_answer_between_starts_the_count_again() -> None:
    """Two voices, a good answer and two more voices are no suspension."""
    world, client = warm()
    for _ in range(3):
        by_code(world)
        for _ in range(2):
            client.sync()
            world.clock.advance(6 * MINUTE)
        world.hub.comes_back()
        client.sync()
        world.clock.advance(MINUTE)
    assert client.snapshot().status is LicenseStatus.ACTIVE


def test_a_first_answer_that_says_suspended_counts_at_once() -> None:
    """Where nothing is held there is nothing to take away."""
    world = tls_only_world()
    world.hub.says = {"status": "suspended"}
    client = world.client()
    assert client.sync().status is LicenseStatus.SUSPENDED


def test_with_pinned_keys_no_code_takes_anything_away() -> None:
    """Only a signed status does: a thousand refusals by code leave the license as it is."""
    world = World()
    client = world.client()
    client.sync()

    def refuse(_: Mapping[str, Any]) -> HubResponse:
        raise AssertionError

    world.hub.fault = refuse
    for _ in range(100):
        world.hub.answers({"success": False, "error": "x", "code": "license_revoked"}, 403)
        world.clock.advance(MINUTE)
        client.sync()
    assert client.snapshot().permits(Operation.CREATE)
