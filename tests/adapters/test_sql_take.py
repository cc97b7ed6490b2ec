"""The statement that takes, where others change the counters between it and the question why it did not."""

from sqlalchemy.dialects import sqlite

from kuploy_saas_kit.adapters.sql.connection import Ask, Rows
from kuploy_saas_kit.adapters.sql.layout import SqlLayout, tables_of
from kuploy_saas_kit.adapters.sql.take import try_take
from kuploy_saas_kit.plans.ports import Claim, TakeOutcome


def test_room_that_came_meanwhile() -> None:
    """A take that did not fit, and would by the time it is asked why, is tried again."""
    said: list[Rows] = [[], [(4, 0)], [("acme", "maxProjects", 5)]]
    answers = iter(said)
    ask = Ask(sqlite.dialect(), lambda _statement, _parameters: next(answers))
    claims = [Claim("acme", "maxProjects", 1, 5)]
    taken, may_be_swept = try_take(ask, tables_of(SqlLayout()), claims, lambda _: "now")
    assert (taken.outcome, taken.used) == (TakeOutcome.TAKEN, {("acme", "maxProjects"): 5})
    assert not may_be_swept
