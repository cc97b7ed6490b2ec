"""What a `SaasKit` is told beside its stores, and where its Stripe keys come from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from kuploy_saas_kit._clock import Clock
from kuploy_saas_kit.license.config import LicenseConfig
from kuploy_saas_kit.license.ports import ClientStore
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.plans.policy import GatePolicy
from kuploy_saas_kit.plans.ports import CountingStore

if TYPE_CHECKING:
    from kuploy_saas_kit.stripe_provision import StripeKeys
    from kuploy_saas_kit.stripe_provision.ports import OnChange

KeysSource: TypeAlias = "Callable[[], StripeKeys | None]"
"""Asked at each run and each delivery, so that keys saved or swapped in an admin page need no restart."""


class CatalogAuthority(StrEnum):
    """Who owns the plans."""

    HUB = "hub"
    """Plans are edited at the hub and come with each sync."""
    LOCAL = "local"
    """The operator edits plans on the instance; what the hub may send is not applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KitConfig:
    """What a `SaasKit` needs to know beside its stores.

    *policy* defaults to the license's product schema. *bootstrap* is stored where there are no plans at all, until a
    license brings its own. *namespace* tells this instance's objects at Stripe from those
    of another in the same account (default: made from the instance's id). *stripe_base_url* points to a simulator.
    *on_subscription_change* joins the transaction in which a webhook writes a subscription.
    """

    license: LicenseConfig
    policy: GatePolicy | None = None
    catalog_authority: CatalogAuthority = CatalogAuthority.HUB
    bootstrap: PlanCatalog | None = None
    namespace: str | None = None
    stripe_base_url: str | None = None
    on_subscription_change: OnChange | None = None


class KitSettings(TypedDict, total=False):
    """What `SaasKit.from_env` takes beside the store: fields of `KitConfig`, and what `SaasKit` takes by name."""

    license: LicenseConfig | None
    policy: GatePolicy | None
    catalog_authority: CatalogAuthority
    bootstrap: PlanCatalog | None
    namespace: str | None
    stripe_base_url: str | None
    on_subscription_change: OnChange | None
    license_store: ClientStore | None
    usage_store: CountingStore | None
    stripe: KeysSource | None
    clock: Clock | None


def keys_from_env(environ: Mapping[str, str] | None = None) -> StripeKeys | None:
    """The keys in `STRIPE_SECRET_KEY`, `STRIPE_PUBLISHABLE_KEY` and `STRIPE_WEBHOOK_SECRET` (several with commas)."""
    found = os.environ if environ is None else environ
    secret = found.get("STRIPE_SECRET_KEY", "").strip()
    if not secret:
        return None
    from kuploy_saas_kit.stripe_provision import StripeKeys  # noqa: PLC0415 - hosts without Stripe lack it

    signing = (part.strip() for part in found.get("STRIPE_WEBHOOK_SECRET", "").split(","))
    return StripeKeys(
        secret=secret,
        publishable=found.get("STRIPE_PUBLISHABLE_KEY", "").strip() or None,
        webhook_secrets=tuple(part for part in signing if part),
    )
