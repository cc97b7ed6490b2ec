"""Every endpoint of the simulated API: its path, parameters and handler, what it answers, what permission it needs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from kuploy_saas_kit.testing.stripe import (
    account,
    checkout,
    clocks,
    customers,
    endpoints,
    events,
    invoices,
    payment_methods,
    portal,
    prices,
    products,
    subscriptions,
)
from kuploy_saas_kit.testing.stripe.call import Handler, Lister
from kuploy_saas_kit.testing.stripe.refusals import RefusalError
from kuploy_saas_kit.testing.stripe.unsimulated import UnsimulatedError

VERBS = {
    "create": ("POST", "", "Create"),
    "list": ("GET", "", "List"),
    "retrieve": ("GET", "/{}", "Retrieve"),
    "update": ("POST", "/{}", "Update"),
    "delete": ("DELETE", "/{}", "Delete"),
    "cancel": ("DELETE", "/{}", "Cancel"),
    "attach": ("POST", "/{}/attach", "Attach"),
    "detach": ("POST", "/{}/detach", "Detach"),
    "advance": ("POST", "/{}/advance", "Advance"),
    "expire": ("POST", "/{}/expire", "Expire"),
    "finalize": ("POST", "/{}/finalize", "FinalizeInvoice"),
    "pause": ("POST", "/{}/pause", "Pause"),
    "pay": ("POST", "/{}/pay", "Pay"),
    "resume": ("POST", "/{}/resume", "Resume"),
    "void": ("POST", "/{}/void", "VoidInvoice"),
    "current": ("GET", "", "RetrieveCurrent"),
}
"""Each verb: HTTP method, what follows the path of the resource, and what the SDK calls its parameters."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What can be done with one kind of object."""

    path: str
    kind: str
    params: str
    area: str
    verbs: dict[str, Handler | Lister]


RESOURCES = (
    Resource("/v1/account", "account", "Account", "account", {"current": account.current}),
    Resource("/v1/accounts", "account", "Account", "account", {"retrieve": account.retrieve}),
    Resource("/v1/country_specs", "country_spec", "CountrySpec", "country_specs", {"retrieve": account.country_spec}),
    Resource(
        "/v1/products",
        "product",
        "Product",
        "products",
        {
            "create": products.create,
            "list": products.list_,
            "retrieve": products.retrieve,
            "update": products.update,
            "delete": products.delete,
        },
    ),
    Resource(
        "/v1/prices",
        "price",
        "Price",
        "prices",
        {"create": prices.create, "list": prices.list_, "retrieve": prices.retrieve, "update": prices.update},
    ),
    Resource(
        "/v1/customers",
        "customer",
        "Customer",
        "customers",
        {
            "create": customers.create,
            "list": customers.list_,
            "retrieve": customers.retrieve,
            "update": customers.update,
            "delete": customers.delete,
        },
    ),
    Resource(
        "/v1/payment_methods",
        "payment_method",
        "PaymentMethod",
        "payment_methods",
        {
            "list": payment_methods.list_,
            "retrieve": payment_methods.retrieve,
            "attach": payment_methods.attach,
            "detach": payment_methods.detach,
        },
    ),
    Resource(
        "/v1/checkout/sessions",
        "checkout.session",
        "checkout.Session",
        "checkout_sessions",
        {
            "create": checkout.create,
            "list": checkout.list_,
            "retrieve": checkout.retrieve,
            "expire": checkout.expire,
        },
    ),
    Resource(
        "/v1/subscriptions",
        "subscription",
        "Subscription",
        "subscriptions",
        {
            "create": subscriptions.create,
            "list": subscriptions.list_,
            "retrieve": subscriptions.retrieve,
            "update": subscriptions.update,
            "cancel": subscriptions.cancel,
            "pause": subscriptions.pause,
            "resume": subscriptions.resume,
        },
    ),
    Resource(
        "/v1/subscription_items",
        "subscription_item",
        "SubscriptionItem",
        "subscriptions",
        {"list": subscriptions.list_items},
    ),
    Resource(
        "/v1/invoices",
        "invoice",
        "Invoice",
        "invoices",
        {
            "list": invoices.list_,
            "retrieve": invoices.retrieve,
            "pay": invoices.pay,
            "void": invoices.void,
            "finalize": invoices.finalize,
        },
    ),
    Resource("/v1/invoice_payments", "invoice_payment", "InvoicePayment", "invoices", {"list": invoices.list_payments}),
    Resource(
        "/v1/payment_intents",
        "payment_intent",
        "PaymentIntent",
        "payment_intents",
        {"list": invoices.list_intents, "retrieve": invoices.retrieve_intent},
    ),
    Resource(
        "/v1/billing_portal/sessions",
        "billing_portal.session",
        "billing_portal.Session",
        "billing_portal",
        {"create": portal.create},
    ),
    Resource("/v1/events", "event", "Event", "events", {"list": events.list_, "retrieve": events.retrieve}),
    Resource(
        "/v1/webhook_endpoints",
        "webhook_endpoint",
        "WebhookEndpoint",
        "webhook_endpoints",
        {
            "create": endpoints.create,
            "list": endpoints.list_,
            "retrieve": endpoints.retrieve,
            "update": endpoints.update,
            "delete": endpoints.delete,
        },
    ),
    Resource(
        "/v1/test_helpers/test_clocks",
        "test_helpers.test_clock",
        "test_helpers.TestClock",
        "test_clocks",
        {
            "create": clocks.create,
            "list": clocks.list_,
            "retrieve": clocks.retrieve,
            "advance": clocks.advance,
            "delete": clocks.delete,
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: it has a handler, which answers one object, or a lister, which answers many."""

    method: str
    path: str
    params: str
    kind: str
    area: str
    handler: Handler | None
    lister: Lister | None

    @property
    def lists(self) -> bool:
        """Whether the answer is a page."""
        return self.lister is not None


def _routes(resource: Resource) -> Iterator[Route]:
    for verb, endpoint in resource.verbs.items():
        method, rest, params = VERBS[verb]
        path, params = resource.path + rest, f"{resource.params}{params}Params"
        if verb == "list":
            yield Route(method, path, params, resource.kind, resource.area, None, cast("Lister", endpoint))
        else:
            yield Route(method, path, params, resource.kind, resource.area, cast("Handler", endpoint), None)


ROUTES = tuple(route for resource in RESOURCES for route in _routes(resource))
"""All endpoints."""

_BY_LENGTH: dict[tuple[str, int], list[tuple[list[str], Route]]] = defaultdict(list)
for _route in ROUTES:
    _segments = _route.path.split("/")
    _BY_LENGTH[_route.method, len(_segments)].append((_segments, _route))


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The endpoint at *path* and the ids in it, or Stripe's 404."""
    segments = path.split("/")
    if segments[-1] == "search":
        raise UnsimulatedError(f"{path} lags behind by up to an hour at Stripe, so that nothing right can rely on it")
    for pattern, route in _BY_LENGTH.get((method, len(segments)), []):
        pairs = list(zip(pattern, segments, strict=True))
        if all(want in ("{}", got) for want, got in pairs):
            return route, tuple(got for want, got in pairs if want == "{}")
    message = (
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/."
    )
    raise RefusalError(404, message)
