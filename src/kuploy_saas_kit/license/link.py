"""The thin shells around what is outside: the hub's transport and the host's store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from pydantic import SecretStr

from kuploy_saas_kit.errors import HubUnavailableError, StorageError
from kuploy_saas_kit.license.ports import HubResponse, HubTransport
from kuploy_saas_kit.license.requests import Refusal, hub_request

_LOG: Final = logging.getLogger("kuploy_saas_kit.license")


class HubLink:
    """Asks the hub. The transport is made at the first question, unless one is given."""

    def __init__(self, hub_url: str, transport: HubTransport | None) -> None:
        self._hub_url = hub_url
        self._transport = transport

    def ask(self, path: str, body: Mapping[str, object], license_key: SecretStr | None = None) -> HubResponse | Refusal:
        """The hub's answer, or why there is none. Never raises."""
        request = hub_request(self._hub_url + path, body, license_key=license_key)
        try:
            return self._made_transport().post(request)
        except HubUnavailableError as error:
            return Refusal(error.code)
        except Exception as error:  # noqa: BLE001 - a host's transport may raise anything, and must not stop the loop
            _LOG.warning("the hub transport raised %s; it should raise HubUnavailableError", type(error).__name__)
            return Refusal("transport.failed")

    def close(self) -> None:
        """Let go of connections."""
        if self._transport is not None:
            self._transport.close()

    def _made_transport(self) -> HubTransport:
        if self._transport is None:
            from kuploy_saas_kit.license.http import HttpxTransport  # noqa: PLC0415 - httpx is slow to load

            self._transport = HttpxTransport()
        return self._transport


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Whatever a store raises within becomes a `StorageError` that says *what* failed."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(f"the license store failed to {what}: {type(error).__name__}") from error
