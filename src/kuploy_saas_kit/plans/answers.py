"""The answers that a gate keeps in memory, and what replaces them.

Orgs on one plan share one table of decisions. A publication of a license or of a catalog rewrites the tables (as
many as there are plans); a change of an org drops its entry. Readers take no lock: they read one dict for the org
and one for the feature.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import ProductSchema
from kuploy_saas_kit.plans.decision import Decision
from kuploy_saas_kit.plans.standing import PlanResolution, PlanSource
from kuploy_saas_kit.plans.verdicts import LicenseFacts, feature_decisions

_TableKey: TypeAlias = tuple[str | None, PlanSource]


class Table:
    """One plan and its decisions by feature, and beside them the bare answers.

    `allows` reads those alone: a decision is an object of its own in memory, and with a thousand features fetching it
    costs more than the check.
    """

    __slots__ = ("decisions", "granted", "resolution")

    def __init__(self, resolution: PlanResolution, decisions: dict[str, Decision]) -> None:
        self.follow(resolution, decisions)

    def follow(self, resolution: PlanResolution, decisions: dict[str, Decision]) -> None:
        """Let the answers be those of *resolution*, for every org of the plan."""
        self.resolution = resolution
        self.decisions = decisions
        self.granted = _bare(decisions)


class Answers:
    """What is kept: org → the table of its plan. Empty until `begin`, after `end` and after a fork."""

    def __init__(self, schema: ProductSchema, max_orgs: int) -> None:
        self.kept: dict[str, Table] = {}
        self._schema = schema
        self._max_orgs = max_orgs
        self._tables: dict[_TableKey, Table] = {}
        self._ends: dict[str, datetime] = {}
        self._facts: LicenseFacts | None = None
        self._catalog: PlanCatalog | None = None
        self._is_keeping = False
        self._generation = 0
        self._lock = threading.Lock()
        _all_answers.add(self)

    @property
    def generation(self) -> int:
        """Rises whenever something is dropped; what was read under an older one is not kept."""
        return self._generation

    @property
    def catalog(self) -> PlanCatalog | None:
        """The published catalog while answers are kept, else None."""
        return self._catalog if self._is_keeping else None

    def begin(self, facts: LicenseFacts, catalog: PlanCatalog | None) -> None:
        """Keep answers from now on: somebody promises to publish and to drop."""
        with self._lock:
            self._is_keeping = True
        self.publish(facts, catalog)

    def end(self) -> None:
        """Keep nothing any more."""
        with self._lock:
            self._is_keeping = False
            self._drop_all()

    def publish(self, facts: LicenseFacts | None = None, catalog: PlanCatalog | None = None) -> None:
        """Let every kept answer follow a new license, a new catalog, or both."""
        with self._lock:
            self._facts = self._facts if facts is None else facts
            self._catalog = self._catalog if catalog is None else catalog
            if any(self._is_gone(key) for key in self._tables):
                self._tables.clear()
                self._drop_all()
            for key, table in self._tables.items():
                table.follow(self._resolution(key), self._decisions(key))

    def resolution(self, org_id: str) -> PlanResolution | None:
        """The plan that is kept for *org_id*, until when it holds by time; None where nothing is kept."""
        end = self._ends.get(org_id)  # first: it is there before the org is, and gone after it
        table = self.kept.get(org_id)
        if table is None or end is None:
            return None if table is None else table.resolution
        return replace(table.resolution, valid_until=end)

    def keep(self, org_id: str, resolution: PlanResolution, generation: int) -> None:
        """Keep the answer for *org_id*, unless something was dropped since *generation*."""
        with self._lock:
            key = self._key(resolution)
            if not self._is_keeping or generation != self._generation or key is None:
                return
            if len(self.kept) >= self._max_orgs:
                self._drop(next(iter(self.kept)))
            self._ends.pop(org_id, None)
            if resolution.valid_until is not None:
                self._ends[org_id] = resolution.valid_until
            self.kept[org_id] = self._table(key)

    def forget(self, org_ids: Iterable[str]) -> None:
        """Drop what is kept about these orgs."""
        with self._lock:
            self._generation += 1
            for org_id in org_ids:
                self._drop(org_id)

    def forget_all(self) -> None:
        """Drop what is kept about every org."""
        with self._lock:
            self._drop_all()

    def expire(self, now: datetime) -> None:
        """Drop the answers that ended by time."""
        with self._lock:
            for org_id in [org_id for org_id, end in self._ends.items() if end <= now]:
                self._drop(org_id)

    def _key(self, resolution: PlanResolution) -> _TableKey | None:
        if resolution.source is PlanSource.DEFAULT:
            key: _TableKey = (None, resolution.source)
        else:
            key = (resolution.slug, resolution.source)
        # A plan read from a store that is ahead of the published catalog has no table here yet.
        return key if self._facts is not None and self._resolution(key).plan == resolution.plan else None

    def _table(self, key: _TableKey) -> Table:
        if key not in self._tables:
            self._tables[key] = Table(self._resolution(key), self._decisions(key))
        return self._tables[key]

    def _decisions(self, key: _TableKey) -> dict[str, Decision]:
        assert self._facts is not None  # noqa: S101 - publish() came first, or _key() refused
        return feature_decisions(self._facts, self._resolution(key), self._schema)

    def _resolution(self, key: _TableKey) -> PlanResolution:
        slug, source = key
        if self._catalog is None:
            return PlanResolution(None, PlanSource.NONE)
        plan = self._catalog.default if source is PlanSource.DEFAULT else self._catalog.get(slug or "")
        return PlanResolution(plan, source)

    def _is_gone(self, key: _TableKey) -> bool:
        return self._resolution(key).plan is None

    def _drop(self, org_id: str) -> None:
        self.kept.pop(org_id, None)
        self._ends.pop(org_id, None)

    def _drop_all(self) -> None:
        self._generation += 1
        self.kept.clear()
        self._ends.clear()

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._is_keeping = False
        self._drop_all()


def _bare(decisions: dict[str, Decision]) -> dict[str, bool]:
    return {key: decision.granted for key, decision in decisions.items()}


_all_answers: weakref.WeakSet[Answers] = weakref.WeakSet()


def _forget_in_child() -> None:
    for answers in list(_all_answers):
        answers._after_fork()  # noqa: SLF001 - this module's own class


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_in_child)
