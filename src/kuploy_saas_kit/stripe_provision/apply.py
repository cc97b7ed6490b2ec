"""Making Stripe sell the catalog: observe, diff, apply, and again where Stripe had moved in between.

State is compared, nothing is remembered between two runs but a fingerprint that saves the look: a run that dies
anywhere, a lost answer, two replicas at once or swapped keys are mended by the next run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http import HTTPStatus
from itertools import groupby
from typing import Final, assert_never

from kuploy_saas_kit.errors import (
    BillingError,
    KitError,
    OwnershipError,
    StaleDiffError,
    StripeRejectedError,
    StripeUnavailableError,
)
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import naming
from kuploy_saas_kit.stripe_provision.changes import (
    ArchivePrice,
    Blocked,
    Change,
    CreatePrice,
    CreateProduct,
    DeactivateProduct,
    DropMapping,
    PersistMapping,
    ReactivatePrice,
    SetDefaultPrice,
    Skipped,
    UpdateProduct,
)
from kuploy_saas_kit.stripe_provision.diff import (
    Observed,
    Wanted,
    is_in_place,
    is_overtaken,
    plans_to_look_at,
    provision_changes,
    wanted_catalog,
)
from kuploy_saas_kit.stripe_provision.ports import MadePrice, ProvisioningStore, RemoteProduct, StripePort
from kuploy_saas_kit.stripe_provision.stores import storage_errors

ROUNDS: Final = 5
"""How often one run looks again after Stripe refused a change."""


class PlanOutcome(StrEnum):
    """What a run did for one plan."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FAILED = "failed"
    """Something must be mended first; other plans went on."""
    SKIPPED = "skipped"
    """A newer catalog was applied already, or the run stopped before this plan."""


@dataclass(frozen=True, slots=True)
class PlanResult:
    """The outcome for one plan, and why it is not in place."""

    outcome: PlanOutcome
    error: KitError | None = None

    def __str__(self) -> str:
        return f"{self.outcome}: {self.error}" if self.error is not None else str(self.outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionReport:
    """What a run did. *changes* were applied, in order; of a dry run they would be.

    *stopped_by* ended the run early: Stripe is unreachable or the key is refused. The next run goes on.
    """

    space: StripeSpace
    changes: tuple[Change, ...] = ()
    plans: Mapping[str, PlanResult] = field(default_factory=dict)
    dry_run: bool = False
    stopped_by: BillingError | None = None

    @property
    def is_complete(self) -> bool:
        """Whether Stripe now sells the catalog, as far as it is this run's to say."""
        done = {PlanOutcome.UNCHANGED, PlanOutcome.CHANGED}
        return self.stopped_by is None and all(result.outcome in done for result in self.plans.values())

    def __bool__(self) -> bool:
        raise TypeError("use .is_complete")

    def __str__(self) -> str:
        lines = [str(change) for change in self.changes]
        lines += [f"! {slug}: {result.error}" for slug, result in self.plans.items() if result.error is not None]
        return "\n".join(lines) or "nothing to change"


class StripeProvisioner:
    """Keeps Stripe's products and prices as the plan catalog says.

    *namespace* tells the objects of one license or instance from those of another in the same account; webhooks and
    checkout need the same one. *allow_empty* lets a catalog that sells nothing take everything out of sale.
    """

    def __init__(
        self,
        gateway: StripePort,
        store: ProvisioningStore,
        *,
        namespace: str = naming.DEFAULT_NAMESPACE,
        allow_empty: bool = False,
    ) -> None:
        self._gateway = gateway
        self._store = store
        self._namespace = naming.checked_namespace(namespace)
        self._allow_empty = allow_empty

    def diff(self, catalog: PlanCatalog, *, revision: int | None = None) -> tuple[Change, ...]:
        """What a run would change, with the number of subscriptions that stay on each old price. Reads only."""
        run = self._run(catalog, revision)
        return tuple(_with_subscribers(change, run.port) for change in run.changes())

    def provision(
        self,
        catalog: PlanCatalog,
        *,
        revision: int | None = None,
        dry_run: bool = False,
        force: bool = False,
        expected: Sequence[Change] | None = None,
    ) -> ProvisionReport:
        """Make Stripe sell *catalog*; from any state, any number of times. An unchanged catalog costs no call.

        *revision* orders catalogs: an older one never overwrites a newer. *force* looks at Stripe even so (drift).
        *expected* is a diff; `StaleDiffError` if it is not what would be done now. Raises `BillingDisabledError`
        without keys and `StripeUnavailableError` or `StripeRejectedError` if Stripe cannot even be read; what
        happens later is in the report. `StorageError` if the store fails: what is sold until then goes on.
        """
        run = self._run(catalog, revision)
        if not (force or dry_run or expected is not None) and run.nothing_to_look_at():
            return run.report(dry_run=False)
        changes = run.changes()
        if expected is not None and tuple(expected) != changes:
            raise StaleDiffError("account or catalog changed since the diff was made: make the diff again")
        return run.preview(changes) if dry_run else run.converge(changes)

    def _run(self, catalog: PlanCatalog, revision: int | None) -> _Run:
        port = self._gateway.pinned()
        wanted = wanted_catalog(catalog, namespace=self._namespace, revision=revision, allow_empty=self._allow_empty)
        return _Run(port, self._store, port.space(), wanted)


class _Run:
    """One run: one key, one catalog, and what became of each plan."""

    def __init__(self, port: StripePort, store: ProvisioningStore, space: StripeSpace, wanted: Wanted) -> None:
        self.port = port
        self._store = store
        self._space = space
        self._wanted = wanted
        self._applied: list[Change] = []
        self._results: dict[str, PlanResult] = {}
        self._refused: dict[str, tuple[Change, StripeRejectedError]] = {}

    def nothing_to_look_at(self) -> bool:
        with storage_errors():
            mappings = self._store.load_mappings(self._space)
            fingerprint = self._store.load_fingerprint(self._space)
        if is_overtaken(self._wanted, mappings):
            error = StaleDiffError("a newer catalog was applied")
            self._results = {slug: PlanResult(PlanOutcome.SKIPPED, error) for slug in self._wanted.plans}
            return True
        return is_in_place(self._wanted, fingerprint, mappings)

    def changes(self) -> tuple[Change, ...]:
        return provision_changes(self._wanted, self._observe())

    def preview(self, changes: tuple[Change, ...]) -> ProvisionReport:
        for change in changes:
            self._note(change)
        return self.report(dry_run=True)

    def converge(self, changes: tuple[Change, ...]) -> ProvisionReport:
        if changes:
            self._save_fingerprint(None)
        try:
            self._rounds(changes)
        except (StripeUnavailableError, StripeRejectedError) as error:
            return self.report(dry_run=False, stopped_by=error)
        report = self.report(dry_run=False)
        if report.is_complete:
            self._save_fingerprint(self._wanted.fingerprint)
        return report

    def report(self, *, dry_run: bool, stopped_by: BillingError | None = None) -> ProvisionReport:
        missing = PlanOutcome.UNCHANGED if stopped_by is None else PlanOutcome.SKIPPED
        plans = {slug: self._results.get(slug, PlanResult(missing)) for slug in self._wanted.plans}
        return ProvisionReport(
            space=self._space,
            changes=tuple(self._applied),
            plans={**plans, **self._results},
            dry_run=dry_run,
            stopped_by=stopped_by,
        )

    def _observe(self) -> Observed:
        products = self.port.owned_products(naming.product_prefix(self._wanted.namespace))
        with storage_errors():
            mappings = self._store.load_mappings(self._space)
        seen = Observed(space=self._space, products={product.id: product for product in products}, mappings=mappings)
        unsettled = plans_to_look_at(self._wanted, seen)
        prices = list(self.port.prices_by_key([plan.lookup_key for plan in unsettled if plan.lookup_key is not None]))
        for plan in unsettled:
            if plan.product_id in seen.products:
                prices.extend(self.port.prices_of(plan.product_id))
        return replace(seen, prices={price.id: price for price in prices})

    def _rounds(self, changes: Sequence[Change]) -> None:
        """Apply; where Stripe refused, look again. The same refusal of the same change twice is final."""
        for left in reversed(range(ROUNDS)):
            again = self._apply_all(changes, is_last=left == 0)
            if not again:
                return
            changes = [change for change in self.changes() if change.slug in again]

    def _apply_all(self, changes: Sequence[Change], *, is_last: bool) -> set[str]:
        again = set()
        for slug, group in groupby(changes, key=lambda change: change.slug):
            if self._would_empty_the_shop(slug):
                error = BillingError("it stays on sale, because no plan of the catalog could be put on sale")
                self._results[slug] = PlanResult(PlanOutcome.FAILED, error)
            elif self._apply_plan(slug, tuple(group), is_last=is_last):
                again.add(slug)
        return again

    def _would_empty_the_shop(self, slug: str) -> bool:
        """Whether *slug* is gone from the catalog and none of the catalog's own plans is on sale."""
        wanted = self._wanted
        if slug in wanted.plans or not wanted.sells or wanted.allow_empty:
            return False
        bad = {PlanOutcome.FAILED, PlanOutcome.SKIPPED}
        sold = (name for name, plan in wanted.plans.items() if plan.is_sold)
        return all(name in self._results and self._results[name].outcome in bad for name in sold)

    def _apply_plan(self, slug: str, changes: tuple[Change, ...], *, is_last: bool) -> bool:
        """Apply one plan's changes; whether to look at it again."""
        new_price: str | None = None
        for change in changes:
            try:
                new_price = self._apply(change, new_price) or new_price
            except StripeRejectedError as error:
                return self._refuse(slug, change, error, is_last=is_last)
            self._note(change)
        return False

    def _refuse(self, slug: str, change: Change, error: StripeRejectedError, *, is_last: bool) -> bool:
        if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._results[slug] = PlanResult(PlanOutcome.FAILED, error)
            raise error
        same_again = slug in self._refused and self._refused[slug][0] == change
        self._refused[slug] = (change, error)
        self._results[slug] = PlanResult(PlanOutcome.FAILED, error)
        return not (same_again or is_last)

    def _note(self, change: Change) -> None:
        match change:
            case Blocked():
                error = (OwnershipError if change.ownership else BillingError)(change.reason)
                self._results[change.slug] = PlanResult(PlanOutcome.FAILED, error)
            case Skipped():
                self._results[change.slug] = PlanResult(PlanOutcome.SKIPPED, StaleDiffError(change.reason))
            case _:
                self._applied.append(change)
                self._results[change.slug] = PlanResult(PlanOutcome.CHANGED)

    def _apply(self, change: Change, new_price: str | None) -> str | None:
        """Do one change; the id of the price that it made, if it made one."""
        match change:
            case CreateProduct():
                self._create_product(change)
            case UpdateProduct() | DeactivateProduct():
                self.port.update_product(change.product_id, change.fields)
            case CreatePrice():
                return self.port.create_price(_price_fields(change)).id
            case ReactivatePrice():
                self.port.update_price(change.price_id, {"active": True})
            case ArchivePrice():
                self.port.update_price(change.price_id, {"active": False})
            case SetDefaultPrice():
                self.port.update_product(change.product_id, {"default_price": change.price_id or new_price})
            case PersistMapping():
                self._put_mapping(change, change.price_id or new_price or "")
            case DropMapping():
                with storage_errors():
                    self._store.drop_mapping(self._space, change.slug)
            case Blocked() | Skipped():
                pass
            case _:
                assert_never(change)
        return None

    def _put_mapping(self, change: PersistMapping, price_id: str) -> None:
        made = MadePrice(
            price_id=price_id, slug=change.slug, product_id=change.product_id, lookup_key=change.lookup_key
        )
        with storage_errors():
            self._store.put_mapping(self._space, change.mapping_to(price_id), made)

    def _save_fingerprint(self, fingerprint: str | None) -> None:
        with storage_errors():
            self._store.save_fingerprint(self._space, fingerprint)

    def _create_product(self, change: CreateProduct) -> RemoteProduct:
        try:
            return self.port.create_product(change.product_id, change.fields)
        except StripeRejectedError as error:
            if error.code == "resource_already_exists" and self.port.product(change.product_id) is None:
                reason = (
                    f"Stripe keeps the product id {change.product_id} for a product that was deleted; "
                    "give the plan another slug"
                )
                raise StripeRejectedError(
                    reason, status=error.status, code=error.code, request_id=error.request_id
                ) from error
            raise


def _price_fields(change: CreatePrice) -> dict[str, object]:
    return {
        "product": change.product_id,
        "lookup_key": change.lookup_key,
        "unit_amount": change.price.amount,
        "currency": change.price.currency,
        "recurring": {"interval": naming.interval_of(change.price)},
        "metadata": dict(change.metadata),
    }


def _with_subscribers(change: Change, port: StripePort) -> Change:
    if not isinstance(change, ArchivePrice):
        return change
    return replace(change, subscribers=port.count_subscriptions(change.price_id))
