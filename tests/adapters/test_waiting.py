"""Waits for PostgreSQL that somebody interrupts: the interrupt arrives, whatever psycopg does before it does."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, cast

import pytest

psycopg = pytest.importorskip("psycopg")
from kuploy_saas_kit.adapters.sql import waiting  # noqa: E402 - where psycopg is missing these tests are skipped

INTERRUPTS = [asyncio.CancelledError, KeyboardInterrupt]


class _Called(waiting.TimedConnection):
    """Without a server."""

    command_timeout = timedelta(seconds=3)

    def __init__(self) -> None:
        self.is_given_up = False

    def __del__(self, _: Any = None, /) -> None:
        pass

    def cancel_safe(self, **_: object) -> None:
        pass

    def close(self) -> None:
        self.is_given_up = True


class _Awaited(waiting.AsyncTimedConnection):
    """Without a server."""

    command_timeout = timedelta(seconds=3)

    def __init__(self) -> None:
        self.is_given_up = False

    def __del__(self, _: Any = None, /) -> None:
        pass

    async def cancel_safe(self, **_: object) -> None:
        pass

    async def close(self) -> None:
        self.is_given_up = True


@pytest.fixture(params=[_Called, _Awaited])
def connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """One whose clock moves by a second each time it is looked at."""
    monkeypatch.setattr(waiting, "_elapsed", (timedelta(seconds=each) for each in count()).__next__)
    return request.param()


def _waits(monkeypatch: pytest.MonkeyPatch, wait: Callable[[Any], None]) -> None:
    """Have psycopg do *wait* with the generator that it is given."""

    async def awaited(_: object, gen: Any) -> None:
        wait(gen)

    monkeypatch.setattr(psycopg.Connection, "wait", lambda _, gen: wait(gen))
    monkeypatch.setattr(psycopg.AsyncConnection, "wait", awaited)


def _silence() -> Iterator[int]:
    """A server that answers nothing."""
    while True:
        yield 1


def _loss() -> Iterator[int]:
    """A server that goes away."""
    yield 1
    raise psycopg.OperationalError("gone")


def _do(connection: Any, gen: Iterator[int]) -> None:
    if isinstance(connection, _Called):
        connection.wait(cast(Any, gen))
    else:
        with suppress(StopIteration):
            connection.wait(gen).send(None)


def _raise(interrupt: type[BaseException]) -> None:
    raise interrupt


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize(("server", "is_given_up"), [(_silence, True), (_loss, False)])
def test_psycopg_that_waits_on_after_an_interrupt(
    connection: Any,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: type[BaseException],
    server: Callable[[], Iterator[int]],
    is_given_up: object,
) -> None:
    """As 3.2 does: whatever error that ends in, the interrupt is raised, and a connection with no answer is closed."""

    def wait(gen: Any) -> None:
        try:
            next(gen)
            _raise(interrupt)
        except interrupt:
            for _ in gen:
                pass
            raise

    _waits(monkeypatch, wait)
    with pytest.raises(interrupt) as caught:
        _do(connection, server())
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)
    assert connection.is_given_up is is_given_up


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_an_interrupt_that_is_being_handled(
    connection: Any, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    """Whoever cleans up after one hears that nothing was answered."""

    def cleans_up() -> None:
        try:
            _raise(interrupt)
        except interrupt:
            _do(connection, _silence())

    _waits(monkeypatch, lambda gen: [*gen].clear())
    with pytest.raises(psycopg.OperationalError, match="no answer within 3 s"):
        cleans_up()
    assert connection.is_given_up
