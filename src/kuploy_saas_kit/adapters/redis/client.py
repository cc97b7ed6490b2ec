"""The client package: how it is loaded, how clients are made, how a command is sent, and what errors become."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from copy import copy
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, Final

from kuploy_saas_kit.errors import ConfigurationError, StorageError

_FOR_THREADS: Final = 1_000
"""So many connections are opened at most: more than a process has threads. The pool that makes them wait for fewer
costs 3 % of a take."""

_FOR_TASKS: Final = 50
"""So many connections are opened at most for code that awaits; who needs one more waits."""

_WAIT_SECONDS: Final = 5

_OPTIONS: Final = {
    # With the older protocol nothing but answers comes over a connection: whatever is left on one is noticed.
    "protocol": 2,
    "decode_responses": True,
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    # A connection that was not used for so many seconds is asked whether it still leads anywhere.
    "health_check_interval": 10,
}

_REFUSALS: Final = (
    (
        ("Too many connections", "No connection available"),
        "was not asked: all connections are in use. Try again, or raise max_connections in the URL or pool",
    ),
    (
        ("max number of clients reached",),
        "has as many clients as it allows: raise its maxclients, or look who keeps connections",
    ),
    (
        ("OutOfMemoryError", "-OOM "),
        "is out of memory: raise its maxmemory, or look what fills it; what gives room back works all the same",
    ),
    (
        ("ReadOnlyError", "-READONLY "),
        "is a replica, which takes no writes: after a failover try again, else give the kit the URL of the primary",
    ),
    (("MasterDownError",), "is a replica that has lost its primary: try again, or give the kit the URL of the primary"),
    (
        ("MISCONF ",),
        "takes no writes because it cannot save to its disk: see its log, and whether the disk is full; then try again",
    ),
    (("NOREPLICAS ",), "takes no writes because too few replicas follow it (min-replicas-to-write): try again"),
    (("BusyLoadingError",), "has just started and loads its data: try again in a moment"),
    (("AuthenticationError",), "wants another user or password than its URL has"),
    (
        ("NoPermissionError",),
        "does not let the user of its URL do this: grant it all commands on the keys and channels of the kit's prefix",
    ),
)
"""How an error is recognized, of a command or within a script, where the server did nothing; and what to do."""


def client_for(url: str) -> Any:
    """A client for threads. Connecting and asking after idle time is tried twice, at once; see `send_once`."""
    retry = package("redis.retry").Retry(package("redis.backoff").NoBackoff(), 1)
    return _made(package("redis"), url, retry, _FOR_THREADS)


def async_client_for(url: str) -> Any:
    """A client for event loops, as `client_for` makes them for threads. A verb waits for its turn: see `turns_for`."""
    retry = package("redis.asyncio.retry").Retry(package("redis.backoff").NoBackoff(), 1)
    return _made(package("redis.asyncio"), url, retry, _FOR_TASKS)


def _made(module: Any, url: str, retry: Any, connections: int) -> Any:
    if not isinstance(url, str):
        raise ConfigurationError(f"a Redis URL is text, and not {type(url).__name__}: is the variable set?")
    try:
        client = module.Redis.from_url(url, retry=retry, max_connections=connections, **_OPTIONS)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # not opened; an option that does not exist fails here
    except TypeError as error:
        option = str(error).rpartition("'")[0].rpartition("'")[2]
        raise ConfigurationError(f"a Redis URL has no option {option!r}: take it out of the URL") from None
    except ValueError:
        # The cause may show a part of the password, where that has a slash in it.
        raise ConfigurationError(
            "this is no Redis URL; examples: redis://host/0, rediss://user:password@host/0, unix:///path/redis.sock; "
            "special characters of a password are written as in `%2F`"
        ) from None
    return client


def check_client(client: Any, *, is_awaited: bool) -> None:
    """`ConfigurationError` for what is no client, for one of the other kind, and for one that answers with bytes.

    They do that unless they are told.
    """
    ask = getattr(client, "execute_command", None)
    is_other = isinstance(client, package("redis").Redis) if is_awaited else iscoroutinefunction(ask)
    if ask is None or is_other:
        raise ConfigurationError(
            f"this store is not made over {type(client).__module__}.{type(client).__name__}: a URL goes to from_url(), "
            "a client of redis to RedisStore, one of redis.asyncio to AsyncRedisStore"
        )
    encoder_of = getattr(client, "get_encoder", None)
    if encoder_of is not None and not encoder_of().decode_responses:
        raise ConfigurationError("this Redis client answers with bytes: make it with decode_responses=True")


class Turns:
    """Lets *count* at a time go on. Who waits in vain raises what a pool raises that has no connection.

    The waiting pool of `redis.asyncio` does the same, and costs a tenth of a verb.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError as error:
            raise errors().ConnectionError("No connection available") from error

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


def turns_for(client: Any) -> AbstractAsyncContextManager[None]:
    """Turns for as many as the pool of *client* has connections, where it would raise for one more."""
    pool = getattr(client, "connection_pool", None)
    if pool is None or hasattr(pool, "timeout"):
        return nullcontext()  # a cluster, or a pool that waits by itself
    return Turns(pool.max_connections)


def left_to_the_parent(client: Any) -> object:
    """What a client of `redis.asyncio` had open when the process was forked; from now on it opens its own.

    Keep the answer. A connection that is let go of is closed, and the parent's event loop hears no more of it.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return None
    left = copy(pool)
    pool.reset()
    return left


def send_once(client: Any, command: Sequence[bytes]) -> Any:
    """Send *command* and read the answer; nothing is sent a second time, whatever retries the client was made with.

    A lost answer does not tell whether the command was done. The client's own way of sending would try again, and is
    taken only where there is no pool of connections to one server, which is a cluster.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return client.execute_command(command[0].decode(), *command[1:])
    connection = pool.get_connection()
    try:
        connection.send_packed_command(_packed(command))
        return connection.read_response()
    except errors().NoScriptError:
        raise
    except BaseException:
        # The answer may still come, and is nobody's; or the server is no longer the one that takes writes.
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


async def send_once_async(client: Any, command: Sequence[bytes]) -> Any:
    """`send_once` for a client of `redis.asyncio`."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return await client.execute_command(command[0].decode(), *command[1:])
    connection = await pool.get_connection()
    try:
        await connection.send_packed_command(_packed(command))
        return await connection.read_response()
    except errors().NoScriptError:
        raise
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        await pool.release(connection)


def _packed(command: Sequence[bytes]) -> list[bytes]:
    """*command* as it goes over the wire. The package's own way takes as long as Redis does."""
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return [b"*%d\r\n%b" % (len(parts), b"".join(parts))]


_FOREIGN: Final = ("ValueError", "UnicodeDecodeError", "is not an integer", "WRONGTYPE ")
"""How it is recognized that a key holds what the kit would not write."""


def unanswered(error: Exception, keys: Sequence[bytes] = ()) -> StorageError:
    """What a verb over *keys* raises in place of *error*; it has no address and no password in it."""
    said = f"{type(error).__name__} {error}"
    if any(sign in said for sign in _FOREIGN):
        places = " or ".join(key.decode() for key in keys)
        return StorageError(
            f"Redis holds in {places} what the kit did not write, such as a number that is none. Look what else uses "
            "this prefix and delete what it left, then have gate.reconcile count again"
        )
    for signs, told in _REFUSALS:
        if any(sign in said for sign in signs):
            return StorageError(f"Redis {told}. Nothing was done")
    is_away = isinstance(error, errors().ConnectionError)
    hint = ". If it stays so: is Redis running, and is its URL right?" if is_away else ""
    return StorageError(
        f"Redis could not do what was asked ({type(error).__name__}): it was done as a whole or not at all. Try again,"
        f" under the same key if it has one{hint}"
    )


def errors() -> Any:
    """The module of the package's exceptions."""
    return package("redis.exceptions")


def package(name: str) -> Any:
    """The module *name* of the client package; without the package a `ConfigurationError` names the extra."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError("RedisStore needs an extra: pip install 'kuploy-saas-kit[redis]'") from error
