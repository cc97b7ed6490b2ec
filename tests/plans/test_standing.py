"""Which plan an org is on: every source, every end."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.plans.world import BIG, CATALOG, FREE, NOW, PRO, SPACE

from kuploy_saas_kit.model.subscription import Assignment, OrgStanding, OrgSubscription
from kuploy_saas_kit.plans import INTERNAL, Entitlements, Layer, PlanResolution, PlanSource
from kuploy_saas_kit.plans.standing import grace_end, resolve

GRACE = timedelta(days=14)
SOON, LATER = NOW + timedelta(hours=1), NOW + timedelta(days=40)


def _subscription(status: str = "active", plan: str | None = "pro", since: datetime | None = None) -> OrgSubscription:
    return OrgSubscription(
        subscription_id="sub_1",
        space=SPACE,
        org_id="acme",
        customer_id="cus_1",
        plan=plan,
        price_id="price_1",
        status=status,
        known_status=status,
        created=NOW,
        past_due_since=since,
    )


def _assignment(plan: str, until: datetime | None = None) -> Assignment:
    return Assignment(org_id="acme", plan=plan, actor="root", reason="test", assigned_at=NOW, until=until)


ON_FREE = PlanResolution(FREE, PlanSource.DEFAULT)
ON_PRO = PlanResolution(PRO, PlanSource.SUBSCRIPTION)


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (OrgStanding(), ON_FREE),
        (OrgStanding(_subscription()), ON_PRO),
        (OrgStanding(_subscription("trialing")), ON_PRO),
        (OrgStanding(_subscription("canceled")), ON_FREE),
        (OrgStanding(_subscription(plan=None)), ON_FREE),
        (OrgStanding(_subscription(plan="gone")), ON_FREE),
        (OrgStanding(_subscription(plan="internal")), ON_FREE),
        (OrgStanding(_subscription("past_due", since=NOW)), PlanResolution(PRO, PlanSource.SUBSCRIPTION, NOW + GRACE)),
        (OrgStanding(_subscription("past_due", since=NOW - GRACE)), ON_FREE),
        (OrgStanding(_subscription("past_due")), ON_PRO),
        (OrgStanding(_subscription(), _assignment("big")), PlanResolution(BIG, PlanSource.ASSIGNMENT)),
        (OrgStanding(None, _assignment("internal", SOON)), PlanResolution(INTERNAL, PlanSource.ASSIGNMENT, SOON)),
        (OrgStanding(_subscription(), _assignment("big", NOW)), ON_PRO),
        (OrgStanding(_subscription(), _assignment("gone")), ON_PRO),
    ],
)
def test_sources_in_their_order(standing: OrgStanding, expected: PlanResolution) -> None:
    """Assignment, then a granting subscription, then the default plan; each with the instant at which it ends."""
    assert resolve(standing, CATALOG, now=NOW, past_due_grace=GRACE) == expected


def test_before_the_first_catalog() -> None:
    """Without a catalog only Internal, which the kit brings itself, can be assigned; nobody has anything else."""
    nothing = PlanResolution(None, PlanSource.NONE)
    settings: dict[str, Any] = {"now": NOW, "past_due_grace": GRACE}
    assert resolve(OrgStanding(), None, **settings) == nothing
    assert resolve(OrgStanding(_subscription(), _assignment("pro")), None, **settings) == nothing
    internal = resolve(OrgStanding(None, _assignment("internal", LATER)), None, **settings)
    assert internal == PlanResolution(INTERNAL, PlanSource.ASSIGNMENT, LATER)
    assert nothing.entitlements == Entitlements.BOTTOM
    assert nothing.layer(value=False) == Layer("plan:none", value=False, status="none")
    assert internal.layer(value=True) == Layer("plan:internal", value=True, status="assignment")
    assert (nothing.slug, internal.slug) == (None, "internal")


def test_grace_is_for_the_past_due() -> None:
    """Only a past-due subscription has an end of grace, counted from its oldest unpaid invoice."""
    assert grace_end(_subscription("past_due", since=NOW), GRACE) == NOW + GRACE
    assert grace_end(_subscription("past_due"), GRACE) is None
    assert grace_end(_subscription("active", since=NOW), GRACE) is None
