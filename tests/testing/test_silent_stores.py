"""Stores that answer without having looked: from what they kept, or with nothing where they cannot look."""

import shutil
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from tests.adapters.test_broken_crashes import stepped

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.model.subscription import OrgStanding, StripeSpace
from kuploy_saas_kit.stripe_provision.ports import MadePrice, MappingPut, PriceMapping
from kuploy_saas_kit.testing import conformance


class FindsNothing(SqlStore):
    """Takes a database that is away for one without rows: everybody is on the default plan, and nothing is used."""

    def standing(self, org_id: str) -> OrgStanding:
        try:
            return super().standing(org_id)
        except Exception:  # noqa: BLE001 - the mistake
            return OrgStanding()

    def usage_of(self, scope: str) -> Mapping[str, int]:
        try:
            return super().usage_of(scope)
        except Exception:  # noqa: BLE001 - the mistake
            return {}


class Keeps(SqlStore):
    """Keeps what it read until it writes itself."""

    def __init__(self, engine: Engine, **options: Any) -> None:
        super().__init__(engine, **options)
        self._plans: dict[str, str | None] = {}
        self._keys: list[str | None] = []

    def plan_of_price(self, space: StripeSpace, price_id: str) -> str | None:
        if price_id not in self._plans:
            self._plans[price_id] = super().plan_of_price(space, price_id)
        return self._plans[price_id]

    def put_mapping(self, space: StripeSpace, mapping: PriceMapping, price: MadePrice) -> MappingPut:
        self._plans.clear()
        return super().put_mapping(space, mapping, price)

    def load_license_key(self) -> str | None:
        if not self._keys:
            self._keys.append(super().load_license_key())
        return self._keys[-1]

    def save_license_key(self, license_key: str | None) -> None:
        self._keys.clear()
        super().save_license_key(license_key)


@pytest.fixture
def url(tmp_path: Path, sqlite_template: Path) -> str:
    """An SQLite file with the kit's tables."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'kit.db')}"


@pytest.mark.parametrize("suite", [conformance.UsageStoreTests(), conformance.StandingStoreTests()])
def test_an_outage_that_looks_like_an_empty_store(suite: conformance.UsageStoreTests, url: str) -> None:
    """What is read where statements fail is found to be made up."""
    with (
        closing(SqlStore.from_url(url)) as store,
        pytest.raises(AssertionError, match="of the reads failed, and nothing was raised"),
    ):
        suite.test_what_cannot_be_read_is_raised(store, partial(stepped, FindsNothing, url))


def test_what_was_kept_of_a_price(url: str) -> None:
    """Whoever looked before another process wrote is found out."""
    with closing(Keeps.from_url(url)) as store, pytest.raises(AssertionError, match="not seen by one that had looked"):
        conformance.ProvisioningStoreTests().test_killed_at_any_instant(store, partial(Keeps.from_url, url), 1)


def test_what_was_kept_of_the_key(url: str) -> None:
    """So is whoever looked before another one claimed a license."""
    with closing(Keeps.from_url(url)) as store, pytest.raises(AssertionError):
        conformance.IdentityStoreTests().test_what_another_one_wrote_is_seen(store, partial(Keeps.from_url, url))
