"""Every endpoint of the simulated API: verb and path, parameter type, handler, what it answers and which permission it needs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from kuploy_saas_kit.testing.stripe import (
    account,
    cards,
    checkout,
    clocks,
    customers,
    endpoints,
    events,
    invoices,
    portal,
    prices,
    products,
    subscriptions,
)
from kuploy_saas_kit.testing.stripe.call import Handler, Lister
from kuploy_saas_kit.testing.stripe.refusals import RefusalError


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: a handler that answers one object, or a lister that answers many."""

    method: str
    path: str
    params: str
    kind: str
    area: str
    handler: Handler | None = None
    lister: Lister | None = None

    @property
    def lists(self) -> bool:
        """Whether the answer is a page."""
        return self.lister is not None


ROUTES = (
    Route("GET", "/v1/account", "AccountRetrieveCurrentParams", "account", "account", account.current),
    Route("GET", "/v1/accounts/{}", "AccountRetrieveParams", "account", "account", account.retrieve),
    Route(
        "GET",
        "/v1/country_specs/{}",
        "CountrySpecRetrieveParams",
        "country_spec",
        "country_specs",
        account.country_spec,
    ),
    Route("POST", "/v1/products", "ProductCreateParams", "product", "products", products.create),
    Route("GET", "/v1/products", "ProductListParams", "product", "products", lister=products.list_),
    Route("GET", "/v1/products/{}", "ProductRetrieveParams", "product", "products", products.retrieve),
    Route("POST", "/v1/products/{}", "ProductUpdateParams", "product", "products", products.update),
    Route("DELETE", "/v1/products/{}", "ProductDeleteParams", "product", "products", products.delete),
    Route("POST", "/v1/prices", "PriceCreateParams", "price", "prices", prices.create),
    Route("GET", "/v1/prices", "PriceListParams", "price", "prices", lister=prices.list_),
    Route("GET", "/v1/prices/{}", "PriceRetrieveParams", "price", "prices", prices.retrieve),
    Route("POST", "/v1/prices/{}", "PriceUpdateParams", "price", "prices", prices.update),
    Route("POST", "/v1/customers", "CustomerCreateParams", "customer", "customers", customers.create),
    Route("GET", "/v1/customers", "CustomerListParams", "customer", "customers", lister=customers.list_),
    Route("GET", "/v1/customers/{}", "CustomerRetrieveParams", "customer", "customers", customers.retrieve),
    Route("POST", "/v1/customers/{}", "CustomerUpdateParams", "customer", "customers", customers.update),
    Route("DELETE", "/v1/customers/{}", "CustomerDeleteParams", "customer", "customers", customers.delete),
    Route(
        "GET",
        "/v1/payment_methods/{}",
        "PaymentMethodRetrieveParams",
        "payment_method",
        "payment_methods",
        cards.retrieve,
    ),
    Route(
        "POST",
        "/v1/checkout/sessions",
        "checkout.SessionCreateParams",
        "checkout.session",
        "checkout_sessions",
        checkout.create,
    ),
    Route(
        "GET",
        "/v1/checkout/sessions",
        "checkout.SessionListParams",
        "checkout.session",
        "checkout_sessions",
        lister=checkout.list_,
    ),
    Route(
        "GET",
        "/v1/checkout/sessions/{}",
        "checkout.SessionRetrieveParams",
        "checkout.session",
        "checkout_sessions",
        checkout.retrieve,
    ),
    Route(
        "POST",
        "/v1/checkout/sessions/{}/expire",
        "checkout.SessionExpireParams",
        "checkout.session",
        "checkout_sessions",
        checkout.expire,
    ),
    Route(
        "POST", "/v1/subscriptions", "SubscriptionCreateParams", "subscription", "subscriptions", subscriptions.create
    ),
    Route(
        "GET",
        "/v1/subscriptions",
        "SubscriptionListParams",
        "subscription",
        "subscriptions",
        lister=subscriptions.list_,
    ),
    Route(
        "GET",
        "/v1/subscriptions/{}",
        "SubscriptionRetrieveParams",
        "subscription",
        "subscriptions",
        subscriptions.retrieve,
    ),
    Route(
        "POST",
        "/v1/subscriptions/{}",
        "SubscriptionUpdateParams",
        "subscription",
        "subscriptions",
        subscriptions.update,
    ),
    Route(
        "DELETE",
        "/v1/subscriptions/{}",
        "SubscriptionCancelParams",
        "subscription",
        "subscriptions",
        subscriptions.cancel,
    ),
    Route(
        "POST",
        "/v1/subscriptions/{}/pause",
        "SubscriptionPauseParams",
        "subscription",
        "subscriptions",
        subscriptions.pause,
    ),
    Route(
        "POST",
        "/v1/subscriptions/{}/resume",
        "SubscriptionResumeParams",
        "subscription",
        "subscriptions",
        subscriptions.resume,
    ),
    Route(
        "GET",
        "/v1/subscription_items",
        "SubscriptionItemListParams",
        "subscription_item",
        "subscriptions",
        lister=subscriptions.list_items,
    ),
    Route("GET", "/v1/invoices", "InvoiceListParams", "invoice", "invoices", lister=invoices.list_),
    Route("GET", "/v1/invoices/{}", "InvoiceRetrieveParams", "invoice", "invoices", invoices.retrieve),
    Route("POST", "/v1/invoices/{}/pay", "InvoicePayParams", "invoice", "invoices", invoices.pay),
    Route("POST", "/v1/invoices/{}/void", "InvoiceVoidInvoiceParams", "invoice", "invoices", invoices.void),
    Route("POST", "/v1/invoices/{}/finalize", "InvoiceFinalizeInvoiceParams", "invoice", "invoices", invoices.finalize),
    Route(
        "GET",
        "/v1/invoice_payments",
        "InvoicePaymentListParams",
        "invoice_payment",
        "invoices",
        lister=invoices.list_payments,
    ),
    Route(
        "GET",
        "/v1/payment_intents",
        "PaymentIntentListParams",
        "payment_intent",
        "payment_intents",
        lister=invoices.list_intents,
    ),
    Route(
        "GET",
        "/v1/payment_intents/{}",
        "PaymentIntentRetrieveParams",
        "payment_intent",
        "payment_intents",
        invoices.retrieve_intent,
    ),
    Route(
        "POST",
        "/v1/billing_portal/sessions",
        "billing_portal.SessionCreateParams",
        "billing_portal.session",
        "billing_portal",
        portal.create,
    ),
    Route("GET", "/v1/events", "EventListParams", "event", "events", lister=events.list_),
    Route("GET", "/v1/events/{}", "EventRetrieveParams", "event", "events", events.retrieve),
    Route(
        "POST",
        "/v1/webhook_endpoints",
        "WebhookEndpointCreateParams",
        "webhook_endpoint",
        "webhook_endpoints",
        endpoints.create,
    ),
    Route(
        "GET",
        "/v1/webhook_endpoints",
        "WebhookEndpointListParams",
        "webhook_endpoint",
        "webhook_endpoints",
        lister=endpoints.list_,
    ),
    Route(
        "GET",
        "/v1/webhook_endpoints/{}",
        "WebhookEndpointRetrieveParams",
        "webhook_endpoint",
        "webhook_endpoints",
        endpoints.retrieve,
    ),
    Route(
        "POST",
        "/v1/webhook_endpoints/{}",
        "WebhookEndpointUpdateParams",
        "webhook_endpoint",
        "webhook_endpoints",
        endpoints.update,
    ),
    Route(
        "DELETE",
        "/v1/webhook_endpoints/{}",
        "WebhookEndpointDeleteParams",
        "webhook_endpoint",
        "webhook_endpoints",
        endpoints.delete,
    ),
    Route(
        "POST",
        "/v1/test_helpers/test_clocks",
        "test_helpers.TestClockCreateParams",
        "test_helpers.test_clock",
        "test_clocks",
        clocks.create,
    ),
    Route(
        "GET",
        "/v1/test_helpers/test_clocks",
        "test_helpers.TestClockListParams",
        "test_helpers.test_clock",
        "test_clocks",
        lister=clocks.list_,
    ),
    Route(
        "GET",
        "/v1/test_helpers/test_clocks/{}",
        "test_helpers.TestClockRetrieveParams",
        "test_helpers.test_clock",
        "test_clocks",
        clocks.retrieve,
    ),
    Route(
        "POST",
        "/v1/test_helpers/test_clocks/{}/advance",
        "test_helpers.TestClockAdvanceParams",
        "test_helpers.test_clock",
        "test_clocks",
        clocks.advance,
    ),
    Route(
        "DELETE",
        "/v1/test_helpers/test_clocks/{}",
        "test_helpers.TestClockDeleteParams",
        "test_helpers.test_clock",
        "test_clocks",
        clocks.delete,
    ),
)

_BY_LENGTH: dict[tuple[str, int], list[tuple[list[str], Route]]] = defaultdict(list)
for _route in ROUTES:
    _segments = _route.path.split("/")
    _BY_LENGTH[_route.method, len(_segments)].append((_segments, _route))


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    """The endpoint at *path* and the ids in it, or Stripe's 404."""
    segments = path.split("/")
    for pattern, route in _BY_LENGTH[method, len(segments)]:
        pairs = list(zip(pattern, segments, strict=True))
        if all(want in ("{}", got) for want, got in pairs):
            return route, tuple(got for want, got in pairs if want == "{}")
    message = f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    raise RefusalError(404, message)
