"""`LicenseClient`: the shell that syncs, keeps and publishes the license."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from types import TracebackType
from typing import Final, Self

from pydantic import SecretStr

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.errors import ConfigurationError, PayloadRejectedError, StorageError
from kuploy_saas_kit.license.claim import ClaimState, ClaimTicket
from kuploy_saas_kit.license.claiming import Claiming
from kuploy_saas_kit.license.config import LicenseConfig, checked_license_key
from kuploy_saas_kit.license.events import Events, Observer
from kuploy_saas_kit.license.exchange import Concluded, ExchangeRules, SyncResult
from kuploy_saas_kit.license.forks import mend_after_fork
from kuploy_saas_kit.license.keeping import RecordKeeper
from kuploy_saas_kit.license.leadership import Leadership
from kuploy_saas_kit.license.link import HubLink, storing
from kuploy_saas_kit.license.listeners import Listener, Listeners, call_isolated
from kuploy_saas_kit.license.ports import (
    ClientStore,
    HubTransport,
    LeaseStore,
    LicenseRecord,
    UsageReport,
    UsageSource,
)
from kuploy_saas_kit.license.reading import Binding, LicenseReader, Trust, hash_of_key
from kuploy_saas_kit.license.refresher import Refresher
from kuploy_saas_kit.license.schedule import MANUAL_INTERVAL, Schedule
from kuploy_saas_kit.license.signature import TokenVerifier, require_signing_extra
from kuploy_saas_kit.license.snapshot import LicenseSnapshot
from kuploy_saas_kit.license.state import LicenseState, Moment, Rules, Verdict, watched, with_key

_LOG: Final = logging.getLogger("kuploy_saas_kit.license")
_POLL: Final = timedelta(seconds=1)
_FIRST_SYNC_WITHIN: Final = timedelta(seconds=5)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LicenseClient:
    """The instance's license: synced in the background, kept in *store*, read from memory.

    *store* keeps the license and who this instance is; where it is a `LeaseStore` too (asked once, here), it elects
    which of several processes syncs. *usage* tells the totals to report. Nothing happens before `load`, `sync`,
    `tick` or `start`. Reads never wait and never raise; a hub that fails never takes rights away.
    """

    def __init__(
        self,
        config: LicenseConfig,
        store: ClientStore,
        *,
        usage: UsageSource | None = None,
        transport: HubTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._usage = usage
        self._clock = clock or SystemClock()
        self._hub = HubLink(config.hub_url, transport)
        self._exchanges = _exchange_rules(config)
        self._keeper = RecordKeeper(store)
        leases = store if isinstance(store, LeaseStore) else None
        self._leadership = Leadership(leases, self._clock)
        self._claiming = Claiming(config, store, self._hub, self._clock, leases)
        self._refresher = Refresher(self.tick, name="kuploy-license")
        self._state = LicenseState(trust=self._exchanges.reader.trust, has_key=config.key is not None)
        self._listeners = Listeners(LicenseSnapshot(self._state, _LONG_AGO))
        self._events = Events()
        self._publish_hooks: list[Callable[[LicenseSnapshot], None]] = []
        self._flight = threading.RLock()
        self._dice = secrets.SystemRandom().random
        self._schedule = Schedule()
        self._attempt = 0
        self._instance_id = config.instance_id
        self._key: SecretStr | None = None
        self._binding: Binding | None = None
        self._latest = _LONG_AGO
        self._asked_at: timedelta | None = None
        self._last_code: str | None = None
        self._last_result: SyncResult | None = None
        self._is_loaded = False

    # Reading

    def snapshot(self) -> LicenseSnapshot:
        """The license as it stands now: memory and one clock read."""
        if self._refresher.is_orphaned:
            self._refresher.revive()
        state = self._state
        if state.time.since is not None:
            return LicenseSnapshot(state, state.time.after(self._clock.elapsed()))
        # A wall clock that is set back does not bring back what has expired.
        self._latest = now = max(self._latest, state.time.at, self._clock.now())
        return LicenseSnapshot(state, now)

    def add_listener(self, callback: Listener) -> None:
        """Call *callback* with the new snapshot whenever status, rights or catalog differ from before.

        What it raises is logged. Calls from the background come in a thread of their own.
        """
        self._listeners.add(callback)

    def add_observer(self, observer: Observer) -> None:
        """Call *observer* with every `LicenseEvent`: syncs, alarms, trouble with the store. For counters and traces.

        It is called in the thread where it happens, and should be quick; what it raises is logged.
        """
        self._events.add(observer)

    def on_publish(self, callback: Callable[[LicenseSnapshot], None]) -> None:
        """Call *callback* at every publication, before `sync` returns and before any listener.

        Publications are: the stored license loaded, a sync accepted, another process's license adopted, another key.
        It is called while the client works, so it should be quick and wait for nobody; what it raises is logged.
        """
        self._publish_hooks.append(callback)

    # Life cycle

    def load(self) -> None:
        """Load and verify what is stored, without the network; again does nothing.

        `ConfigurationError` where keys are pinned and the `[signing]` extra is missing. A store that fails is logged
        and asked again at each tick.
        """
        with self._flight:
            self._load_once()
        self._listeners.tell(self.snapshot(), in_background=False)

    def start(self) -> None:
        """Load, sync once if nothing was stored (up to the transport's deadline), and refresh in the background."""
        self.load()
        if self._state.held is None and self._binding is not None:
            self.sync()
        self._refresher.start()

    def halt(self) -> None:
        """Begin no further refresh; `stop` then waits for the one on its way."""
        self._refresher.halt()

    def stop(self) -> None:
        """Stop refreshing; what is known stays readable."""
        self._refresher.stop()
        self._leadership.drop()
        self._listeners.stop()
        self._hub.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def after_fork(self) -> None:
        """Mend what a fork breaks; called by itself in the child."""
        self._flight = threading.RLock()
        self._leadership.after_fork()
        self._listeners.after_fork()

    # Syncing

    def sync(self) -> SyncResult:
        """One exchange with the hub, now; within five seconds of the last one its result is returned.

        Never raises for what hub, network or store do: see `SyncResult.code`.
        """
        with self._flight:
            self._load_once()
            self._look()
            result = self._last_result if self._asked_just_now() else None
            if result is None:
                result = self._exchange()
        self._listeners.tell(self.snapshot(), in_background=False)
        return result

    def tick(self) -> timedelta:
        """Do what is due: sync if it is time and this process's turn, else look for what others stored.

        Returns how long to wait until the next call, at most a second. For hosts that run their own loop.
        """
        with self._flight:
            self._load_once()
            self._look()
            if self._is_my_turn():
                self._exchange()
            self._leadership.renew()
            self._keep_time()
            wait = self._wait()
        snapshot = self.snapshot()
        self._events.aged(snapshot)
        self._listeners.tell(snapshot, in_background=True)
        return wait

    # Claiming

    def begin_claim(self) -> ClaimTicket:
        """The code to show the operator; the same one again while a claim is on its way, also after a restart.

        `ClaimError` where a license key is configured; `HubUnavailableError` and `HubRefusedError` where the hub
        does not take the claim; `StorageError` where it cannot be kept.
        """
        with self._flight:
            return self._claiming.begin(self._ensured_instance_id())

    def poll_claim(self) -> ClaimState:
        """How the claim stands. Asks the hub at most once per interval; a failure is `.problem` and no exception."""
        with self._flight:
            return self._claiming.poll(self._ensured_instance_id())

    def confirm_claim(self) -> SyncResult:
        """Take the approved license, after the operator confirmed the tenant's name, and sync at once.

        `ClaimError` without an approval.
        """
        with self._flight:
            self._claiming.confirm()
        return self.sync()

    # Inside the flight lock

    def _load_once(self) -> None:
        if self._is_loaded:
            return
        if self._exchanges.reader.trust is Trust.PINNED:
            require_signing_extra()
        mend_after_fork(self)
        self._is_loaded = True
        self._look()
        if self._state.held is not None:
            self._schedule = Schedule().put_off(self._clock.elapsed(), _FIRST_SYNC_WITHIN * self._dice())

    def _look(self) -> None:
        """See what the store has: another key, a license that another process brought."""
        try:
            self._identify()
            if self._binding is not None:
                self._consider(self._keeper.read_news(), self._binding)
                self._save(self._keeper.unsaved(self.snapshot().at))
        except StorageError as error:
            self._events.store_failed(error)
        else:
            self._events.store_works()

    def _identify(self) -> None:
        if self._config.key is not None and self._instance_id is not None:
            key: SecretStr | None = self._config.key
        else:
            self._ensured_instance_id()
            key = self._config.key or self._stored_key()
        if (key, self._binding is None) == (self._key, key is None):
            return
        self._key = key
        self._binding = None if key is None else self._bound_to(key)
        self._keeper.start_over()
        self._asked_at = None
        self._schedule = Schedule()
        self._latest = _LONG_AGO
        self._publish(with_key(self._state, has_key=key is not None))

    def _ensured_instance_id(self) -> str:
        if self._instance_id is None:
            with storing("keep the instance id"):
                self._instance_id = self._store.ensure_instance_id(f"inst_{secrets.token_hex(16)}")
        return self._instance_id

    def _stored_key(self) -> SecretStr | None:
        with storing("load the license key"):
            stored = self._store.load_license_key()
        if stored is None:
            return None
        try:
            return SecretStr(checked_license_key(stored))
        except ConfigurationError:
            raise StorageError("the stored license key is damaged: claim the license again") from None

    def _bound_to(self, key: SecretStr) -> Binding:
        return Binding(
            issuer=self._config.expected_issuer,
            product_type=self._config.product_type,
            instance_id=self._instance_id or "",
            key_hash=hash_of_key(key.get_secret_value()),
        )

    def _consider(self, record: LicenseRecord | None, binding: Binding) -> bool:
        """Publish a stored record that is newer; whether the record counts at all."""
        if record is None:
            return True
        state, moment = self._state, self._moment()
        try:
            after = self._exchanges.adopt(state, record, binding, moment)
        except PayloadRejectedError as error:
            self._events.record_refused(error)
            self._keeper.refuse(record)
            return False
        if after is not state:
            if not after.wants_own_sync:
                self._schedule = self._schedule.after_success(moment.elapsed, self._config.period, self._dice())
            self._publish(after)
        return True

    def _is_my_turn(self) -> bool:
        elapsed = self._clock.elapsed()
        if self._binding is None or not self._schedule.is_due(elapsed):
            return False
        turn = self._leadership.ask()
        if turn.is_mine or self._state.wants_own_sync:
            return True
        self._schedule = self._schedule.put_off(elapsed, turn.wait)
        return False

    def _exchange(self) -> SyncResult:
        if self._binding is None or self._key is None:
            return self._without_binding()
        self._attempt += 1
        asked = self._exchanges.ask(self._state, self._binding, self._report(), self._attempt, self._clock.elapsed())
        answer = self._hub.ask(self._config.sync_path, asked.body, self._key)
        concluded = self._exchanges.conclude(self._state, asked, answer, self._moment())
        self._settle(concluded)
        self._reschedule(concluded)
        return self._noted(concluded)

    def _without_binding(self) -> SyncResult:
        code = "no_license_key" if self._instance_id is not None else "store.unavailable"
        self._state = replace(self._state, last_sync_code=code, last_sync_at=self._clock.now())
        return SyncResult(ok=False, code=code, status=self.snapshot().status)

    def _settle(self, concluded: Concluded) -> None:
        if concluded.state.held is self._state.held:
            self._state = concluded.state
            return
        self._publish(concluded.state)
        if concluded.verdict is Verdict.ACCEPTED:
            self._attempt = 0
        try:
            self._save(concluded.record)
        except StorageError as error:
            self._events.store_failed(error)

    def _save(self, record: LicenseRecord | None) -> None:
        if record is None or self._binding is None:
            return
        winner = self._keeper.save(record)
        if winner is not None and not self._consider(winner, self._binding):
            self._keeper.save(record)

    def _reschedule(self, concluded: Concluded) -> None:
        elapsed = self._clock.elapsed()
        if concluded.is_good:
            self._schedule = self._schedule.after_success(elapsed, self._config.period, self._dice())
        elif concluded.verdict is Verdict.HELD_BACK:
            self._schedule = self._schedule.for_second_look(elapsed, self._dice())
        else:
            self._schedule = self._schedule.after_failure(elapsed, concluded.retry_after, self._dice())

    def _noted(self, concluded: Concluded) -> SyncResult:
        self._asked_at = self._clock.elapsed()
        snapshot = self.snapshot()
        result = SyncResult(
            ok=concluded.is_good,
            code=concluded.code,
            status=snapshot.status,
            hub_code=concluded.hub_code,
            next_in=self._schedule.until_due(self._asked_at),
        )
        self._last_result = result
        self._events.synced(result, snapshot, failures=self._schedule.failures)
        return result

    def _asked_just_now(self) -> bool:
        return self._asked_at is not None and self._clock.elapsed() - self._asked_at < MANUAL_INTERVAL

    def _report(self) -> UsageReport:
        if self._usage is None:
            return UsageReport()
        try:
            return self._usage.usage_report()
        except Exception:  # noqa: BLE001 - the host's code; the license is synced all the same
            _LOG.exception("the usage source failed: this sync reports no usage")
            return UsageReport()

    def _publish(self, state: LicenseState) -> None:
        self._state = state
        snapshot = self.snapshot()
        for callback in tuple(self._publish_hooks):
            call_isolated(callback, snapshot)

    def _keep_time(self) -> None:
        self._state = watched(self._state, self._moment())
        if self._state.held is None:
            return
        try:
            self._keeper.keep_time(self.snapshot().at, self._clock.elapsed())
        except StorageError as error:
            self._events.store_failed(error)

    def _wait(self) -> timedelta:
        if self._binding is None:
            return _POLL
        return min(_POLL, self._schedule.until_due(self._clock.elapsed()))

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.elapsed())


def _exchange_rules(config: LicenseConfig) -> ExchangeRules:
    verifier = TokenVerifier(config.keys, legacy_eddsa=config.legacy_eddsa) if config.keys else None
    reader = LicenseReader(config.product_schema, verifier)
    return ExchangeRules(reader, Rules(max_grace=config.max_grace), _kit_version())


def _kit_version() -> str:
    try:
        return metadata.version("kuploy-saas-kit")
    except metadata.PackageNotFoundError:
        return "0"
