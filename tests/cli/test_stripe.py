"""`stripe diff|apply|resync`, against the simulator over HTTP."""

import io
import json
import sys

import pytest
from tests.cli.instance import Instance
from tests.kit.world import CATALOG, FREE

from kuploy_saas_kit.cli.stripe import provision
from kuploy_saas_kit.plans import Plan, Price


@pytest.fixture
def shop(instance: Instance) -> Instance:
    """A licensed instance with plans, none of which is at Stripe."""
    instance.licensed()
    return instance


def answer(instance: Instance, text: str) -> None:
    """What the operator types."""
    instance.monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_diff_reads_only(shop: Instance) -> None:
    """The diff is shown, twice the same, and nothing is written."""
    for _ in range(2):
        ran = shop.run("stripe", "diff")
        assert (ran.status, ran.err) == (0, "")
        assert "+ pro: price 20.00 CAD monthly" in ran.out
    assert shop.world.stripe.writes == []
    told = json.loads(shop.run("stripe", "diff", "--json").out)
    assert {"CreateProduct", "CreatePrice"} <= {one["change"] for one in told["changes"]}


def test_apply_does_what_was_shown(shop: Instance) -> None:
    """After a yes the plan is sold; a second run has nothing to do and does not ask."""
    answer(shop, "y\n")
    ran = shop.run("stripe", "apply")
    assert ran.status == 0
    assert "Apply this to Stripe, acct_sim (test)? [y/N]" in ran.err
    assert "changes made at acct_sim (test)" in ran.out
    again = shop.run("stripe", "apply")
    assert (again.status, again.out, again.err) == (0, "nothing to change\n", "")
    assert json.loads(shop.run("stripe", "apply", "--json").out)["changes"] == []


def test_a_no_changes_nothing(shop: Instance) -> None:
    """An operator who says no has changed nothing."""
    answer(shop, "n\n")
    ran = shop.run("stripe", "apply")
    assert ran.status == 1
    assert shop.world.stripe.writes == []


def test_a_diff_that_is_stale_is_refused(shop: Instance) -> None:
    """Plans that change between diff and yes are not applied unseen."""
    store = shop.store()

    def confirmed_after_a_change(question: str, *, yes: bool) -> bool:
        store.replace_plans(type(CATALOG)([FREE, Plan("pro", "Pro", Price(9900, "cad"))]), revision=2)
        return True

    shop.monkeypatch.setattr(provision, "confirmed", confirmed_after_a_change)
    ran = shop.run("stripe", "apply")
    assert ran.status == 2
    assert "make the diff again" in ran.err
    assert shop.world.stripe.writes == []


def test_apply_for_machines(shop: Instance) -> None:
    """With --json one document says what was done."""
    ran = shop.run("stripe", "apply", "--yes", "--json")
    assert ran.status == 0
    told = json.loads(ran.out)
    assert told["plans"] == {"free": "unchanged", "pro": "changed"}
    assert told["stopped_by"] is None


def test_a_plan_that_fails(shop: Instance) -> None:
    """What Stripe refuses is a failed plan and exit status 1, with Stripe's reason."""
    shop.world.stripe.fault("403", match="POST /v1/prices", times=None)
    ran = shop.run("stripe", "apply", "--yes")
    assert ran.status == 1
    assert "! pro: failed" in ran.out


def test_the_license_must_permit_it(shop: Instance) -> None:
    """In GRACE plans are not carried to Stripe, by nobody; the diff can still be seen."""
    shop.world.later(days=3)
    assert shop.run("stripe", "diff").status == 0
    ran = shop.run("stripe", "apply", "--yes")
    assert ran.status == 2
    assert "license_grace" in ran.err
    assert shop.world.stripe.writes == []


@pytest.mark.parametrize("command", ["diff", "apply", "resync"])
def test_without_keys(shop: Instance, command: str) -> None:
    """Without Stripe's keys there is one line that says what to set."""
    shop.monkeypatch.delenv("STRIPE_SECRET_KEY")
    ran = shop.run("stripe", command)
    assert ran.status == 2
    assert "no Stripe keys" in ran.one_line


def test_a_refused_key(shop: Instance) -> None:
    """A key that Stripe refuses is one line, and is not shown."""
    shop.world.stripe.fault("401", times=None)
    assert shop.run("stripe", "diff").one_line


def test_no_plans(instance: Instance) -> None:
    """Without plans there is nothing to compare."""
    instance.run("store", "migrate")
    instance.set(STRIPE_SECRET_KEY="sk_test_kit")
    assert "there are no plans yet" in instance.run("stripe", "diff").one_line


def test_another_namespace_is_another_shop(shop: Instance) -> None:
    """The namespace of the host is what finds its objects again."""
    shop.run("stripe", "apply", "--yes", "--namespace", "shop-a")
    assert shop.run("stripe", "diff", "--namespace", "shop-a").out == "nothing to change\n"
    shop.set(KUPLOY_NAMESPACE="shop-a")
    assert shop.run("stripe", "diff").out == "nothing to change\n"
    assert shop.run("stripe", "diff", "--namespace", "shop-b").out != "nothing to change\n"


def test_resync_mends_a_lost_webhook(shop: Instance) -> None:
    """A subscription whose webhooks never came is found, once; the org has its plan then."""
    shop.run("stripe", "apply", "--yes")
    shop.world.store = shop.store()
    kit = shop.world.kit()
    kit.license.load()
    session = kit.checkout.start("acme", "pro", success_url="https://a.example/ok", cancel_url="https://a.example/no")
    shop.world.stripe.pay(session.id)
    ran = shop.run("stripe", "resync")
    assert ran.status == 0
    assert "acme on pro, active" in ran.out
    assert "1 subscriptions seen, 1 changed, 0 unmatched" in ran.out
    again = json.loads(shop.run("stripe", "resync", "--json").out)
    assert (again["seen"], again["changed"]) == (1, [])
    assert "acme is on pro (subscription" in shop.run("overview", "acme").out
