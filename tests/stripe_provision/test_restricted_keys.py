"""What a restricted key must be allowed to do, and what is said of one that may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NoReturn

import pytest
from tests.stripe_provision.test_sales import Shop
from tests.stripe_provision.world import business, catalog, pro

from kuploy_saas_kit.errors import StripeRejectedError
from kuploy_saas_kit.model.subscription import Access
from kuploy_saas_kit.testing.stripe.keys import PERMISSIONS

RESTRICTED: dict[str, Literal["read", "write"]] = {
    "products": "write",
    "prices": "write",
    "checkout_sessions": "write",
    "customers": "write",
    "billing_portal": "write",
    "subscriptions": "read",
    "invoices": "read",
    "events": "read",
}
"""What the guide to going live says that a restricted key needs."""


def _story(shop: Shop) -> Iterator[object]:
    """All that the kit asks of Stripe."""
    yield shop.provisioner.diff(catalog(pro(2500), business()))
    report = shop.provisioner.provision(catalog(pro(2500), business()))
    yield report.stopped_by is None or _raised(report.stopped_by)
    began = shop.clock.now()
    yield shop.sim.pay(shop.start().id)
    shop.sim.deliver()
    yield set(shop.statuses) == {200} or _raised(StripeRejectedError("a delivery was not taken"))
    shop.sim.fail_payment(shop.row().subscription_id)
    yield shop.webhooks.sync_org("acme")
    yield shop.checkout.portal("acme", return_url="https://shop.test/")
    yield shop.webhooks.resync_all()
    yield shop.webhooks.backfill_events(began)


def _raised(error: Exception) -> NoReturn:
    raise error


def test_a_restricted_key_with_the_documented_permissions_does_everything() -> None:
    """The list of the guide suffices for all that the kit does."""
    shop = Shop()
    shop.sim.restrict("rk_test_shop", RESTRICTED)
    shop.key = "rk_test_shop"
    assert len(list(_story(shop))) == 8
    assert shop.row().access is Access.GRACE


@pytest.mark.parametrize("missing", RESTRICTED)
def test_a_restricted_key_that_lacks_one_names_it(missing: str) -> None:
    """None of the list is too many: without it something fails, and says which permission is missing."""
    shop = Shop()
    shop.sim.restrict("rk_test_shop", {area: access for area, access in RESTRICTED.items() if area != missing})
    shop.key = "rk_test_shop"
    with pytest.raises(StripeRejectedError) as caught:
        list(_story(shop))
    outcomes = [str(caught.value), *shop.reasons]
    assert any(f"missing permission: {PERMISSIONS[missing]}_" in said for said in outcomes)
