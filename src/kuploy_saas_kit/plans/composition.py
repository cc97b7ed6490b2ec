"""L1 × L2: an org has what the tenant's license and its own plan both grant."""

from __future__ import annotations

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.plan import Plan


def compose(grant: LicenseGrant | None, plan: Plan) -> Entitlements:
    """What an org on *plan* has under *grant*; without a grant, nothing. Never above either of them."""
    return ceiling_of(grant) & plan.entitlements


def compose_feature(feature: str, grant: LicenseGrant | None, plan: Plan) -> bool:
    """Whether an org on *plan* has *feature* under *grant*."""
    return ceiling_of(grant).allows(feature) and plan.entitlements.allows(feature)


def ceiling_of(grant: LicenseGrant | None) -> Entitlements:
    """The rights that no plan can exceed."""
    return Entitlements.BOTTOM if grant is None else grant.entitlements
