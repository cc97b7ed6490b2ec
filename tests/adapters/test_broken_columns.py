"""Stores whose columns take one name for another, or keep less of a value than they were given; and the law that tells.

Each is the memory store behind columns that do so.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.adapters.test_broken_stores import Law

from kuploy_saas_kit.adapters import MemoryStore
from kuploy_saas_kit.model.subscription import OrgStanding, OrgSubscription, StripeSpace, effective_subscription
from kuploy_saas_kit.plans.ports import Changes, Everyone
from kuploy_saas_kit.stripe_provision.ports import PriceMapping
from kuploy_saas_kit.testing import conformance

ASKED = (
    *("standing", "trail_of", "subscriptions_of", "look_up_event", "load_subscription", "customer_of"),
    *("keep_customer", "org_of_customer", "plan_of_price", "take_lease", "announce_once", "meter_total"),
)
"""Verbs that are asked by a name."""

KEPT = ("put_assignment", "put_subscription", "save_license", "save_claim")
"""Verbs that keep what they are given."""


def _converting(verb: str, kind: type, convert: Callable[[Any], Any]) -> Callable[..., Any]:
    """The memory store's verb, whose arguments of this kind, or the fields of those, are converted before."""

    def converted(argument: Any) -> Any:
        if isinstance(argument, kind):
            return convert(argument)
        if not is_dataclass(argument) or isinstance(argument, type):
            return argument
        values = {field.name: getattr(argument, field.name) for field in fields(argument)}
        return replace(argument, **{name: convert(each) for name, each in values.items() if isinstance(each, kind)})

    def called(self: MemoryStore, *arguments: Any, **named: Any) -> Any:
        return getattr(MemoryStore, verb)(self, *map(converted, arguments), **named)

    return called


def _comparing(name: str, fold: Callable[[str], str]) -> type[MemoryStore]:
    return type(name, (MemoryStore,), {verb: _converting(verb, str, fold) for verb in ASKED})


def _keeping(name: str, cut: Callable[[datetime], datetime]) -> type[MemoryStore]:
    return type(name, (MemoryStore,), {verb: _converting(verb, datetime, cut) for verb in KEPT})


IgnoresCase = _comparing("IgnoresCase", str.lower)
IgnoresSpaces = _comparing("IgnoresSpaces", str.rstrip)
IgnoresTheEnd = _comparing("IgnoresTheEnd", lambda name: name[:191])
IgnoresAccents = _comparing("IgnoresAccents", lambda name: name.replace("\u0301", "").replace("é", "e"))
IsOfNumbers = _comparing("IsOfNumbers", lambda name: str(int(name)) if name.isdecimal() else name)
KeepsSeconds = _keeping("KeepsSeconds", lambda instant: instant.replace(microsecond=0))
KeepsMilliseconds = _keeping(
    "KeepsMilliseconds", lambda instant: instant.replace(microsecond=instant.microsecond // 1000 * 1000)
)
ForgetsTheZone = _keeping("ForgetsTheZone", lambda instant: instant.replace(tzinfo=UTC))
IsNaive = _keeping("IsNaive", lambda instant: instant.astimezone(UTC).replace(tzinfo=None))


class FindsByPrefix(MemoryStore):
    """Finds an org's subscriptions by how their org's id begins: `LIKE 'acme%'`."""

    def subscriptions_of(self, org_id: str) -> Sequence[OrgSubscription]:
        return self._rows(lambda row: (row.org_id or "").startswith(org_id))

    def standing(self, org_id: str) -> OrgStanding:
        return replace(super().standing(org_id), subscription=effective_subscription(self.subscriptions_of(org_id)))


class SortsByText(MemoryStore):
    """Sorts instants as the texts that they came as."""

    def subscriptions_of(self, org_id: str) -> Sequence[OrgSubscription]:
        return sorted(super().subscriptions_of(org_id), key=lambda row: row.created.isoformat())


class MarksByText(MemoryStore):
    """Compares the marks' texts."""

    def save_mark(self, mark: datetime) -> None:
        held = self._state.license
        if held is not None and mark.isoformat() > held.mark.isoformat():
            self._state.license = replace(held, mark=mark)


class TellsInLowerCase(MemoryStore):
    """A feed that spells ids in its own way."""

    def changes(self, cursor: str | None) -> Changes:
        news = super().changes(cursor)
        if isinstance(news.org_ids, Everyone):
            return news
        return replace(news, org_ids=frozenset(org_id.lower() for org_id in news.org_ids))


class MapsBySlugInLowerCase(MemoryStore):
    """Stops selling every plan whose slug is like this one."""

    def load_mappings(self, space: StripeSpace) -> dict[str, PriceMapping]:
        return {slug.lower(): mapping for slug, mapping in super().load_mappings(space).items()}


class RaisesPlansAlike(MemoryStore):
    """Raises the version of every plan whose slug is like that of the one that is saved."""

    def put_plan(self, plan: Any, *, expected_version: int) -> Any:
        saved = super().put_plan(plan, expected_version=expected_version)
        versions = self._state.plan_versions
        versions.update({slug: saved.version for slug in versions if slug.lower() == plan.slug.lower()})
        return saved


standings, audit = conformance.StandingStoreTests(), conformance.AuditStoreTests()
subscriptions, customers = conformance.SubscriptionStoreTests(), conformance.CustomerStoreTests()
provisioning, leases = conformance.ProvisioningStoreTests(), conformance.LeaseStoreTests()
announcements, meters = conformance.AnnouncementStoreTests(), conformance.MeterStoreTests()
plans, feed = conformance.PlanStoreTests(), conformance.ChangeFeedTests()
licenses, identity = conformance.LicenseStoreTests(), conformance.IdentityStoreTests()

LAWS = [
    *(
        Law(broken, law)
        for broken in (IgnoresCase, IgnoresSpaces, IgnoresTheEnd, IgnoresAccents, IsOfNumbers)
        for law in (
            standings.test_no_org_sees_another,
            audit.test_no_org_sees_anothers_trail,
            subscriptions.test_no_org_sees_another,
            subscriptions.test_no_id_is_taken_for_another,
            customers.test_no_org_sees_another,
            leases.test_no_lease_is_taken_for_another,
            announcements.test_no_name_is_taken_for_another,
            meters.test_no_name_is_taken_for_another,
        )
    ),
    Law(IgnoresCase, provisioning.test_no_plan_is_taken_for_another),
    Law(MapsBySlugInLowerCase, provisioning.test_no_plan_is_taken_for_another),
    Law(RaisesPlansAlike, plans.test_no_plan_is_taken_for_another),
    Law(FindsByPrefix, subscriptions.test_no_org_sees_another),
    Law(TellsInLowerCase, feed.test_every_name_is_told_as_it_is),
    *(
        Law(broken, law)
        for broken in (KeepsSeconds, KeepsMilliseconds, ForgetsTheZone, IsNaive)
        for law in (
            standings.test_an_assignment,
            audit.test_every_change_leaves_a_line,
            subscriptions.test_a_row_comes_back_as_it_went,
            licenses.test_bytes_come_back_as_they_came,
            identity.test_a_claim_survives,
        )
    ),
    Law(SortsByText, subscriptions.test_the_subscription_that_counts),
    Law(MarksByText, licenses.test_the_mark_moves_forward),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.broken.__name__}-{law.method.__qualname__}")
def test_the_law_finds_the_mistake(law: Law) -> None:
    """A store with this mistake does not pass, and the same store without it does."""
    law.judge(MemoryStore)
    with pytest.raises(AssertionError):
        law.judge(law.broken)
