"""The one place that speaks with Stripe: keys, errors, retries, pages."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import tomllib
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import requests
import stripe
from tests.stripe_provision.world import LIVE_KEY, NO_WAIT, TEST_KEY, TEST_SPACE, World, catalog, pro, require_goal

from kuploy_saas_kit import stripe_provision
from kuploy_saas_kit._retry import RetryBudget, call_with_retries
from kuploy_saas_kit.adapters.memory import MemoryStore
from kuploy_saas_kit.errors import (
    BillingDisabledError,
    BillingError,
    ConfigurationError,
    StripeRejectedError,
    StripeUnavailableError,
)
from kuploy_saas_kit.stripe_provision import StripeGateway, StripeKeys, StripePort, StripeProvisioner, gateway
from kuploy_saas_kit.stripe_provision.gateway import API_VERSION
from kuploy_saas_kit.testing.stripe import StripeSimulator


def test_the_gateway_is_the_port() -> None:
    """The adapter fits the port that everything else is written against."""
    port: StripePort = World().gateway
    assert port.space().account_id == "acct_sim"


@pytest.mark.parametrize("installed", ["16.0.0", "16.1.0", "16.99.1", "16.2.0b1"])
def test_stripe_16_is_accepted(installed: str) -> None:
    """Every version of the series, released or to come; the package that is installed is one."""
    gateway.require_series(installed)
    gateway.require_series(stripe.VERSION)


@pytest.mark.parametrize("installed", ["12.5.1", "15.6.2", "17.0.0", "160.1.0", "1.6", ""])
def test_another_stripe_is_refused(installed: str) -> None:
    """The error says what is installed, what is needed and what to type."""
    with pytest.raises(ConfigurationError) as caught:
        gateway.require_series(installed)
    assert str(caught.value) == (
        f"the package stripe {installed} is installed and this version of the kit works with 16.x: "
        "pip install 'kuploy-saas-kit[stripe]'"
    )


def test_another_stripe_is_refused_before_anything_is_sold() -> None:
    """A host that has it installed is told when it first uses Stripe, and not by what Stripe's package then does."""
    code = """
        import stripe
        stripe.VERSION = "17.0.0"
        from kuploy_saas_kit.errors import ConfigurationError
        try:
            from kuploy_saas_kit.stripe_provision import StripeGateway
        except ConfigurationError as error:
            print(error)
    """
    command = [sys.executable, "-c", dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.startswith("the package stripe 17.0.0 is installed")


def test_the_extra_asks_for_the_series_that_is_accepted() -> None:
    """What pip installs is what the gateway accepts, and not more."""
    manifest = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert manifest["project"]["optional-dependencies"]["stripe"] == [f"stripe>={gateway.SERIES},<{gateway.SERIES + 1}"]


def test_every_request_is_pinned_to_one_api_version() -> None:
    """Stripe's answers keep the shape that this version of the kit reads."""
    world = World()
    world.provisioner.provision(catalog(pro()))
    assert {request.api_version for request in world.sim.requests} == {API_VERSION}


def test_the_account_is_asked_once_for_each_key() -> None:
    """Runs after the first cost no call to find out whose key it is; a swapped key asks again."""
    world = World()
    for _ in range(3):
        world.gateway.pinned().space()
    world.key = LIVE_KEY
    assert world.gateway.space().livemode
    assert [request.path for request in world.sim.requests] == ["/v1/account"] * 2


def test_the_publishable_key_is_handed_to_the_hosts_pages() -> None:
    """It is that of the keys which are saved now, and there is none where nothing is saved."""
    saved: list[StripeKeys] = []
    handed = StripeGateway(lambda: saved[-1] if saved else None)
    with pytest.raises(BillingDisabledError):
        _ = handed.publishable_key
    for keys in (
        StripeKeys(secret="sk_test_x", publishable="pk_test_x"),
        StripeKeys(secret="sk_live_x", publishable="pk_live_x"),
        StripeKeys(secret="sk_live_x"),
    ):
        saved.append(keys)
        assert handed.publishable_key == keys.publishable


def test_a_pinned_gateway_keeps_its_key() -> None:
    """A key that is saved during a run does not move the run to another account."""
    world = World()
    pinned = world.gateway.pinned()
    world.key = LIVE_KEY
    assert not pinned.space().livemode
    assert world.gateway.space().livemode


@pytest.mark.parametrize(
    ("fault", "status", "code", "calls"),
    [
        ("lost_before", None, "connection", 3),
        ("lost_after", None, "connection", 3),
        ("timeout", None, "connection", 3),
        ("500", 500, None, 3),
        ("html_502", 502, None, 3),
        ("429", 429, "rate_limit", 6),
        ("lock_timeout_409", 409, "lock_timeout", 6),
        ("lock_timeout_429", 429, "lock_timeout", 6),
    ],
)
def test_what_may_succeed_later_is_tried_again(fault: Any, status: int | None, code: str | None, calls: int) -> None:
    """Each fault is worth its number of attempts and ends as `StripeUnavailableError` that names it."""
    world = World()
    world.sim.fault(fault, times=None)
    with pytest.raises(StripeUnavailableError) as caught:
        world.gateway.product("kuploy_pro")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(world.sim.requests) == calls
    assert isinstance(caught.value.__cause__, stripe.StripeError)


def test_refusals_are_not_tried_again_and_name_the_request() -> None:
    """A refusal has Stripe's words, code, status and request id."""
    world = World()
    with pytest.raises(StripeRejectedError, match="No such price") as caught:
        world.gateway.update_price("price_nope", {"active": False})
    assert caught.value.status == 404
    assert caught.value.code == "resource_missing"
    assert caught.value.request_id
    assert len(world.sim.requests) == 1


@pytest.mark.parametrize("make", [repr, str, lambda gateway: "".join(map(str, vars(gateway)))])
def test_no_key_shows(make: Callable[[StripeGateway], str]) -> None:
    """Neither the gateway's repr nor its attributes' names hold the key."""
    assert "hunter2" not in make(StripeGateway.from_key("sk_test_hunter2"))


@pytest.mark.parametrize("fault", ["revoked", "lost_before", "500", "403"])
def test_a_key_shows_nowhere(fault: Any) -> None:
    """Neither messages, not even with the end of it that Stripe shows, nor the locals of any frame hold the key."""
    secret = "sk_test_" + "hunter2" * 3
    world = World(key=secret)
    if fault == "revoked":
        world.sim.revoke(secret)
    else:
        world.sim.fault(fault, times=None)
    gateway = world.gateway
    del world
    with pytest.raises(BillingError) as caught:
        gateway.product("kuploy_pro")
    error: BaseException | None = caught.value
    while error is not None:
        assert secret[-4:] not in "".join(map(str, error.args))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "stripe_provision" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename:
                assert secret not in repr(frame.f_locals)
            assert "site-packages/stripe/" not in frame.f_code.co_filename
        error = error.__cause__ or error.__context__


def test_a_notice_is_logged_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Stripe's notices reach the log without keys, and never a host that makes errors of warnings."""
    world = World()
    world.wire.headers = {"Stripe-Notice": "your key sk_test_abcdef is old"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        world.gateway.space()
    assert "sk_…" in caplog.text
    assert "abcdef" not in caplog.text


def test_another_api_version_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An answer in another version than the pinned one is worth a warning."""
    world = World()
    world.gateway.space()
    assert "API version" not in caplog.text
    world.wire.headers = {"Stripe-Version": "2020-08-27"}
    world.gateway.product("kuploy_pro")
    assert "API version 2020-08-27" in caplog.text


def test_a_deleted_object_is_none() -> None:
    """Whether Stripe answers 404 or the remains of an object, there is none."""
    world = World()
    world.provisioner.provision(catalog(pro()))
    assert world.gateway.product("kuploy_nope") is None
    assert world.gateway.product("kuploy_pro") is not None
    world.wire.after = lambda _method, _path, answer: answer.update(deleted=True)
    assert world.gateway.product("kuploy_pro") is None


def test_a_forked_process_has_connections_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that wrote to one connection would read one another's answers."""
    gateway = World().gateway
    client = gateway._client()
    assert gateway._client() is client
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert gateway._client() is not client


def test_a_customer_that_is_gone_has_no_subscriptions() -> None:
    """A deleted customer is no error; a listing that is refused for another reason is."""
    world = World()
    assert list(world.gateway.subscriptions(customer_id="cus_gone")) == []
    world.sim.fault("403", match="GET /v1/subscriptions")
    with pytest.raises(StripeRejectedError):
        world.gateway.subscriptions(customer_id="cus_gone")


def test_over_a_real_connection() -> None:
    """With the package's own HTTP client and a base URL, a catalog is provisioned over loopback."""
    sim = StripeSimulator()
    with sim.serve() as url:
        gateway = StripeGateway.from_key(TEST_KEY, base_url=url)
        assert StripeProvisioner(gateway, MemoryStore()).provision(catalog(pro())).is_complete
    assert len(sim.writes) == 3


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_an_emulator_is_asked_through_no_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator on this machine is reached directly where the environment names a proxy."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    with StripeSimulator().serve() as url:
        assert StripeGateway.from_key(TEST_KEY, base_url=url).space() == TEST_SPACE


def test_nothing_waits_for_stripe_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is given up after 3 seconds, an answer that stalls after 20."""
    timeouts: list[object] = []
    send = requests.Session.request

    def watched(session: requests.Session, *args: Any, **options: Any) -> requests.Response:
        timeouts.append(options["timeout"])
        return send(session, *args, **options)

    monkeypatch.setattr(requests.Session, "request", watched)
    with StripeSimulator().serve() as url:
        StripeGateway.from_key(TEST_KEY, base_url=url).space()
    assert timeouts == [(3.0, 20.0)]


def test_retries_of_one_write_share_a_key_and_writes_do_not() -> None:
    """A lost answer is replayed and not done twice; two writes never share a key."""
    world = World()
    world.sim.fault("lost_after", match="POST /v1/products", times=2)
    world.gateway.create_product("kuploy_a", {"name": "A"})
    world.gateway.create_product("kuploy_b", {"name": "B"})
    keys = [request.idempotency_key for request in world.writes]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_waits_stay_within_the_budget() -> None:
    """Waits grow at random up to their bound, and their sum never exceeds the budget."""
    waits: list[float] = []
    budget = RetryBudget(
        waiting=timedelta(seconds=5), first_wait=timedelta(seconds=1), longest_wait=timedelta(seconds=2)
    )

    def fail(_attempt: int) -> None:
        raise ValueError("again")

    with pytest.raises(ValueError, match="again"):
        call_with_retries(fail, attempts_for=lambda _error: 1000, budget=budget, sleep=waits.append)
    assert 0 < sum(waits) <= 5
    assert max(waits) <= 2


def test_an_attempt_knows_its_number_and_a_result_ends_it() -> None:
    """The first success is the result; what is worth one attempt is raised at once."""
    seen: list[int] = []

    def third_time(attempt: int) -> str:
        seen.append(attempt)
        if attempt < 3:
            raise ValueError("again")
        return "done"

    assert call_with_retries(third_time, attempts_for=lambda _error: 5, budget=NO_WAIT) == "done"
    assert seen == [1, 2, 3]
    with pytest.raises(ValueError, match="again"):
        call_with_retries(lambda _: third_time(0), attempts_for=lambda _error: 1, budget=NO_WAIT)


def test_the_room_loads_lazily() -> None:
    """Importing the room loads neither stripe nor pydantic nor tenacity; its names are all there."""
    script = (
        "import sys, kuploy_saas_kit.stripe_provision as room\n"
        "assert not {'stripe', 'pydantic', 'tenacity', 'httpx'} & set(sys.modules)\n"
        "from kuploy_saas_kit.stripe_provision import StripeProvisioner, provision_changes, Checkout\n"
        "assert 'stripe' not in sys.modules\n"
        "for name in room.__all__: getattr(room, name)\n"
    )
    subprocess.run([sys.executable, "-I", "-c", script], check=True)  # noqa: S603
    assert list(stripe_provision.__all__) == sorted(stripe_provision.__all__)
    with pytest.raises(AttributeError, match="nope"):
        stripe_provision.nope


def test_reports_are_values() -> None:
    """A report can be copied and pickled, such as for a job queue, and is never taken for a verdict."""
    report = World().provisioner.provision(catalog(pro()))
    assert copy.copy(report) == report
    assert pickle.loads(pickle.dumps(report)).changes == report.changes  # noqa: S301
    with pytest.raises(TypeError, match="is_complete"):
        bool(report)


def test_an_answer_that_cannot_be_read_names_the_fields() -> None:
    """A broken answer is an error that says where it is broken, and shows none of it."""
    world = World()
    world.provisioner.provision(catalog(pro()))

    def spoil(_method: str, path: str, answer: dict[str, Any]) -> None:
        if path == "/v1/prices" and answer["data"]:
            answer["data"][0]["active"] = "sometimes"

    world.wire.after = spoil
    with pytest.raises(StripeRejectedError, match=r"price .* \(active\)") as caught:
        world.provisioner.provision(catalog(pro()), force=True)
    assert "sometimes" not in str(caught.value)


def test_a_listing_that_is_refused_is_an_error() -> None:
    """A key that may not list is refused with the permission that it lacks."""
    world = World(key="rk_test_blind")
    world.sim.restrict("rk_test_blind", {"account": "read"})
    with pytest.raises(StripeRejectedError, match="rak_plan_read"):
        world.provisioner.diff(catalog(pro()))


def test_an_account_that_cannot_be_read_is_an_error() -> None:
    """Only a missing permission makes the key a space of its own; any other refusal is one."""
    world = World()
    world.sim.fault("401", match="GET /v1/account")
    with pytest.raises(StripeRejectedError, match="secret key"):
        world.gateway.space()


def test_a_stripe_that_never_holds_still_ends_the_run() -> None:
    """Somebody who undoes each change does not keep a run going for ever."""
    world = World()
    client = world.stripe().v1

    def undo(method: str, path: str, _answer: dict[str, Any]) -> None:
        if method == "POST" and path == "/v1/products/kuploy_pro":
            client.products.update("kuploy_pro", {"name": "Renamed again"})

    world.wire.after = undo
    report = world.provisioner.provision(catalog(pro()))
    assert isinstance(report.stopped_by, StripeUnavailableError)
    assert not report.is_complete


def test_prices_that_come_without_their_products() -> None:
    """An answer that names products and does not show them is read all the same: they are asked for by id."""
    world = World()

    def plain(method: str, path: str, answer: dict[str, Any]) -> None:
        if (method, path) == ("GET", "/v1/prices"):
            for price in answer["data"]:
                price["product"] = price["product"]["id"]

    assert world.provisioner.provision(catalog(pro())).is_complete
    world.wire.after = plain
    assert world.provisioner.diff(catalog(pro())) == ()
    assert world.provisioner.provision(catalog(pro(2500))).is_complete
    require_goal(world, catalog(pro(2500)))
