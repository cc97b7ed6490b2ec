"""Stores that are right until a process dies, a statement fails or a second process comes, and the laws that tell."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from inspect import signature
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.adapters.conftest import empty
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import FileLicenseStore, SqlStore
from kuploy_saas_kit.license.ports import LicenseRecord, LicenseSaved
from kuploy_saas_kit.model.limits import UNLIMITED
from kuploy_saas_kit.model.subscription import OrgSubscription
from kuploy_saas_kit.plans.ports import (
    AssignmentSaved,
    Claim,
    CounterKey,
    GivenBack,
    HoldingSettled,
    HoldingState,
    Taken,
    TakeOutcome,
)
from kuploy_saas_kit.stripe_provision.ports import OnChange, SubscriptionPut
from kuploy_saas_kit.testing import conformance
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW
from kuploy_saas_kit.testing.conformance.crew import ProcessCrew, ThreadCrew
from kuploy_saas_kit.testing.conformance.statements import before_each_statement
from kuploy_saas_kit.testing.servers import postgres_schema

ROUNDS = 100
"""Few are run: the first race that shows the mistake is the last one."""


class TakesInTwoTransactions(SqlStore):
    """Takes from the org and commits, and then from the instance."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        taken = Taken(TakeOutcome.TAKEN)
        for claim in claims:
            taken = super().take([claim], key=key and f"{key}{claim.scope}", ttl=ttl)
        return taken


class NotesTheEventAfterwards(SqlStore):
    """Writes the row and commits, and then the event's id."""

    def put_subscription(
        self,
        row: OrgSubscription,
        *,
        expected_version: int,
        event_id: str | None = None,
        on_change: OnChange | None = None,
    ) -> SubscriptionPut:
        put = super().put_subscription(row, expected_version=expected_version, on_change=on_change)
        version = self.load_subscription(row.subscription_id).version
        super().put_subscription(row, expected_version=version, event_id=event_id)
        return put


class RaisesAfterwards(SqlStore):
    """Takes the assignment away and commits, and then raises the org's version."""

    def end_assignment(self, org_id: str, *, actor: str, reason: str, at: datetime) -> AssignmentSaved:
        table = self._tables.assignment
        with self._writing() as connection:
            connection.execute(table.delete().where(table.c.org_id == org_id))
        with self._writing() as connection:
            self._raise_standings(connection, [org_id])
        return AssignmentSaved(None)


class LocksInOneProcess(SqlStore):
    """Looks, and then takes, under a lock that other processes do not see."""

    lock = threading.Lock()

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        with self.lock:
            for claim in claims:
                used = self.usage_of(claim.scope)[claim.limit]
                if isinstance(claim.cap, int) and used + claim.amount > claim.cap:
                    return Taken(TakeOutcome.REFUSED, blocking=claim)
            return super().take([Claim(claim.scope, claim.limit, claim.amount, 10**9) for claim in claims])


class SweepsInTwoTransactions(SqlStore):
    """Forgets what expired and commits, and then returns what it held."""

    def sweep_holdings(self) -> GivenBack:
        with self._writing() as connection:
            amounts = self._delete_expired(connection).amounts
        return self.give_back(amounts)


class ReturnsFirst(SqlStore):
    """Returns what expired holdings held and commits, and then forgets them."""

    def sweep_holdings(self) -> GivenBack:
        with self._writing() as connection:
            amounts = self._delete_expired(connection).amounts
            connection.rollback()
        given = self.give_back(amounts)
        with self._writing() as connection:
            self._delete_expired(connection)
        return given


class SweepsUnderALock(ReturnsFirst):
    """Does so under a lock that other processes do not see."""

    lock = threading.Lock()

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        with self.lock:
            return super().take(claims, key=key, ttl=ttl)

    def sweep_holdings(self) -> GivenBack:
        with self.lock:
            return super().sweep_holdings()


class SettlesByMoving(SqlStore):
    """Releases the holding and commits, and then takes the same without an end."""

    def settle_holding(self, scope: str, key: str) -> HoldingSettled:
        returned = self.release_holding(scope, key).returned
        if not returned:
            return HoldingSettled(HoldingState.GONE)
        self.take([Claim(*counter, amount, UNLIMITED) for counter, amount in returned.items()], key=key)
        return HoldingSettled(HoldingState.HELD)


class SeedsInTwoTransactions(SqlStore):
    """Makes the row and commits, and then writes the value."""

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        if counter[1] in self.usage_of(counter[0]):
            return
        super().seed_usage(counter, 0)
        self.take([Claim(*counter, value, UNLIMITED)])


class SeedsOverOthers(SqlStore):
    """Looks whether there is a counter, and then writes over whatever has come in between."""

    def seed_usage(self, counter: CounterKey, value: int) -> None:
        if counter[1] not in self.usage_of(counter[0]):
            self.put_usage(*counter, value)


class WritesLater(FileLicenseStore):
    """Keeps what it was given in memory, and writes it when it is closed."""

    kept: LicenseRecord | None = None

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        self.kept = record
        return LicenseSaved(saved=True)

    def load_license(self) -> LicenseRecord | None:
        return self.kept or super().load_license()


TRAP = text(
    """
    WITH instance AS (
        UPDATE kuploy_saas_usage SET used = used + :amount
        WHERE scope = '' AND limit_key = :limit AND used + :amount <= :instance_cap RETURNING used)
    UPDATE kuploy_saas_usage SET used = used + :amount
    WHERE scope = :org AND limit_key = :limit AND used + :amount <= :cap AND EXISTS (SELECT 1 FROM instance)
    RETURNING used, (SELECT used FROM instance)
    """
)


class TakesInOneStatement(SqlStore):
    """One round trip for both rows, as one would write it first. A CTE that changes data runs in any case."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        org, instance = claims
        wish = {
            "org": org.scope,
            "limit": org.limit,
            "amount": org.amount,
            "cap": org.cap,
            "instance_cap": instance.cap,
        }
        with self._engine.begin() as connection:
            row = connection.execute(TRAP, wish).first()
        if row is None:
            used = {claim.counter: self.usage_of(claim.scope)[claim.limit] for claim in claims}
            return Taken(TakeOutcome.REFUSED, used, blocking=org)
        return Taken(TakeOutcome.TAKEN, {org.counter: row[0], instance.counter: row[1]})


class TakesUntold(SqlStore):
    """Takes on connections that tell nobody."""

    def take(self, claims: Sequence[Claim], *, key: str | None = None, ttl: timedelta | None = None) -> Taken:
        with closing(SqlStore.from_url(self._engine.url.render_as_string())) as untold:
            return untold.take(claims, key=key, ttl=ttl)


def stepped(kind: type[SqlStore], url: str, step: Callable[[], object]) -> SqlStore:
    """A store that tells before each statement."""
    store = kind.from_url(url)
    before_each_statement(store._engine, step)
    return store


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """An SQLite file with the kit's tables."""
    with closing(SqlStore.from_url(f"sqlite:///{tmp_path / 'kit.db'}")) as store:
        store.migrate()
        yield f"sqlite:///{tmp_path / 'kit.db'}"


usage, holdings = conformance.UsageStoreTests(), conformance.HoldingStoreTests()
subscriptions, standings = conformance.SubscriptionStoreTests(), conformance.StandingStoreTests()


@pytest.mark.parametrize(
    ("broken", "law", "told"),
    [
        (
            TakesInTwoTransactions,
            usage.test_failing_at_each_step,
            r"statement \d failed: Counted\(org=4, instance=3\) is",
        ),
        (
            NotesTheEventAfterwards,
            subscriptions.test_failing_at_each_step,
            r"subscribe: .*event_is_handled=False, .* is seen",
        ),
        (RaisesAfterwards, standings.test_failing_at_each_step, r"end: statement \d+ failed"),
        (
            SweepsInTwoTransactions,
            holdings.test_failing_at_each_step,
            r"; done again, Counted\(org=5, instance=5\) is seen",
        ),
        (ReturnsFirst, holdings.test_failing_at_each_step, r"; done again, Counted\(org=1, instance=1\) is seen"),
        (SettlesByMoving, holdings.test_failing_at_each_step, r"settle .*, instance=3, is_held=False\) is seen"),
        (SeedsInTwoTransactions, usage.test_failing_at_each_step, r"seed .*org=0, instance=None\) is seen"),
        (TakesInTwoTransactions, partial(usage.test_dying_at_a_step, rounds=1), r"before statement 2 of 2"),
        (NotesTheEventAfterwards, partial(subscriptions.test_dying_at_a_step, rounds=2), r"before statement \d+ of"),
    ],
)
def test_half_a_verb_is_found(broken: type[SqlStore], law: Callable[..., None], told: str, url: str) -> None:
    """A verb in two transactions is found wherever it stops between them, and what happened is told."""
    with closing(broken.from_url(url)) as store, pytest.raises(AssertionError, match=told):
        law(store, partial(stepped, broken, url))


@pytest.mark.parametrize("law", [usage.test_failing_at_each_step, partial(usage.test_dying_at_a_step, rounds=1)])
def test_a_verb_that_tells_of_nothing_is_found(law: Callable[..., None], url: str) -> None:
    """Where one verb is never stopped the law says so, whatever the others tell."""
    with closing(SqlStore.from_url(url)) as store, pytest.raises(AssertionError, match="no statement of this verb"):
        law(store, partial(stepped, TakesUntold, url))


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
@pytest.mark.parametrize("law", [usage.test_the_last_unit_fits_and_no_more, usage.test_a_race_for_the_last_units])
def test_the_leaking_statement_is_found(law: Callable[..., None], postgres: str) -> None:
    """What the instance lost to refused takes is found by one thread, and by many."""
    with postgres_schema(postgres, "trap") as own, closing(TakesInOneStatement.from_url(own)) as store:
        store.migrate()
        given = {"store": store, "crew": ThreadCrew(store), "rounds": 1}
        with pytest.raises(AssertionError):
            law(**{name: given[name] for name in signature(law).parameters})


def test_what_was_not_written_is_found(tmp_path: Path) -> None:
    """A killed process shows what was only said to be saved."""
    reopen = partial(WritesLater, tmp_path / "license.json")
    with pytest.raises(AssertionError):
        conformance.LicenseStoreTests().test_killed_at_any_instant(FileLicenseStore(tmp_path / "oracle"), reopen, 2)


def test_a_lock_of_one_process_is_found(url: str) -> None:
    """It stands up to threads, and falls with the second process."""
    law: Callable[..., None] = usage.test_a_race_for_the_last_units
    with closing(LocksInOneProcess.from_url(url)) as store:
        law(store, ThreadCrew(store), 1)
        empty(store)
        with ProcessCrew(partial(LocksInOneProcess.from_url, url)) as crew, pytest.raises(AssertionError):
            law(store, crew, ROUNDS)


def test_a_sweep_under_a_lock_of_one_process_is_found(url: str) -> None:
    """So does a sweep, which each process does now and then."""
    clock = ManualClock(NOW)
    with closing(SweepsUnderALock.from_url(url, clock=clock)) as store:
        holdings.test_threads_sweep_once(store, clock)
        empty(store)
        with pytest.raises(AssertionError):
            holdings.test_processes_sweep_once(store, partial(SweepsUnderALock.from_url, url), rounds=ROUNDS)


def test_a_seed_that_writes_over_others_is_found(url: str) -> None:
    """Processes that count the same rows at the same moment show it."""
    law: Callable[..., None] = usage.test_a_race_to_seed
    reopen = partial(SeedsOverOthers.from_url, url)
    with closing(reopen()) as store, ProcessCrew(reopen) as crew, pytest.raises(AssertionError):
        law(store, crew, ROUNDS)
