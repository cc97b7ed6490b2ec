from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from tests.stripe_provision.test_sales import WANTED, Shop
from tests.stripe_provision.world import catalog, pro, require_goal, require_nothing_to_do

from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.model.plan import Plan
from kuploy_saas_kit.model.subscription import Access
from kuploy_saas_kit.testing.stripe.quirks import Quirks, Settings


def _flipped(name: str) -> Quirks:
    plain = getattr(Quirks(), name)
    other: Any = not plain if isinstance(plain, bool) else "exclusive"
    return replace(Quirks(), **{name: other})


FLIPPED = {item.name: _flipped(item.name) for item in fields(Quirks)}


@pytest.mark.parametrize("quirk", FLIPPED)
def test_the_story_is_the_same_whatever_stripe_leaves_undocumented(quirk: str) -> None:
    """Prices that change and change back, an open session, a sale, dunning and recovery: the same under each quirk."""
    shop = Shop(quirks=FLIPPED[quirk])
    shop.sim.settings = Settings(after_retries="unpaid")
    session = shop.start()
    for wanted in (catalog(pro(2500)), WANTED):
        assert shop.provisioner.provision(wanted).is_complete
        require_goal(shop, wanted)
    require_nothing_to_do(shop.provisioner, WANTED)
    shop.sim.pay(session.id)
    shop.sim.deliver(order="reversed")
    assert (shop.row().plan, shop.row().access) == ("pro", Access.GRANTED)
    shop.sim.fail_payment(shop.row().subscription_id)
    shop.sim.advance(timedelta(days=20))
    shop.sim.deliver()
    assert shop.row().access is Access.NONE
    shop.sim.pay_invoice(shop.row().subscription_id)
    shop.sim.deliver()
    assert shop.row().status == shop.sim.subscription(shop.row().subscription_id)["status"]


@pytest.mark.parametrize("reuses", [True, False])
def test_a_deleted_product_is_made_anew_or_named(reuses: bool) -> None:  # noqa: FBT001 - the question
    """A product id is used again where Stripe allows it; otherwise the error names it, and no run loops."""
    shop = Shop(quirks=Quirks(reuses_deleted_ids=reuses))
    shop.stripe().v1.products.create({"id": "kuploy_gone", "name": "Gone"})
    shop.stripe().v1.products.delete("kuploy_gone")
    shop.forget_requests()
    gone = plan_called("gone")
    report = shop.provisioner.provision(catalog(gone, *WANTED.plans[1:]))
    assert report.is_complete is reuses
    assert reuses or "kuploy_gone" in str(report.plans["gone"].error)
    assert len(shop.sim.requests) < 20


def plan_called(slug: str) -> Plan:
    """A plan under this slug."""
    return Plan(slug, "Gone", Price(700, "cad"))
