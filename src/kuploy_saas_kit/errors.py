"""Everything that can go wrong, one tree, each named for what the caller can do about it.

KitError
├── ConfigurationError            wired wrong, or a mistake in a store's code: mend it, then start again
├── StorageError                  a store failed: retry later, under the same key; the cause is kept
│   └── StoredPlansError          the stored plans are no catalog (.stored): sync a license, or save the lost plan
├── InvalidValueError             a value that cannot exist: mend the caller (also a ValueError)
│   └── CatalogError              a plan catalog that contradicts itself
├── PlanError
│   ├── UnknownKeyError           no such feature or limit key in the product's schema
│   ├── NeverGateKeyError         a key that must never be gated (login, billing, export, license page)
│   ├── UnknownPlanError          no such plan in the catalog
│   ├── CeilingExceededError      a plan above the license (.violations): upgrade at the hub or trim the plan
│   ├── CatalogAuthorityError     plans are edited elsewhere (at the hub)
│   ├── PlanVersionConflictError  somebody else saved the plan in between: load it again
│   ├── DeniedError               refused, and .decision says why and who can lift it
│   │   ├── FeatureDeniedError
│   │   ├── LimitExceededError
│   │   └── LicenseDeniedError
│   ├── KeyConflictError          a holding key that is in use for another amount or limit
│   └── ReservationExpiredError   the reservation ran out and its room is gone
├── LicenseError
│   ├── PayloadRejectedError      the hub's answer changes nothing (.code says why)
│   ├── HubUnavailableError       no answer from the hub (.code): it is tried again by itself
│   ├── HubRefusedError           the hub said no (.code)
│   └── ClaimError                the claim is denied, expired or not begun
└── BillingError
    ├── BillingDisabledError      no Stripe keys yet: everything but checkout and provisioning works
    ├── CheckoutRefusedError      this plan or org is not to be sold by checkout
    ├── StripeUnavailableError    Stripe did not answer: retry later (.request_id)
    ├── StripeRejectedError       Stripe refused the request (.request_id, .code, .param, .status)
    ├── OwnershipError            an object at Stripe carries our id but not our mark
    ├── StaleDiffError            account or catalog changed since the diff was made: make it again
    └── WebhookRejectedError      not a webhook that Stripe signed for us: answer 400
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuploy_saas_kit.plans.ceiling import CeilingViolation
    from kuploy_saas_kit.plans.decision import Decision
    from kuploy_saas_kit.plans.ports import StoredPlans


class KitError(Exception):
    """The root of every error that the kit raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are copied, and sent to other processes, by their message alone; some here take more than that.
        return _again, (type(self), self.args), vars(self)


def _again(kind: type[KitError], args: tuple[object, ...]) -> KitError:
    return kind.__new__(kind, *args)


class ConfigurationError(KitError):
    """The kit is wired wrong, and the message says what to set; or a store's code is, and the cause says where."""


class StorageError(KitError):
    """A store could not do what was asked, and the cause is kept.

    Nothing is half-written. But where it was the answer that got lost, all of it may have been: call again under the
    same key where there is one, else look first.
    """


class StoredPlansError(StorageError):
    """The stored plans contradict each other: a tool of somebody's changed them. `stored` is all else that was read."""

    def __init__(self, message: str, stored: StoredPlans) -> None:
        super().__init__(message)
        self.stored = stored


class InvalidValueError(KitError, ValueError):
    """A value that cannot exist, such as a limit of −1 or a price in a currency that nobody has."""


class CatalogError(InvalidValueError):
    """A plan catalog that contradicts itself; the message names the plans."""


class PlanError(KitError):
    """The root of what `plans` refuses."""


class UnknownKeyError(PlanError):
    """A feature or limit key that the product's schema does not have."""


class NeverGateKeyError(PlanError):
    """A key that must stay reachable whatever the license says."""


class UnknownPlanError(PlanError):
    """A plan slug that the catalog does not have."""


class CeilingExceededError(PlanError):
    """A plan that asks for more than the license grants."""

    def __init__(self, message: str, violations: tuple[CeilingViolation, ...]) -> None:
        super().__init__(message)
        self.violations = violations


class CatalogAuthorityError(PlanError):
    """Plans are owned by the other side (`catalog_authority`)."""


class PlanVersionConflictError(PlanError):
    """The plan was saved by somebody else since it was read."""


class DeniedError(PlanError):
    """A requirement that was not granted; `decision` says why and who can lift it."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(str(decision))
        self.decision = decision


class FeatureDeniedError(DeniedError):
    """The org does not have this feature."""


class LimitExceededError(DeniedError):
    """There is no room under this limit."""


class LicenseDeniedError(DeniedError):
    """The license does not permit this operation now."""


class KeyConflictError(PlanError):
    """A holding key that already stands for another amount or another limit."""


class ReservationExpiredError(PlanError):
    """A reservation that ran out before it was committed, and whose room is taken."""


class LicenseError(KitError):
    """The root of what `license` raises."""


class _CodedLicenseError(LicenseError):
    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class PayloadRejectedError(_CodedLicenseError):
    """An answer of the hub, or a cached one, that does not stand up to verification."""


class HubUnavailableError(_CodedLicenseError):
    """The hub did not answer in a way that can be used."""


class HubRefusedError(_CodedLicenseError):
    """The hub understood and said no."""


class ClaimError(_CodedLicenseError):
    """A claim that cannot go on: denied, expired, or never begun."""


class BillingError(KitError):
    """The root of what `stripe_provision` raises."""


class BillingDisabledError(BillingError):
    """There are no Stripe keys; save them to sell plans."""


class CheckoutRefusedError(BillingError):
    """A checkout that must not be opened; the message says what to do instead."""


class _StripeError(BillingError):
    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id


class StripeUnavailableError(_StripeError):
    """Stripe did not answer or asked to wait; the same call may succeed later."""


class StripeRejectedError(_StripeError):
    """Stripe refused the request; the same call will be refused again."""


class OwnershipError(BillingError):
    """An object at Stripe has the id we would use but was not made by this kit and namespace."""


class StaleDiffError(BillingError):
    """The account or the catalog is not the one that the diff was made for."""


class WebhookRejectedError(BillingError):
    """Bytes that Stripe did not sign for this endpoint, or that are no event."""


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Whatever a store raises within becomes a `StorageError` with its cause; the kit's own errors pass.

    A mistake in its code is `ConfigurationError`: no later call mends it.
    """
    try:
        yield
    except KitError:
        raise
    except (AttributeError, NameError, TypeError) as error:
        raise ConfigurationError(
            f"could not {doing}: {type(error).__name__} in the code of the store, or in what it calls; its cause says "
            "where"
        ) from error
    except Exception as error:
        raise StorageError(f"could not {doing}: {type(error).__name__}; its cause says more") from error
