"""The adapter of `StripePort` to Stripe itself: the one place that imports stripe.

Every call has a pinned API version, timeouts, and retries of the kit's own within a budget (the package retries
neither rate limits nor locks). Every write has an idempotency key that its retries share. Errors become the kit's,
with Stripe's request id and without keys or bodies.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from kuploy_saas_kit._clock import from_timestamp, to_timestamp
from kuploy_saas_kit._retry import RetryBudget, call_with_retries
from kuploy_saas_kit.errors import (
    BillingDisabledError,
    BillingError,
    ConfigurationError,
    StripeRejectedError,
    StripeUnavailableError,
)
from kuploy_saas_kit.model.subscription import StripeSpace
from kuploy_saas_kit.stripe_provision import naming, remote
from kuploy_saas_kit.stripe_provision.keys import StripeKeys
from kuploy_saas_kit.stripe_provision.ports import (
    RemoteCatalog,
    RemoteEvent,
    RemotePrice,
    RemoteProduct,
    RemoteSession,
    RemoteSubscription,
)

try:
    import stripe
except ImportError as error:  # pragma: no cover - run in an environment without the extra
    raise ConfigurationError("Stripe needs an extra: pip install 'kuploy-saas-kit[stripe]'") from error

SERIES: Final = 16
"""The major version of the package that this version of the kit works with: each has moved what the kit reads."""

API_VERSION: Final = "2026-10-28.endive"
"""The shape of Stripe's answers that this version of the kit reads."""

TIMEOUT: Final = (3.0, 20.0)
"""Seconds to connect, and between two bytes of an answer."""

_PAGE: Final = 100
_KEYS_A_LIST: Final = 10
_WAITING_CODES: Final = frozenset({"lock_timeout", "idempotency_key_in_use", "rate_limit"})
_WAITING_STATUSES: Final = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
_UNPAID: Final = frozenset({"past_due", "unpaid"})
_KEY_LIKE: Final = re.compile(r"\b(sk|rk|pk|whsec)_\S+")
_PERMISSION: Final = re.compile(r"\brak_[a-z_]+")

_log = logging.getLogger("kuploy_saas_kit.stripe")


def require_series(installed: str) -> None:
    """`ConfigurationError` unless *installed* is a version of the package that the kit works with."""
    if installed.partition(".")[0] != str(SERIES):
        raise ConfigurationError(
            f"the package stripe {installed} is installed and this version of the kit works with {SERIES}.x: "
            "pip install 'kuploy-saas-kit[stripe]'"
        )


require_series(stripe.VERSION)

KeysSource: TypeAlias = Callable[[], StripeKeys | None]
_Request: TypeAlias = Callable[[Any, dict[str, Any]], Any]


class StripeGateway:
    """Stripe with the keys that *keys* returns, asked at each call: saved or swapped keys need no restart.

    Without keys every call raises `BillingDisabledError`. *http_client* is a `stripe.HTTPClient` for tests and
    proxies; *base_url* points to an emulator.
    """

    def __init__(
        self,
        keys: KeysSource,
        *,
        base_url: str | None = None,
        http_client: stripe.HTTPClient | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._keys = keys
        self._base_url = base_url
        self._http_client = http_client
        self._budget = budget or RetryBudget()
        self._clients: dict[tuple[int, str], stripe.StripeClient] = {}
        self._spaces: dict[str, StripeSpace] = {}

    @classmethod
    def from_key(
        cls, key: str, *, base_url: str | None = None, http_client: stripe.HTTPClient | None = None
    ) -> StripeGateway:
        """A gateway for one secret key. `ConfigurationError` for a publishable or mangled one."""
        keys = StripeKeys(secret=key)
        return cls(lambda: keys, base_url=base_url, http_client=http_client)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._base_url!r})"

    @property
    def publishable_key(self) -> str | None:
        """The publishable key that is saved beside the current secret key, for the host's own pages."""
        return self._current_keys().publishable

    def pinned(self) -> StripeGateway:
        keys = self._current_keys()
        pinned = StripeGateway(
            lambda: keys, base_url=self._base_url, http_client=self._http_client, budget=self._budget
        )
        pinned._clients, pinned._spaces = self._clients, self._spaces
        return pinned

    def space(self) -> StripeSpace:
        keys = self._current_keys()
        if keys.digest not in self._spaces:
            self._spaces[keys.digest] = StripeSpace(self._account_id(keys), keys.livemode)
        return self._spaces[keys.digest]

    def _account_id(self, keys: StripeKeys) -> str:
        """The account's id; a restricted key that may not read it is a space of its own."""
        try:
            return str(self._send(lambda v1, options: v1.accounts.retrieve_current({}, options))["id"])
        except StripeRejectedError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            return f"key:{keys.digest}"

    def catalog(self, namespace: str) -> RemoteCatalog:
        """All active prices, with their products along: one call for a hundred of them."""
        listed = self._list("prices", {"active": True, "expand": ["data.product"]})
        owned = [answer for answer in listed if _is_named(answer, namespace)]
        sold = [answer["product"] for answer in owned if not isinstance(answer["product"], str)]
        products = {answer["id"]: answer for answer in sold}
        return RemoteCatalog(
            products=[remote.read_product(self._of_our_mode(answer)) for answer in products.values()],
            prices=[remote.read_price(self._of_our_mode(answer)) for answer in owned],
        )

    def product(self, product_id: str) -> RemoteProduct | None:
        answer = self._find(lambda v1, options: v1.products.retrieve(product_id, {}, options))
        return None if answer is None else remote.read_product(self._of_our_mode(answer))

    def products(self, product_ids: Sequence[str]) -> Sequence[RemoteProduct]:
        return [
            remote.read_product(self._of_our_mode(answer))
            for chunk in _chunks(product_ids, _PAGE)
            for active in (True, False)
            for answer in self._list("products", {"ids": chunk, "active": active})
        ]

    def create_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        params = {"id": product_id, **fields}
        return self._product(lambda v1, options: v1.products.create(params, options))

    def update_product(self, product_id: str, fields: Mapping[str, Any]) -> RemoteProduct:
        return self._product(lambda v1, options: v1.products.update(product_id, dict(fields), options))

    def archived_prices(self, lookup_keys: Sequence[str]) -> Sequence[RemotePrice]:
        return [
            remote.read_price(self._of_our_mode(answer))
            for chunk in _chunks(lookup_keys, _KEYS_A_LIST)
            for answer in self._list("prices", {"lookup_keys": chunk, "active": False})
        ]

    def create_price(self, fields: Mapping[str, Any]) -> RemotePrice:
        return self._price(lambda v1, options: v1.prices.create(dict(fields), options))

    def update_price(self, price_id: str, fields: Mapping[str, Any]) -> RemotePrice:
        return self._price(lambda v1, options: v1.prices.update(price_id, dict(fields), options))

    def subscription(self, subscription_id: str) -> RemoteSubscription | None:
        answer = self._find(lambda v1, options: v1.subscriptions.retrieve(subscription_id, {}, options))
        return None if answer is None else self._subscription(answer)

    def subscriptions(self, *, customer_id: str | None = None) -> Sequence[RemoteSubscription]:
        of_customer = {} if customer_id is None else {"customer": customer_id}
        try:
            listed = self._list("subscriptions", {"status": "all", **of_customer})
        except StripeRejectedError as error:
            if customer_id is None or error.code != "resource_missing":
                raise
            return []  # a customer that was deleted has none
        return [self._subscription(answer) for answer in listed]

    def count_subscriptions(self, price_id: str) -> int:
        return sum(1 for _ in self._list("subscriptions", {"price": price_id}))

    def create_customer(self, org_id: str, fields: Mapping[str, Any]) -> str:
        params = dict(fields)
        key = f"customer-{naming.customer_digest(str(self.space()), org_id, params)}"
        answer = self._send(lambda v1, options: v1.customers.create(params, options), key=key)
        return str(self._of_our_mode(answer)["id"])

    def create_checkout(self, fields: Mapping[str, Any]) -> RemoteSession:
        answer = self._send(lambda v1, options: v1.checkout.sessions.create(dict(fields), options), key=_fresh_key())
        return remote.read_session(self._of_our_mode(answer))

    def create_portal(self, customer_id: str, return_url: str) -> RemoteSession:
        params = {"customer": customer_id, "return_url": return_url}
        answer = self._send(lambda v1, options: v1.billing_portal.sessions.create(params, options), key=_fresh_key())
        return remote.read_session(self._of_our_mode(answer))

    def events(self, *, since: datetime, types: Sequence[str]) -> Sequence[RemoteEvent]:
        listed = self._list("events", {"created": {"gte": to_timestamp(since)}, "types": list(types)})
        return [remote.read_event(answer) for answer in listed]

    def _product(self, request: _Request) -> RemoteProduct:
        return remote.read_product(self._of_our_mode(self._send(request, key=_fresh_key())))

    def _price(self, request: _Request) -> RemotePrice:
        return remote.read_price(self._of_our_mode(self._send(request, key=_fresh_key())))

    def _subscription(self, answer: Any) -> RemoteSubscription:
        self._of_our_mode(answer)
        unpaid_since = self._oldest_open_invoice(answer["id"]) if answer.get("status") in _UNPAID else None
        return remote.read_subscription(answer, unpaid_since=unpaid_since)

    def _oldest_open_invoice(self, subscription_id: str) -> datetime | None:
        invoices = self._list("invoices", {"subscription": subscription_id, "status": "open"})
        created = [int(invoice["created"]) for invoice in invoices]
        return from_timestamp(min(created)) if created else None

    def _of_our_mode(self, answer: Any) -> Any:
        """An object of the other mode would mean that keys and answers are mixed up: nothing goes on from there."""
        if answer.get("livemode") is not None and answer["livemode"] != self._current_keys().livemode:
            raise ConfigurationError("Stripe answered an object of the other mode (test or live) than the key's")
        return answer

    def _find(self, request: _Request) -> Any:
        """The answer, or None where Stripe has no such object."""
        try:
            answer = self._send(request)
        except StripeRejectedError as error:
            if error.status == HTTPStatus.NOT_FOUND and error.code == "resource_missing":
                return None
            raise
        return None if answer.get("deleted") else answer

    def _list(self, what: str, params: dict[str, Any]) -> list[Any]:
        """All pages. A cursor that vanished in between (somebody deleted it) makes the listing start again, once."""
        try:
            return list(self._pages(what, params))
        except StripeRejectedError as error:
            if error.code != "resource_missing":
                raise
            return list(self._pages(what, params))

    def _pages(self, what: str, params: dict[str, Any]) -> Iterator[Any]:
        cursor: dict[str, Any] = {}
        while True:
            page_params = {"limit": _PAGE, **params, **cursor}
            page = self._send(lambda v1, options: getattr(v1, what).list(page_params, options))  # noqa: B023
            yield from page["data"]
            if not page["has_more"] or not page["data"]:
                return
            cursor = {"starting_after": page["data"][-1]["id"]}

    def _send(self, request: _Request, *, key: str | None = None) -> Any:
        """Stripe's answer as a dict. Retries share *key*, until a stored failure shows that it is used up."""
        client = self._client()
        used_up = 0

        def attempt(_number: int) -> Any:
            nonlocal used_up
            options = {} if key is None else {"idempotency_key": f"{key}-{used_up}" if used_up else key}
            try:
                return request(client.v1, options).to_dict()
            except stripe.StripeError as error:
                failure = error
            # Raised out here and without the package's frames, whose locals hold the key.
            used_up += _is_stored_failure(failure)
            raise _translated(failure) from _harmless(failure)

        return call_with_retries(attempt, attempts_for=_attempts_for, budget=self._budget)

    def _client(self) -> stripe.StripeClient:
        keys = self._current_keys()
        # Connections are no good in a forked process, so a client belongs to one.
        owner = (os.getpid(), keys.digest)
        if owner not in self._clients:
            self._clients[owner] = self._new_client(keys)
        return self._clients[owner]

    def _new_client(self, keys: StripeKeys) -> stripe.StripeClient:
        # Its telemetry writes a file below HOME and fails every request where there is no home directory.
        stripe.enable_telemetry = False
        return stripe.StripeClient(
            keys.secret,
            stripe_version=API_VERSION,
            base_addresses={"api": self._base_url} if self._base_url else None,
            http_client=_NoticeToLog(self._http_client or self._over_the_network()),
            max_network_retries=0,
        )

    def _over_the_network(self) -> stripe.HTTPClient:
        # Plain http is for an emulator nearby, which the proxy that the environment names does not reach.
        is_plain = self._base_url is not None and self._base_url.startswith("http://")
        return stripe.RequestsClient(timeout=TIMEOUT, proxy={"http": "", "https": ""} if is_plain else None)

    def _current_keys(self) -> StripeKeys:
        keys = self._keys()
        if keys is None:
            raise BillingDisabledError("there are no Stripe keys: save a secret key to sell plans")
        return keys


class _NoticeToLog(stripe.HTTPClient):
    """Takes Stripe's notices out of the headers: the package makes warnings of them, which may be errors in a host."""

    name = "kuploy"

    def __init__(self, inner: stripe.HTTPClient) -> None:
        super().__init__()
        self._inner = inner

    def request(self, method: str, url: str, headers: Any, post_data: Any = None, **kwargs: Any) -> Any:
        body, status, answered = self._inner.request(method, url, headers, post_data, **kwargs)
        lowered = {name.lower(): value for name, value in answered.items()}
        notice = lowered.pop("stripe-notice", None)
        if notice is not None:
            _log.warning("notice from Stripe: %s", _harmless_text(str(notice)))
        served = lowered.get("stripe-version", API_VERSION)
        if served != API_VERSION:
            _log.warning("Stripe answered in API version %s, not %s", served, API_VERSION)
        return body, status, lowered


def _is_named(price: Any, namespace: str) -> bool:
    """Whether a price is sold by a product of the namespace, or holds one of its lookup keys."""
    product = price["product"]
    product_id = product if isinstance(product, str) else product["id"]
    by_key = str(price.get("lookup_key") or "").startswith(naming.key_prefix(namespace))
    return by_key or str(product_id).startswith(naming.product_prefix(namespace))


def _chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))


def _fresh_key() -> str:
    # A key made from the content would replay a stored failure for a day, and refuse the next edit.
    return str(uuid.uuid4())


def _attempts_for(error: BaseException) -> int:
    """How many attempts an error is worth in all."""
    if not isinstance(error, StripeUnavailableError):
        return 1
    return 6 if error.code in _WAITING_CODES or error.status in _WAITING_STATUSES else 3


def _is_stored_failure(error: stripe.StripeError) -> bool:
    status = error.http_status or 0
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and "idempotent-replayed" in (error.headers or {})


def _translated(error: stripe.StripeError) -> BillingError:
    status, code = error.http_status, _code_of(error)
    if status is None:
        return StripeUnavailableError("Stripe did not answer", code="connection")
    if status in _WAITING_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in _WAITING_CODES:
        message = f"Stripe could not answer now (HTTP {status}, {code or 'no code'})"
        return StripeUnavailableError(message, status=status, code=code, request_id=error.request_id)
    param = getattr(error, "param", None)
    return StripeRejectedError(
        _refusal(error, status), status=status, code=code, param=param, request_id=error.request_id
    )


def _code_of(error: stripe.StripeError) -> str | None:
    """Stripe's code, which the package leaves out of some of its errors."""
    within = getattr(error.error, "code", None) if error.error is not None else None
    return error.code or within


def _refusal(error: stripe.StripeError, status: int) -> str:
    message = _harmless_text(error.user_message or "without a message")
    if status == HTTPStatus.UNAUTHORIZED:
        return "Stripe rejected the secret key: it is wrong, rolled or expired; save the current one"
    if status == HTTPStatus.FORBIDDEN:
        missing = _PERMISSION.search(error.user_message or "")
        return f"the key may not do this; missing permission: {missing.group() if missing else message}"
    return f"Stripe refused (HTTP {status}): {message}"


def _harmless_text(text: str) -> str:
    return _KEY_LIKE.sub(r"\1_…", text)[:500]


def _harmless(error: stripe.StripeError) -> stripe.StripeError | None:
    """The cause to keep. Stripe's words about a key contain parts of the key."""
    if error.http_status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return None
    error.__context__ = None
    return error.with_traceback(None)
