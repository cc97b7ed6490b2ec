"""A feed that is told after the commit loses what was committed when the process dies in between."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection
from tests.adapters.test_broken_crashes import stepped

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.plans.ports import Changes
from kuploy_saas_kit.testing import conformance


class TellsAfterwards(SqlStore):
    """Commits, and then enters the change in the feed."""

    untold: Sequence[str | None] = ()

    def _changed(self, connection: Connection, org_ids: Sequence[str | None]) -> None:
        self.untold = org_ids

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self.untold = ()
        with super()._writing() as connection:
            yield connection
        if self.untold:
            with super()._writing() as connection:
                super()._changed(connection, self.untold)


class TellsElsewhere(TellsAfterwards):
    """The same without the feed, as a host opens it whose feed is in another database."""

    @property
    def changes(self) -> Callable[[str | None], Changes]:
        raise AttributeError("the feed is elsewhere")


@pytest.fixture
def url(tmp_path: Path, sqlite_template: Path) -> str:
    """An SQLite file with the kit's tables."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'kit.db')}"


SUITES = [
    conformance.StandingStoreTests(),
    conformance.SubscriptionStoreTests(),
    conformance.PlanStoreTests(),
    conformance.CurrentSpaceTests(),
]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: type(suite).__name__)
def test_a_change_that_is_told_afterwards(suite: conformance.StandingStoreTests, url: str) -> None:
    """What is there and not in the feed is found where the second transaction fails."""
    with (
        closing(TellsAfterwards.from_url(url)) as store,
        pytest.raises(AssertionError, match="=True, feed_agrees=False"),
    ):
        suite.test_failing_at_each_step(store, partial(stepped, TellsAfterwards, url))


def test_a_feed_that_is_elsewhere(url: str) -> None:
    """A host whose feed cannot be in the transaction opens its store without it, and the rest is judged."""
    with closing(TellsAfterwards.from_url(url)) as store:
        conformance.SubscriptionStoreTests().test_failing_at_each_step(store, partial(stepped, TellsElsewhere, url))
