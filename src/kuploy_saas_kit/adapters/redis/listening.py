"""Hears that something changed, so that whoever polls the feed need not wait for its next look."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from kuploy_saas_kit.adapters.redis.client import errors
from kuploy_saas_kit.license.refresher import Refresher

_LOG: Final = logging.getLogger(__name__)
_LISTEN_SECONDS: Final = 0.5
_AFTER_A_WORD: Final = timedelta(seconds=0.1)
_AFTER_A_LOSS: Final = timedelta(seconds=1)


class ChangeListener:
    """One daemon thread with one subscription, from `start` to `stop`.

    *wake* is called, at most ten times a second, for what was said and for each new subscription: what was said while
    there was none was not heard. Nothing hangs on it but time: the feed keeps what changed.
    """

    def __init__(self, client: Any, channel: bytes, wake: Callable[[], None]) -> None:
        self._client = client
        self._channel = channel
        self._wake = wake
        self._subscription: Any = None
        self._thread = Refresher(self._listen, name="kuploy-saas-kit-changes")

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; it takes up to half a second."""
        self._thread.stop()
        self._hang_up()

    def _listen(self) -> timedelta:
        try:
            heard = self._heard()
        except errors().RedisError as error:
            _LOG.info("the subscription to changes is lost (%s); they are polled", type(error).__name__)
            self._hang_up()
            return _AFTER_A_LOSS
        if not heard:
            return timedelta()
        self._wake()
        return _AFTER_A_WORD

    def _heard(self) -> bool:
        if self._subscription is None:
            self._subscription = self._client.pubsub()
            self._subscription.subscribe(self._channel)
        heard = self._subscription.get_message(timeout=_LISTEN_SECONDS) is not None
        while heard and self._subscription.get_message() is not None:
            pass  # one look at the feed is enough for all that was said
        return heard

    def _hang_up(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
