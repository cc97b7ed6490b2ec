"""The gate's decisions on operations and features as pure functions: license × plan × schema → `Decision`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.product import ProductSchema
from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits
from kuploy_saas_kit.plans.composition import ceiling_of
from kuploy_saas_kit.plans.decision import Decision, Layer, LayerValue, Reason
from kuploy_saas_kit.plans.ports import SnapshotView
from kuploy_saas_kit.plans.standing import PlanResolution

STATUS_REASONS: Final[dict[LicenseStatus, Reason]] = {
    LicenseStatus.UNLICENSED: Reason.NO_LICENSE,
    LicenseStatus.PENDING: Reason.LICENSE_PENDING,
    LicenseStatus.REVOKED: Reason.LICENSE_REVOKED,
    LicenseStatus.SUSPENDED: Reason.LICENSE_SUSPENDED,
    LicenseStatus.EXPIRED: Reason.LICENSE_EXPIRED,
    LicenseStatus.GRACE: Reason.LICENSE_GRACE,
}
"""Why a status refuses what it refuses."""


@dataclass(frozen=True, slots=True)
class LicenseFacts:
    """What a decision needs of the license, taken from one snapshot.

    *grant* is None where the status lets nothing be used, whatever was granted before.
    """

    status: LicenseStatus
    grant: LicenseGrant | None
    revision: int | None

    @property
    def ceiling(self) -> Entitlements:
        """The rights that no plan can exceed."""
        return ceiling_of(self.grant)

    def layer(self, value: LayerValue) -> Layer:
        """The license's layer of a decision, with the *value* that it gave."""
        source = "license:none" if self.grant is None else f"license:{self.grant.tier}"
        return Layer(source, value, version=self.revision, status=self.status)


def license_facts(snapshot: SnapshotView) -> LicenseFacts:
    """The facts of *snapshot*; the clock alone never changes its grant."""
    status = snapshot.status
    grant = snapshot.grant if permits(status, Operation.USE) else None
    return LicenseFacts(status, grant, snapshot.revision)


def entitlements_of(facts: LicenseFacts, resolution: PlanResolution, schema: ProductSchema) -> Entitlements:
    """What an org on *resolution* has; keys that *schema* lacks are denied whatever license and plan say."""
    return facts.ceiling & resolution.entitlements & schema.known


def operation_decision(operation: Operation, facts: LicenseFacts) -> Decision:
    """Whether the license's status permits *operation*."""
    layer = facts.layer(permits(facts.status, operation))
    if permits(facts.status, operation):
        return Decision.grant(operation, (layer,))
    return Decision.refuse(STATUS_REASONS[facts.status], operation, (layer,), blocking=layer)


def unknown_key_decision(key: str, schema: ProductSchema) -> Decision:
    """The refusal of a key that the product does not have."""
    layer = Layer(f"schema:{schema.product_type}", value=False)
    return Decision.refuse(Reason.UNKNOWN_KEY, key, (layer,), blocking=layer)


def feature_decision(
    feature: str, operation: Operation, facts: LicenseFacts, resolution: PlanResolution, schema: ProductSchema
) -> Decision:
    """Whether *feature*, a canonical key, is granted for *operation*; the first layer that refuses gives the reason."""
    if feature not in schema.features:
        return unknown_key_decision(feature, schema)
    in_license = facts.layer(facts.ceiling.allows(feature))
    in_plan = resolution.layer(resolution.entitlements.allows(feature))
    refusal = next(_feature_refusals(operation, facts, in_license, in_plan), None)
    if refusal is None:
        return Decision.grant(feature, (in_license, in_plan))
    reason, blocking = refusal
    return Decision.refuse(reason, feature, (in_license, in_plan), blocking=blocking)


def _feature_refusals(
    operation: Operation, facts: LicenseFacts, in_license: Layer, in_plan: Layer
) -> Iterator[tuple[Reason, Layer]]:
    if operation is Operation.RUN:
        return
    if not permits(facts.status, operation):
        yield STATUS_REASONS[facts.status], in_license
    if not in_license.value:
        yield Reason.NOT_IN_LICENSE, in_license
    if not in_plan.value:
        yield Reason.NOT_IN_PLAN, in_plan


def feature_decisions(facts: LicenseFacts, resolution: PlanResolution, schema: ProductSchema) -> dict[str, Decision]:
    """Every feature of *schema*, by key and by alias, for features in use (`Operation.USE`)."""
    decisions = {key: feature_decision(key, Operation.USE, facts, resolution, schema) for key in schema.features}
    aliases = {alias: decisions[key] for alias, key in schema.aliases.items() if key in decisions}
    return {**decisions, **aliases}
