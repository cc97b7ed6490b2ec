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
    storage_errors,
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
    keys_to_find,
    products_to_find,
    provision_changes,
    wanted_catalog,
)
from kuploy_saas_kit.stripe_provision.ports import CatalogStore, MadePrice, RemoteProduct, StripePort

ROUNDS: Final = 5
"""How often one run looks at Stripe and applies what is still to do."""


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
        store: CatalogStore,
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

        From then on only subscriptions of the key's account and mode count: those of test mode end with going live.
        *revision* orders catalogs: an older one never overwrites a newer. *force* looks at Stripe even so (drift).
        *expected* is a diff; `StaleDiffError` if it is not what would be done now. Raises `BillingDisabledError`
        without keys and `StripeUnavailableError` or `StripeRejectedError` if Stripe cannot even be read; what
        happens later is in the report. `StorageError` if the store fails: what is sold until then goes on.
        """
        run = self._run(catalog, revision)
        if not dry_run:
            run.use_space()
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

    def __init__(self, port: StripePort, store: CatalogStore, space: StripeSpace, wanted: Wanted) -> None:
        self.port = port
        self._store = store
        self._space = space
        self._wanted = wanted
        self._applied: list[Change] = []
        self._refused: dict[str, Change] = {}
        self._given_up: dict[str, PlanResult] = {}

    def use_space(self) -> None:
        # Asked of the store each time: whatever another process with other keys did, the next run mends it.
        with storage_errors("use the keys' account and mode"):
            self._store.use_space(self._space)

    def nothing_to_look_at(self) -> bool:
        with storage_errors("load what was provisioned"):
            mappings = self._store.load_mappings(self._space)
            fingerprint = self._store.load_fingerprint(self._space)
        if is_overtaken(self._wanted, mappings):
            error = StaleDiffError("a newer catalog was applied")
            self._given_up = {slug: PlanResult(PlanOutcome.SKIPPED, error) for slug in self._wanted.plans}
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
        stopped_by = self._rounds(changes)
        report = self.report(dry_run=False, stopped_by=stopped_by)
        if report.is_complete:
            self._save_fingerprint(self._wanted.fingerprint)
        elif self._applied:
            # Another replica may have finished meanwhile and not have seen what this run left: let it look again.
            self._save_fingerprint(None)
        return report

    def report(self, *, dry_run: bool, stopped_by: BillingError | None = None) -> ProvisionReport:
        untouched = PlanOutcome.UNCHANGED if stopped_by is None else PlanOutcome.SKIPPED
        plans = {slug: PlanResult(untouched) for slug in self._wanted.plans}
        plans |= {change.slug: PlanResult(PlanOutcome.CHANGED) for change in self._applied}
        return ProvisionReport(
            space=self._space,
            changes=tuple(self._applied),
            plans={**plans, **self._given_up},
            dry_run=dry_run,
            stopped_by=stopped_by,
        )

    def _observe(self) -> Observed:
        catalog = self.port.catalog(self._wanted.namespace)
        with storage_errors("load what was provisioned"):
            mappings = self._store.load_mappings(self._space)
        seen = Observed(
            space=self._space,
            products={product.id: product for product in catalog.products},
            prices={price.id: price for price in catalog.prices},
            mappings=mappings,
        )
        found = self.port.products(products_to_find(self._wanted, seen))
        archived = self.port.archived_prices(keys_to_find(self._wanted, seen))
        return replace(
            seen,
            products={**seen.products, **{product.id: product for product in found}},
            prices={**seen.prices, **{price.id: price for price in archived}},
        )

    def _rounds(self, changes: Sequence[Change]) -> BillingError | None:
        """Apply and look again, until there is nothing left to change; what stopped it early."""
        try:
            for _ in range(ROUNDS):
                self._apply_all(changes)
                if not self._applied and not self._refused:
                    return None
                changes = [change for change in self.changes() if self._is_open(change)]
                if not changes:
                    return None
        except (StripeUnavailableError, StripeRejectedError) as error:
            return error
        return StripeUnavailableError("Stripe changes faster than this run: the next run goes on")

    def _is_open(self, change: Change) -> bool:
        """Whether it is this run's to do: for a plan that was left to a newer catalog only what mends it is."""
        result = self._given_up.get(change.slug)
        return result is None or (result.outcome is PlanOutcome.SKIPPED and not isinstance(change, Skipped))

    def _apply_all(self, changes: Sequence[Change]) -> None:
        for slug, group in groupby(changes, key=lambda change: change.slug):
            unsold = self._unsold()
            if slug in self._wanted.plans or unsold is None:
                self._apply_plan(slug, tuple(group))
            elif unsold <= self._given_up.keys():
                self._give_up(
                    slug, BillingError("it stays on sale, because no plan of the catalog could be put on sale")
                )
            # Otherwise the catalog's own plans are still contested: the next round decides.

    def _unsold(self) -> set[str] | None:
        """The catalog's plans to be sold, if none of them could be; then taking others out would empty the shop."""
        wanted = {slug for slug, plan in self._wanted.plans.items() if plan.is_sold}
        is_empty = wanted <= self._given_up.keys() | self._refused.keys()
        return wanted if wanted and is_empty and not self._wanted.allow_empty else None

    def _apply_plan(self, slug: str, changes: tuple[Change, ...]) -> None:
        """Apply one plan's changes up to the first that Stripe refuses."""
        new_price: str | None = None
        for change in changes:
            try:
                new_price = self._apply(change, new_price) or new_price
            except StripeRejectedError as error:
                self._refuse(slug, change, error)
                return
            except StaleDiffError as error:
                self._give_up(slug, error, PlanOutcome.SKIPPED)
                return
            self._note(change)
        self._refused.pop(slug, None)

    def _refuse(self, slug: str, change: Change, error: StripeRejectedError) -> None:
        """Look again, since Stripe may have moved in between. The same refusal of the same change is final."""
        if error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            self._give_up(slug, error)
            raise error
        if self._refused.get(slug) == change:
            self._give_up(slug, error)
        self._refused[slug] = change

    def _give_up(self, slug: str, error: BillingError, outcome: PlanOutcome = PlanOutcome.FAILED) -> None:
        self._given_up[slug] = PlanResult(outcome, error)

    def _note(self, change: Change) -> None:
        match change:
            case Blocked():
                self._give_up(change.slug, (OwnershipError if change.ownership else BillingError)(change.reason))
            case Skipped():
                self._give_up(change.slug, StaleDiffError(change.reason), PlanOutcome.SKIPPED)
            case _:
                self._applied.append(change)

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
                self._drop_mapping(change)
            case Blocked() | Skipped():
                pass
            case _:
                assert_never(change)
        return None

    def _put_mapping(self, change: PersistMapping, price_id: str) -> None:
        made = MadePrice(
            price_id=price_id, slug=change.slug, product_id=change.product_id, lookup_key=change.lookup_key
        )
        with storage_errors("put the plan on sale"):
            put = self._store.put_mapping(self._space, change.mapping_to(price_id), made)
        if not put.saved:
            raise StaleDiffError(f"catalog revision {put.revision} was applied meanwhile")

    def _drop_mapping(self, change: DropMapping) -> None:
        with storage_errors("take the plan out of sale"):
            drop = self._store.drop_mapping(self._space, change.slug, revision=change.revision)
        if not drop.dropped:
            raise StaleDiffError(f"catalog revision {drop.revision} was applied meanwhile")

    def _save_fingerprint(self, fingerprint: str | None) -> None:
        with storage_errors("save what was provisioned"):
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
