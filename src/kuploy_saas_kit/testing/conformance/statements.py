"""Where a store over SQLAlchemy can be stopped: before each statement, and before each commit."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, event

from kuploy_saas_kit.adapters.sql.direct import STEP


def before_each_statement(engine: Engine, step: Callable[[], object]) -> None:
    """Call *step* before each statement and each commit of *engine*; what it raises stops them.

    Of an `AsyncEngine` pass its `sync_engine`.
    """
    engine.update_execution_options(**{STEP: step})

    @event.listens_for(engine, "before_cursor_execute")
    def _statement(*_: object) -> None:
        step()

    @event.listens_for(engine, "commit")
    def _commit(_: object) -> None:
        step()
