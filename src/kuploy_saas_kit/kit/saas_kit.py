"""The three rooms wired together, for hosts that want no wiring of their own.

A run compares what is held with what is applied: the hub's catalog with the plan store, the plan store with Stripe.
So a crash between two steps, a lost event or swapped keys are mended by the next run.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import (
    BillingDisabledError,
    CatalogAuthorityError,
    InvalidValueError,
    KitError,
    PlanVersionConflictError,
    StoredPlansError,
    storage_errors,
)
from kuploy_saas_kit.kit.boot import make_embedded_tables, product_catalog, require_tables, seed_plans
from kuploy_saas_kit.kit.config import CatalogAuthority, KeysSource, KitConfig, KitSettings, keys_from_env
from kuploy_saas_kit.kit.ports import KitStore, async_part, billing_part, license_part, main_part, usage_part
from kuploy_saas_kit.kit.reports import Carried, PlanSave, RunReport
from kuploy_saas_kit.kit.usage import CountedUsage
from kuploy_saas_kit.license.client import LicenseClient
from kuploy_saas_kit.license.config import LicenseConfig
from kuploy_saas_kit.license.forks import mend_after_fork
from kuploy_saas_kit.license.ports import ClientStore
from kuploy_saas_kit.license.refresher import Refresher
from kuploy_saas_kit.license.snapshot import LicenseSnapshot
from kuploy_saas_kit.model.plan import Plan, PlanCatalog
from kuploy_saas_kit.model.status import LicenseStatus, Operation
from kuploy_saas_kit.plans.aio import AsyncGate
from kuploy_saas_kit.plans.ceiling import CeilingViolation, ceiling_violations, require_within_ceiling
from kuploy_saas_kit.plans.gate import Gate
from kuploy_saas_kit.plans.policy import GatePolicy
from kuploy_saas_kit.plans.ports import (
    ChangeSignal,
    ChangeWatch,
    CountingStore,
    Everyone,
    StoredPlans,
)
from kuploy_saas_kit.plans.revisions import BOOTSTRAP, next_revision, selling_revision

if TYPE_CHECKING:
    from kuploy_saas_kit.stripe_provision import Checkout, StripeGateway, StripeProvisioner, StripeWebhooks
    from kuploy_saas_kit.stripe_provision.ports import BillingStore

_log = logging.getLogger("kuploy_saas_kit.kit")

_POLL: Final = timedelta(seconds=1)
_COMPARE: Final = timedelta(seconds=60)
_DRIFT_CHECK: Final = timedelta(hours=6)


class SaasKit:
    """License, plans and Stripe over one store, kept up to date by one daemon thread while it is started.

    *store* keeps everything (`SqlStore`, `DjangoStore`, `MemoryStore`), but for what *license_store* and *usage_store*
    take over from it; a store that lacks verbs is `ConfigurationError`. *stripe* returns the keys; without it nothing
    is sold and everything else works. Use it as a context manager, or call `start()` and `stop()`, or call
    `run_once()` from a scheduler.
    """

    def __init__(
        self,
        config: KitConfig | LicenseConfig,
        store: KitStore,
        *,
        license_store: ClientStore | None = None,
        usage_store: CountingStore | None = None,
        stripe: KeysSource | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config if isinstance(config, KitConfig) else KitConfig(license=config)
        self._store = main_part(store)
        self._license_store = license_part(store, license_store)
        self._usage = usage_part(store, usage_store)
        self._stores = tuple({id(one): one for one in (store, self._license_store, self._usage)}.values())
        self._keys = stripe
        if stripe is not None and stripe is not keys_from_env:  # the environment need not have any
            billing_part(store)
        self._clock = clock or SystemClock()
        policy = self.config.policy or GatePolicy(schema=self.config.license.product_schema)
        bootstrap = self.config.bootstrap
        self._bootstrap = None if bootstrap is None else product_catalog(bootstrap, policy.schema)
        source = CountedUsage(self._usage, policy.schema, self._clock)
        self.license = LicenseClient(self.config.license, self._license_store, usage=source, clock=clock)
        source.license = self.license
        self.gate = Gate(
            license=_Awake(self), plans=store, subscriptions=store, usage=self._usage, policy=policy, clock=clock
        )
        self._refresher = Refresher(self._tick, name="kuploy-saas-kit")
        # Stripe may take its time; what others must see within a second does not wait for it.
        self._carrier = Refresher(self._compare_when_due, name="kuploy-saas-kit-stripe")
        self._running = threading.RLock()
        self._waking = threading.Lock()
        self._is_due = True
        self._next_compare = timedelta()
        self._next_drift_check: timedelta | None = None
        self._cursor: str | None = None
        self._watch: ChangeWatch | None = None
        self.license.on_publish(self._published)
        mend_after_fork(self)

    @classmethod
    def from_env(cls, store: KitStore, **settings: Unpack[KitSettings]) -> Self:
        """A kit configured by `LICENSE_*` and `STRIPE_*` variables.

        *settings* are fields of `KitConfig` (a *license* among them is taken instead of the variables), and
        *license_store*, *usage_store*, *stripe* and *clock* of `SaasKit`.
        """
        given: dict[str, Any] = {"stripe": keys_from_env, **settings}
        wiring = {name: given.pop(name) for name in _WIRING if name in given}
        license_config = given.pop("license", None) or LicenseConfig.from_env()
        return cls(KitConfig(license=license_config, **given), store, **wiring)

    # Life

    def start(self) -> None:
        """Load what is stored, answer from memory, and keep all up to date in the background.

        SQLite tables are made if need be; other databases are migrated by `store.migrate()` beforehand, or this is a
        `StorageError` before anything else happens. A separate store for usage may be away: its absence is logged, and
        what has to be counted waits for it.
        """
        make_embedded_tables(self._stores)
        require_tables([self._store])
        self.license.load()
        if self.license.snapshot().status is LicenseStatus.PENDING:
            self.license.sync()
        for problem in self._carried((self._require_tables, self._apply_catalog), force=False).problems:
            _log.warning("%s; the background tries again", problem)
        self._keep_up()

    def wake(self) -> None:
        """Start the background work again in the child of a fork, if it ran in the parent. Questions do so too."""
        if not self._refresher.is_orphaned:
            return
        with self._waking:  # whoever comes second finds it done
            if self._refresher.is_orphaned:
                self._keep_up()

    def after_fork(self) -> None:
        """Mend what a fork breaks; called by itself in the child."""
        self._running = threading.RLock()
        self._waking = threading.Lock()
        self._watch = None  # its thread is the parent's

    def _keep_up(self) -> None:
        self._refresher.start()
        self._carrier.start()
        if self._watch is None and isinstance(self._store, ChangeSignal):
            self._watch = self._store.watch_changes(self._refresher.poke)
        try:
            self.gate.begin_keeping(self._stored_catalog())
        except BaseException:
            self.stop()  # whoever is not started leaves no thread behind
            raise

    def stop(self) -> None:
        """Stop the background work; the kit still answers, by reading its stores.

        What a thread is doing at the moment gets twelve seconds to end, as with a database that is frozen.
        """
        for thread in (self._refresher, self._carrier, self.license):
            thread.halt()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        self._refresher.stop()
        self._carrier.stop()
        self.gate.end_keeping()
        self.license.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run_once(self) -> RunReport:
        """One sync, then plans and Stripe as far as they differ; for hosts with a scheduler of their own."""
        with self._running:
            ready = self._carried((self._require_tables,), force=False)
            sync = self.license.sync()
            done = self._carried((self._apply_catalog, self._provision), force=False)
        problems = (*ready.problems, *done.problems)
        return RunReport(sync=sync, plans=done.plans, provision=done.provision, problems=problems)

    # Rooms

    @cached_property
    def async_gate(self) -> AsyncGate:
        """The gate for requests that await their store; the store must have an async side."""
        main: object = self._store
        store = async_part(main)
        usage = store if self._usage is main else async_part(self._usage)
        gate = AsyncGate(
            license=_Awake(self),
            plans=store,
            subscriptions=store,
            usage=usage,
            policy=self.gate.policy,
            clock=self._clock,
        )
        gate.share(self.gate)
        return gate

    @cached_property
    def provisioner(self) -> StripeProvisioner:
        """Carries plans to Stripe; `BillingDisabledError` where the kit was made without a source of keys."""
        from kuploy_saas_kit.stripe_provision import StripeProvisioner  # noqa: PLC0415 - hosts without Stripe lack it

        return StripeProvisioner(self.gateway, self._billing, namespace=self.namespace)

    @cached_property
    def webhooks(self) -> StripeWebhooks:
        """Takes Stripe's deliveries: answer its outcome's status."""
        from kuploy_saas_kit.stripe_provision import StripeWebhooks  # noqa: PLC0415 - hosts without Stripe lack it

        webhooks = StripeWebhooks(
            self.gateway,
            self._billing,
            secrets=self._webhook_secrets,
            namespace=self.namespace,
            on_change=self.config.on_subscription_change,
            clock=self._clock,
        )
        webhooks.add_listener(lambda notice: self._org_changed(notice.row.org_id))
        return webhooks

    @cached_property
    def checkout(self) -> Checkout:
        """Sells plans to orgs."""
        from kuploy_saas_kit.stripe_provision import Checkout  # noqa: PLC0415 - hosts without Stripe lack it

        return Checkout(
            self.gateway,
            self._billing,
            self.license,
            namespace=self.namespace,
            standings=self._store,
            clock=self._clock,
        )

    def save_plan(self, plan: Plan, *, actor: str, expected_version: int) -> PlanSave:
        """Save a plan of an operator-owned catalog: checked against the license, stored, carried to Stripe.

        *expected_version* is what `store.load_plans().versions` said, 0 for a new plan.

        Raises:
            CatalogAuthorityError: the hub owns the catalog.
            CeilingExceededError: a feature is above the license.
            CatalogError: the catalog would contradict itself, such as two default plans.
            PlanVersionConflictError: somebody else saved the plan in between.
        """
        plan = self.gate.policy.schema.normalised(plan)
        clamped = self._check_plan(plan, actor)
        with storage_errors("save the plan"):
            saved = self._store.put_plan(plan, expected_version=expected_version)
        if not saved.saved:
            raise PlanVersionConflictError(
                f"plan {plan.slug!r} was saved by somebody else (version {saved.version}): load it and edit again"
            )
        _log.info("plan %s saved as version %d by %s", plan.slug, saved.version, actor)
        with self._running:
            done = self._carry_out(force=False)
        return PlanSave(saved.version, clamped, done.provision, tuple(done.problems))

    # The work

    def _published(self, snapshot: LicenseSnapshot) -> None:
        self.gate.publish_license(snapshot)
        self._is_due = True
        self._carrier.poke()

    def _tick(self) -> timedelta:
        wait = self.license.tick()
        self.gate.drop_ended()
        self._follow_changes()
        return min(wait, _POLL)

    def _follow_changes(self) -> None:
        with storage_errors("read the change feed"):
            changes = self._store.changes(self._cursor)
        if changes.cursor == self._cursor:
            return
        if isinstance(changes.org_ids, Everyone):
            self.gate.forget_all()
            self.gate.publish_plans(self._stored_catalog())
        else:
            for org_id in changes.org_ids:
                self.gate.forget(org_id)
        self._cursor = changes.cursor  # last: what could not be followed is followed by the next tick

    def _compare_when_due(self) -> timedelta:
        """Carry out what is due; how long until the next look."""
        elapsed = self._clock.elapsed()
        if not self._is_due and elapsed < self._next_compare:
            return self._next_compare - elapsed
        self._is_due = False
        self._next_compare = elapsed + _COMPARE
        if self._next_drift_check is None:
            self._next_drift_check = elapsed + _DRIFT_CHECK
        with self._running:
            done = self._carry_out(force=elapsed >= self._next_drift_check)
        if elapsed >= self._next_drift_check and not done.problems:
            self._next_drift_check = elapsed + _DRIFT_CHECK
        for problem in done.problems:
            _log.warning("%s; the next run tries again", problem)
        with storage_errors("sweep reservations"):
            self._usage.sweep_holdings()
        return _COMPARE

    def _carry_out(self, *, force: bool) -> Carried:
        return self._carried((self._apply_catalog, self._provision), force=force)

    def _carried(self, steps: Iterable[Callable[[Carried, bool], None]], *, force: bool) -> Carried:
        done = Carried()
        for step in steps:
            try:
                step(done, force)
            except KitError as error:
                done.problems.append(str(error))
        return done

    def _require_tables(self, done: Carried, force: bool) -> None:  # noqa: FBT001 - a step of a run
        make_embedded_tables(self._stores)
        require_tables(self._stores)

    def _apply_catalog(self, done: Carried, force: bool) -> None:  # noqa: FBT001 - a step of `_carry_out`
        snapshot = self.license.snapshot()
        if snapshot.catalog is not None and self.config.catalog_authority is CatalogAuthority.HUB:
            self._replace_plans(done, snapshot.catalog, snapshot.catalog_revision or 0, snapshot.license_id or "")
        elif self._bootstrap is not None:
            seed_plans(self._store, self._bootstrap)
        self.gate.publish_plans(self._stored_catalog())

    def _replace_plans(self, done: Carried, catalog: PlanCatalog, revision: int, source: str) -> None:
        with storage_errors("store the plans"):
            wanted = next_revision(self._replaceable_plans(), revision, source)
            replaced = self._store.replace_plans(catalog, revision=wanted, source=source)
        if replaced.changed or replaced.deactivated:
            done.plans = replaced

    def _replaceable_plans(self) -> StoredPlans:
        """What is stored, for those who are about to replace it: without a catalog also where it is none any more."""
        try:
            return self._store.load_plans()
        except StoredPlansError as error:
            return error.stored

    def _provision(self, done: Carried, force: bool) -> None:  # noqa: FBT001 - a step of `_carry_out`
        if self._keys is None or self._keys() is None:
            return
        with storage_errors("use the keys' account and mode"):
            # Whatever the license permits: subscriptions of test mode end with going live.
            self._billing.use_space(self.gateway.space())
        if not self.license.snapshot().permits(Operation.PROVISION):
            return
        with storage_errors("load the plans"):
            stored = self._store.load_plans()
        if stored.catalog is None or self._stands_in(stored):
            return
        done.provision = self.provisioner.provision(stored.catalog, revision=selling_revision(stored), force=force)
        if done.provision.stopped_by is not None:
            done.problems.append(str(done.provision.stopped_by))
        failed = {slug: result for slug, result in done.provision.plans.items() if result.outcome == "failed"}
        done.problems += [f"plan {slug} is not in place at Stripe: {result.error}" for slug, result in failed.items()]

    def _stands_in(self, stored: StoredPlans) -> bool:
        """Whether the hub's plans are still to come: those that stand in for them are not sold."""
        return stored.source == BOOTSTRAP and self.config.catalog_authority is CatalogAuthority.HUB

    def _check_plan(self, plan: Plan, actor: str) -> tuple[CeilingViolation, ...]:
        if self.config.catalog_authority is CatalogAuthority.HUB:
            raise CatalogAuthorityError("the hub owns the plans: edit them there, or set catalog_authority to 'local'")
        if not actor:
            raise InvalidValueError("saving a plan needs an actor: it is written to the log")
        self.gate.policy.schema.check_plan(plan)
        grant = self.license.snapshot().grant
        require_within_ceiling(plan, grant)
        with storage_errors("load the plans"):
            current = self._replaceable_plans().catalog
        others = [other for other in current or () if other.slug != plan.slug]
        PlanCatalog([*others, plan])
        return ceiling_violations(plan, grant)

    def _stored_catalog(self) -> PlanCatalog | None:
        with storage_errors("load the plans"):
            return self._store.load_plans().catalog

    def _org_changed(self, org_id: str | None) -> None:
        if org_id is not None:
            self.gate.forget(org_id)

    @cached_property
    def namespace(self) -> str:
        """What tells this instance's objects at Stripe from those of another in the same account."""
        from kuploy_saas_kit.stripe_provision import namespace_for  # noqa: PLC0415 - hosts without Stripe lack it

        if self.config.namespace is not None:
            return self.config.namespace
        with storage_errors("keep the instance's id"):
            candidate = self.config.license.instance_id or f"inst_{secrets.token_hex(16)}"
            return namespace_for(self._license_store.ensure_instance_id(candidate))

    @cached_property
    def _billing(self) -> BillingStore:
        return billing_part(self._store)

    @cached_property
    def gateway(self) -> StripeGateway:
        """Stripe, with the current keys; `BillingDisabledError` where the kit was made without a source of keys."""
        from kuploy_saas_kit.stripe_provision import StripeGateway  # noqa: PLC0415 - hosts without Stripe lack it

        if self._keys is None:
            raise BillingDisabledError("there are no Stripe keys: make the kit with stripe=, or set STRIPE_SECRET_KEY")
        return StripeGateway(self._keys, base_url=self.config.stripe_base_url)

    def _webhook_secrets(self) -> tuple[str, ...]:
        keys = None if self._keys is None else self._keys()
        return () if keys is None else keys.webhook_secrets


class _Awake:
    """The license, for gates: being asked in the child of a fork starts the background work again there."""

    def __init__(self, kit: SaasKit) -> None:
        self._kit = kit

    def snapshot(self) -> LicenseSnapshot:
        self._kit.wake()
        return self._kit.license.snapshot()


_WIRING: Final = ("license_store", "usage_store", "stripe", "clock")
