"""Values of the ledger that many tests start from."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kuploy_saas_kit.hub.claims import ClaimAsked
from kuploy_saas_kit.hub.ledger import Contract, LicenseTerms, SyncAsked, answer_sync
from kuploy_saas_kit.hub.records import HubPolicy, Instance, License, Refusal, TenantSubscription
from kuploy_saas_kit.hub.usage import UsageReported

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = HubPolicy()


def contract(tier: str = "growth", *, product: str = "kuploy-cloud", **changes: Any) -> Contract:
    """A contract on *tier* without instances; *changes* are of its license."""
    terms = {"license_id": "license_1", "key_hash": "sha256:1", "tenant_id": "tenant_1", "issued_at": NOW, **changes}
    return Contract(
        subscription=TenantSubscription(tenant_id="tenant_1", product_type=product, tier=tier),
        license=License(product_type=product, **terms),
    )


def with_instances(base: Contract, *instances: Instance) -> Contract:
    """The contract with these instances."""
    return Contract(
        subscription=base.subscription,
        license=base.license,
        catalog=base.catalog,
        instances={instance.instance_id: instance for instance in instances},
    )


def instance(name: str, **changes: Any) -> Instance:
    """An instance that holds the first seat for a week from NOW."""
    return Instance(
        license_id="license_1",
        instance_id=name,
        **{"place": 1, "held_until": NOW + timedelta(days=7), **changes},
    )


def sync(
    base: Contract, name: str, *, now: datetime = NOW, known: tuple[int, int] = (0, 0), epoch: int = 1, **report: Any
) -> Any:
    """The answer to a sync of the instance *name*."""
    asked = SyncAsked(
        instance_id=name,
        product_type="kuploy-cloud",
        nonce="nonce",
        known=known,
        kit_version="0.1.0",
        report=UsageReported(**report),
    )
    return answer_sync(base, asked, policy=POLICY, epoch=epoch, now=now)


def terms(base: Contract, name: str, **asked: Any) -> LicenseTerms:
    """The terms of a sync that is not refused."""
    answer = sync(base, name, **asked)
    assert isinstance(answer, LicenseTerms), answer
    return answer


def refusal(base: Contract, name: str, **asked: Any) -> Refusal:
    """The refusal of a sync that is refused."""
    answer = sync(base, name, **asked)
    assert isinstance(answer, Refusal), answer
    return answer


def claim_asked(**changes: Any) -> ClaimAsked:
    """The registration of a claim."""
    return ClaimAsked(
        **{
            "instance_id": "inst_one",
            "product_type": "kuploy-cloud",
            "code": "KPXY-4829",
            "secret_hash": "sha256:secret",
            "hostname": "node-1",
            **changes,
        }
    )
