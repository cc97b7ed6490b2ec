"""How long PostgreSQL is waited for: connections of psycopg whose every wait for an answer ends."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from psycopg import AsyncConnection, Connection, Error, OperationalError, capabilities

from kuploy_saas_kit._clock import SystemClock

if TYPE_CHECKING:
    from psycopg.abc import PQGen

T = TypeVar("T")

_CANCEL_SECONDS: Final = 1.0
_elapsed: Final = SystemClock().elapsed


class TimedConnection(Connection[Any]):
    """A connection that is closed where the server does not answer within *command_timeout*; None waits on.

    Whatever psycopg waits for on a connection that is open goes through `wait`, and looks in ten times a second.
    """

    command_timeout: timedelta | None = None

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Do *gen*; `OperationalError` where that takes too long."""
        if self.command_timeout is None:
            return super().wait(gen, *args, **options)
        handled = sys.exception()
        try:
            return super().wait(_in_time(gen, self.command_timeout), *args, **options)
        except Error as error:
            if isinstance(error, _UnansweredError):
                self._give_up()
            _raise_interrupt_before(error, handled)
            raise

    def _give_up(self) -> None:
        # Without it a statement that stands in a queue would be done later, when nobody counts on it any more.
        if capabilities.has_cancel_safe():
            with suppress(Error):
                self.cancel_safe(timeout=_CANCEL_SECONDS)
        self.close()


class AsyncTimedConnection(AsyncConnection[Any]):
    """`TimedConnection` for event loops."""

    command_timeout: timedelta | None = None

    async def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Do *gen*; `OperationalError` where that takes too long."""
        if self.command_timeout is None:
            return await super().wait(gen, *args, **options)
        handled = sys.exception()
        try:
            return await super().wait(_in_time(gen, self.command_timeout), *args, **options)
        except Error as error:
            if isinstance(error, _UnansweredError):
                await self._give_up()
            _raise_interrupt_before(error, handled)
            raise

    async def _give_up(self) -> None:
        if capabilities.has_cancel_safe():
            with suppress(Error):
                await self.cancel_safe(timeout=_CANCEL_SECONDS)
        await self.close()


def connected(command_timeout: timedelta | None, **parameters: Any) -> TimedConnection:
    """A new connection."""
    connection = TimedConnection.connect(**parameters)
    connection.command_timeout = command_timeout
    return connection


async def connected_async(command_timeout: timedelta | None, **parameters: Any) -> AsyncTimedConnection:
    """`connected` for event loops."""
    connection = await AsyncTimedConnection.connect(**parameters)
    connection.command_timeout = command_timeout
    return connection


class _UnansweredError(OperationalError):
    """The server answered nothing in time."""


def _raise_interrupt_before(error: Error, handled: BaseException | None) -> None:
    """Raise what ended the wait before *error* did: it must not be lost. *handled* is what the caller was in already.

    Where a wait is interrupted, psycopg cancels the statement and waits on, and up to 3.2 raises what comes of that.
    """
    interrupt = error.__context__
    if interrupt is not handled and isinstance(interrupt, CancelledError | KeyboardInterrupt):
        raise interrupt from error


def _in_time(gen: PQGen[T], timeout: timedelta) -> PQGen[T]:
    """*gen*, which is psycopg's side of a conversation with the server, until it is over or *timeout* has passed."""
    deadline = _elapsed() + timeout
    try:
        wanted = next(gen)
        while True:
            # What is sent where nothing came differs between psycopg's versions, so the clock decides.
            wanted = gen.send((yield wanted))
            if _elapsed() >= deadline:
                raise _UnansweredError(f"no answer within {timeout.total_seconds():g} s")
    except StopIteration as done:
        result: T = done.value
        return result
