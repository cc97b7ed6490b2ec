"""Hypothesis strategies for the kit's values. Needs the extra `kuploy-saas-kit[testing]`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import ALL, FeatureSet
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, Limits, LimitValue
from kuploy_saas_kit.model.money import CURRENCIES, MAX_AMOUNT, BillingCycle, Price
from kuploy_saas_kit.model.plan import INTERNAL, Plan, PlanCatalog
from kuploy_saas_kit.model.product import KUPLOY_CLOUD
from kuploy_saas_kit.model.subscription import STATUS_ACCESS, Assignment, OrgStanding, OrgSubscription, StripeSpace

_START = datetime(2026, 1, 1, tzinfo=UTC)

feature_keys = st.sampled_from([*KUPLOY_CLOUD.features, "futureFeature"])
"""Feature keys of kuploy-cloud, and one that it does not have."""

limit_keys = st.sampled_from([*KUPLOY_CLOUD.limits, "maxFutureThings"])
"""Limit keys of kuploy-cloud, and one that it does not have."""

limit_values: st.SearchStrategy[LimitValue] = st.one_of(
    st.just(UNLIMITED), st.integers(0, 6), st.integers(0, MAX_LIMIT), st.just(MAX_LIMIT)
)
"""Limit values: small ones often, the largest, and `UNLIMITED`."""

limit_entries = st.dictionaries(limit_keys, limit_values, max_size=6)
feature_sets: st.SearchStrategy[frozenset[str]] = st.frozensets(feature_keys, max_size=5)
_any_features: st.SearchStrategy[FeatureSet] = st.one_of(st.just(ALL), feature_sets)

entitlements: st.SearchStrategy[Entitlements] = st.builds(
    lambda features, limits, default: Entitlements(features, Limits(limits, default=default)),
    _any_features,
    limit_entries,
    limit_values,
)
"""Any rights at all, `TOP` and `BOTTOM` among them."""

grants: st.SearchStrategy[LicenseGrant] = st.one_of(
    st.sampled_from(list(KUPLOY_CLOUD.tiers.values())),
    st.builds(LicenseGrant, st.just("custom"), feature_sets, limit_entries),
)
"""Grants: the documented tiers, and made-up ones."""


@st.composite
def prices(draw: st.DrawFn) -> Price:
    """Prices in every currency that can be charged."""
    currency = draw(st.sampled_from(sorted(CURRENCIES)))
    step = CURRENCIES[currency].step
    return Price(draw(st.integers(0, MAX_AMOUNT // step)) * step, currency, draw(st.sampled_from(BillingCycle)))


slugs = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda slug: slug != INTERNAL.slug)


@st.composite
def plans(draw: st.DrawFn, slug: st.SearchStrategy[str] = slugs, *, is_default: bool = False) -> Plan:
    """Plans other than `INTERNAL`."""
    return Plan(
        draw(slug),
        draw(st.text(max_size=20)),
        draw(st.none() | prices()),
        draw(feature_sets),
        draw(limit_entries),
        is_default=is_default,
        is_active=is_default or draw(st.booleans()),
        description=draw(st.text(max_size=20)),
    )


@st.composite
def catalogs(draw: st.DrawFn) -> PlanCatalog:
    """Catalogs of one to five plans with one default."""
    default, *others = draw(st.lists(slugs, min_size=1, max_size=5, unique=True))
    first = draw(plans(st.just(default), is_default=True))
    return PlanCatalog([first, *(draw(plans(st.just(slug))) for slug in others)])


instants = st.integers(0, 3 * 365 * 24 * 3600).map(lambda seconds: _START + timedelta(seconds=seconds))
"""Whole seconds within three years from 2026 on, in UTC."""


@st.composite
def standings(draw: st.DrawFn, org_id: str, catalog: PlanCatalog) -> OrgStanding:
    """What an org may be on, given a catalog: any subscription status, any assignment, plans that are gone too."""
    slug = st.sampled_from([*(plan.slug for plan in catalog), INTERNAL.slug, "gone-plan"])
    return OrgStanding(
        draw(st.none() | _subscriptions(org_id, slug)),
        draw(st.none() | _assignments(org_id, slug)),
        draw(st.integers(0, 5)),
    )


def _subscriptions(org_id: str, slug: st.SearchStrategy[str]) -> st.SearchStrategy[OrgSubscription]:
    status = st.sampled_from([*STATUS_ACCESS, "frozen"])
    return st.builds(
        OrgSubscription,
        subscription_id=st.just("sub_1"),
        space=st.just(StripeSpace("acct_1", livemode=False)),
        org_id=st.just(org_id),
        customer_id=st.just("cus_1"),
        plan=st.none() | slug,
        price_id=st.just("price_1"),
        status=status,
        known_status=status,
        created=instants,
        period_start=st.none() | instants,
        past_due_since=st.none() | instants,
    )


def _assignments(org_id: str, slug: st.SearchStrategy[str]) -> st.SearchStrategy[Assignment]:
    return st.builds(
        Assignment,
        org_id=st.just(org_id),
        plan=slug,
        actor=st.just("admin"),
        reason=st.just("test"),
        assigned_at=instants,
        until=st.none() | instants,
    )
