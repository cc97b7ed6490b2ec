"""Keys, parameters, lists, expansion and versions hold for every endpoint alike."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode
from tests.testing.stripe.shop import Shop, refused

from kuploy_saas_kit.testing.stripe import Quirks, StripeSimulator, UnsimulatedError
from kuploy_saas_kit.testing.stripe.form import decode
from kuploy_saas_kit.testing.stripe.routes import ROUTES
from kuploy_saas_kit.testing.stripe.schema import params_type, read


@pytest.fixture
def shop() -> Shop:
    """A simulator with one product and one price."""
    return Shop()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_has_parameters_in_the_sdk(route: Any) -> None:
    """A parameter type that the SDK renames or removes is seen here before anybody meets it."""
    with pytest.raises(Exception, match="nonsense"):
        read({"nonsense": "1"}, params_type(route.params))


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"currency": "cad", "colour": "red"}, "parameter_unknown", "colour"),
        ({"currency": "cad", "recurring": {"intervall": "month"}}, "parameter_unknown", "recurring[intervall]"),
        ({"unit_amount": 1}, "parameter_missing", "currency"),
        ({"currency": "cad", "recurring": {}}, None, None),
        ({"currency": "cad", "recurring": {"interval_count": 1}}, "parameter_missing", "recurring[interval]"),
        ({"currency": "cad", "unit_amount": "20.00"}, "parameter_invalid_integer", "unit_amount"),
        ({"currency": "cad", "unit_amount_decimal": "twenty"}, "parameter_invalid_decimal", "unit_amount_decimal"),
        ({"currency": "cad", "active": "perhaps"}, None, "active"),
        ({"currency": "cad", "recurring": {"interval": "moon"}}, None, "recurring[interval]"),
        ({"currency": "cad", "recurring": "month"}, None, "recurring"),
        ({"currency": {"code": "cad"}}, None, "currency"),
        ({"currency": "cad", "tiers": {"first": {"up_to": 1}}}, None, "tiers"),
        ({"currency": "cad", "tiers": [{"up_to": "many"}]}, None, "tiers[0][up_to]"),
        ({"currency": ""}, "parameter_invalid_empty", "currency"),
    ],
)
def test_parameters_are_held_against_the_sdk(shop: Shop, params: Any, code: str | None, param: str | None) -> None:
    """What the parameter types do not allow is refused with Stripe's code and bracketed name, whoever asks (I14)."""
    error = refused(lambda: shop.api.prices.create(params))
    assert (error["status"], error.get("code"), error.get("param")) == (400, code, param)


def test_a_bad_choice_names_the_good_ones(shop: Shop) -> None:
    """The message lists what could have been sent."""
    error = refused(lambda: shop.api.checkout.sessions.create({"mode": "gift"}))
    assert error["message"] == "Invalid mode: must be one of payment, setup, or subscription"


_LEAVES = st.text(st.characters(codec="ascii", exclude_characters="[]"), min_size=1, max_size=5)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.dictionaries(_LEAVES, inner, min_size=1, max_size=3) | st.lists(inner, min_size=1),
    max_leaves=8,
)


@given(st.dictionaries(_LEAVES, _TREES, max_size=3))
def test_what_the_sdk_encodes_is_decoded(tree: dict[str, Any]) -> None:
    """Decoding turns the SDK's form encoding back, with lists as mappings from index to value."""

    def indexed(node: Any) -> Any:
        if isinstance(node, list):
            node = {str(index): inner for index, inner in enumerate(node)}
        return {name: indexed(inner) for name, inner in node.items()} if isinstance(node, dict) else node

    assert decode(urlencode(list(_api_encode(tree)))) == indexed(tree)


def test_unnumbered_and_conflicting_brackets_are_read() -> None:
    """`a[]` appends, and where a name is a value and a mapping at once, the later one counts."""
    assert decode("a[]=1&a[]=2&b=1&b[c]=2&d=") == {"a": {"0": "1", "1": "2"}, "b": {"c": "2"}, "d": ""}


@pytest.mark.parametrize(
    ("key", "code"),
    [("pk_test_1", "secret_key_required"), ("whsec_1", None), ("sk_prod_0123456789abcdef", None), ("", None)],
)
def test_only_secret_keys_call_the_api(shop: Shop, key: str, code: str | None) -> None:
    """Anything but `sk_` and `rk_` with test or live is a 401 that does not repeat the key."""
    client = stripe.StripeClient(key or "x", http_client=shop.sim.http_client())
    headers: Any = {} if key else {"headers": {"Authorization": "Basic x"}}
    error = refused(client.v1.products.list, {}, headers)
    assert (error["status"], error.get("code")) == (401, code)
    assert not key or key not in error["message"]


def test_a_revoked_key_is_refused(shop: Shop) -> None:
    """From one request to the next."""
    shop.sim.revoke("sk_test_sim")
    assert refused(shop.api.products.list)["code"] == "api_key_expired"


def test_a_restricted_key_does_what_it_may(shop: Shop) -> None:
    """Read does not permit write, write permits read, and the refusal names what is missing."""
    shop.sim.restrict("rk_test_1", {"products": "write", "prices": "read"})
    api = shop.sim.client("rk_test_1").v1
    assert api.products.update("kuploy_pro", {"name": "Professional"}).name == "Professional"
    assert len(api.prices.list().data) == 1
    error = refused(lambda: api.prices.update(shop.price, {"nickname": "x"}))
    assert error["status"] == 403
    assert "Having the 'rak_plan_write' permission would allow this request to continue." in error["message"]
    assert refused(api.accounts.retrieve_current)["status"] == 403
    with pytest.raises(ValueError, match="no such permission: dogs"):
        shop.sim.restrict("rk_test_1", {"dogs": "read"})


def test_test_and_live_are_worlds_apart(shop: Shop) -> None:
    """Nothing of one mode is seen in the other, but a refusal hints at it."""
    live = shop.sim.client("sk_live_sim").v1
    assert live.products.list().data == []
    error = refused(lambda: live.products.retrieve("kuploy_pro"))
    assert error["message"].endswith(
        "a similar object exists in test mode, but a live mode key was used to make this request."
    )
    made = live.products.create({"id": "kuploy_pro", "name": "Pro"})
    assert made.livemode
    assert not shop.api.products.retrieve("kuploy_pro").livemode
    assert [request.livemode for request in shop.sim.requests[-2:]] == [True, False]
    assert (
        "a similar object exists in live"
        in refused(lambda: shop.api.products.retrieve(live.products.create({"name": "x"}).id))["message"]
    )


def test_accounts_know_nothing_of_each_other() -> None:
    """Two simulators share neither objects nor ids, and each says whose key it is."""
    one, two = StripeSimulator(), StripeSimulator(account="acct_two")
    ids = {sim.client().v1.products.create({"name": "Pro"}).id for sim in (one, two)}
    assert len(ids) == 2
    assert two.client().v1.accounts.retrieve_current().id == two.account == "acct_two"
    assert two.client().v1.accounts.retrieve("acct_two").country == "CA"
    assert refused(lambda: two.client().v1.accounts.retrieve("acct_sim"))["status"] == 403
    connected = stripe.StripeClient("sk_test_1", http_client=one.http_client(), stripe_account="acct_two")
    assert refused(connected.v1.products.list)["code"] == "account_invalid"


def test_runs_repeat() -> None:
    """The same steps give the same ids and the same events, but for the random keys of the SDK."""
    one, two = ([{**event, "request": None} for event in Shop().sim.events] for _ in range(2))
    assert one == two


@given(st.integers(1, 7), st.integers(0, 20))
def test_pages_cover_a_list_once(limit: int, count: int) -> None:
    """Forwards and backwards, every row comes once, newest first."""
    api = StripeSimulator().client().v1
    made = [api.products.create({"name": f"p{index}"}).id for index in range(count)]
    forwards = [row.id for row in api.products.list({"limit": limit}).auto_paging_iter()]
    assert forwards == made[::-1]
    if made:
        backwards = api.products.list({"limit": limit, "ending_before": made[0]}).auto_paging_iter()
        assert [row.id for row in backwards] == made[1:]


def test_a_list_is_filtered_by_creation(shop: Shop) -> None:
    """`created` takes an instant or a range of which each bound counts."""
    now = shop.api.products.retrieve("kuploy_pro").created
    for created, found in (
        (now, 1),
        (now - 1, 0),
        ({"gte": now, "lt": now + 1}, 1),
        ({"gt": now}, 0),
        ({"lte": now - 1}, 0),
    ):
        assert len(shop.api.products.list({"created": created}).data) == found


def test_limits_are_clamped_or_refused() -> None:
    """The recordings clamp and the documents bound, so both are there."""
    shop = Shop()
    for index in range(2):
        shop.api.products.create({"name": f"p{index}"})
    assert len(shop.api.products.list({"limit": 0}).data) == 1
    assert len(shop.api.products.list({"limit": 1000}).data) == 3
    strict = Shop(quirks=Quirks(clamps_limits=False))
    assert "less than or equal to 100" in refused(lambda: strict.api.products.list({"limit": 101}))["message"]
    assert "greater than or equal to 1" in refused(lambda: strict.api.products.list({"limit": 0}))["message"]


@pytest.mark.parametrize("drops", [True, False])
def test_a_cursor_may_stop_matching(*, drops: bool) -> None:
    """When the cursor's object leaves the filter, the list breaks off or goes on behind it."""
    shop = Shop(quirks=Quirks(drops_stale_cursors=drops))
    first, second = shop.new_price(1), shop.new_price(2)
    shop.api.prices.update(second, {"active": False})
    if drops:
        error = refused(lambda: shop.api.prices.list({"starting_after": second}))
        assert (error["status"], error["code"], error["param"]) == (400, "resource_missing", "starting_after")
    else:
        assert [row.id for row in shop.api.prices.list({"starting_after": second})] == [first, shop.price]
        assert [row.id for row in shop.api.prices.list({"ending_before": first})] == []
    assert refused(lambda: shop.api.prices.list({"ending_before": "price_none"}))["param"] == "ending_before"


def test_expansion_opens_ids_at_any_depth(shop: Shop) -> None:
    """Through lists, embedded objects and parts; what is null stays null."""
    session = shop.session()
    shop.sim.pay(session)
    opened = shop.api.checkout.sessions.retrieve(
        session,
        {"expand": ["line_items.data.price.product", "subscription.latest_invoice.customer", "payment_intent"]},
    )
    assert opened.line_items is not None
    assert opened.line_items.data[0].price.product.name == "Pro"
    assert opened.subscription.latest_invoice.customer.object == "customer"
    assert opened.payment_intent is None
    listed = shop.api.subscriptions.list({"expand": ["data.items.data.price.product", "data.default_payment_method"]})
    assert listed.data[0]["items"].data[0].price.product.id == "kuploy_pro"
    assert listed.data[0].default_payment_method.card.last4 == "4242"
    customer = shop.api.customers.retrieve(str(listed.data[0].customer), {"expand": ["subscriptions"]})
    assert [row.status for row in customer.subscriptions.data] == ["active"]
    invoice = shop.api.invoices.list(
        {"expand": ["data.parent.subscription_details.subscription", "data.payments"]}
    ).data[0]
    assert invoice.parent.subscription_details.subscription.status == "active"
    assert invoice.payments.data[0].status == "paid"


def test_what_cannot_be_expanded_is_refused_before_anything_happens(shop: Shop) -> None:
    """Nonsense, ids of a list without `data`, and more than four levels; the object is not made."""
    before = len(shop.api.products.list().data)
    error = refused(lambda: shop.api.products.create({"name": "x", "expand": ["colour"]}))
    assert error["message"] == "This property cannot be expanded (colour)."
    assert len(shop.api.products.list().data) == before
    hint = refused(lambda: shop.api.products.list({"expand": ["default_price"]}))["message"]
    assert hint.endswith("You may want to try expanding 'data.default_price' instead.")
    deep = "default_price.product.default_price.product.default_price"
    assert (
        "more than 4 levels" in refused(lambda: shop.api.products.retrieve("kuploy_pro", {"expand": [deep]}))["message"]
    )
    assert (
        "(x)" in refused(lambda: shop.api.products.retrieve("kuploy_pro", {"expand": ["default_price.x"]}))["message"]
    )


def test_answers_say_which_version_and_request_they_are(shop: Shop) -> None:
    """`Stripe-Version` echoes the pinned version, and each answer has its own `Request-Id`."""
    headers = shop.api.products.retrieve("kuploy_pro").last_response.headers
    assert headers["stripe-version"] == stripe.api_version
    assert headers["Request-Id"].startswith("req_")
    assert len(headers) == len(list(headers)) == 3
    old = {"stripe_version": "2024-06-20"}
    assert shop.api.products.list({}, old).last_response.headers["Stripe-Version"] == "2024-06-20"
    assert refused(lambda: shop.api.products.list({}, {"stripe_version": "yesterday"}))["status"] == 400


def test_old_versions_have_old_shapes(shop: Shop) -> None:
    """A request pinned to before basil sees periods on the subscription and `invoice.subscription`."""
    made = shop.subscribed()
    old: Any = {"stripe_version": "2024-06-20"}
    subscription = shop.api.subscriptions.retrieve(made, {"expand": ["latest_invoice"]}, old).to_dict()
    new = shop.api.subscriptions.retrieve(made).to_dict()
    assert subscription["current_period_end"] == new["items"]["data"][0]["current_period_end"]
    assert "current_period_end" not in subscription["items"]["data"][0]
    assert subscription["latest_invoice"]["subscription"] == made
    assert "parent" not in subscription["latest_invoice"]


def test_an_unknown_address_is_a_404(shop: Shop) -> None:
    """Stripe's own 404, and for Search, which nothing right may rely on, a plain word."""
    with pytest.raises(UnsimulatedError, match="lags behind"):
        shop.api.products.search({"query": "name:'Pro'"})
    client = shop.sim.client()
    assert (
        "Unrecognized request URL"
        in refused(lambda: client.deserialize(client.raw_request("get", "/v1/no/such/thing"), api_mode="V1"))["message"]
    )


def test_what_cannot_be_played_out_is_said_so(shop: Shop) -> None:
    """A parameter that would change what happens is never silently ignored."""
    with pytest.raises(UnsimulatedError, match="discounts"):
        shop.session(discounts=[{"coupon": "half"}])
    with pytest.raises(UnsimulatedError, match="collection_method"):
        shop.api.subscriptions.create({"customer": shop.customer(), "collection_method": "send_invoice"})


def test_requests_are_recorded(shop: Shop) -> None:
    """With typed parameters, status and key; reads are told from writes."""
    shop.sim.requests.clear()
    shop.api.products.update("kuploy_pro", {"active": False}, {"idempotency_key": "k1"})
    refused(lambda: shop.api.products.retrieve("nobody"))
    write, read_ = shop.sim.requests
    assert (write.method, write.path, write.params) == ("POST", "/v1/products/kuploy_pro", {"active": False})
    assert (write.idempotency_key, write.status, write.fault, write.replayed) == ("k1", 200, None, False)
    assert (read_.method, read_.status, read_.idempotency_key) == ("GET", 404, None)
    assert shop.sim.writes == [write]


def test_requests_can_be_interposed(shop: Shop) -> None:
    """A callback before each request can let another client go first, or crash."""
    seen: list[str] = []
    shop.sim.interpose(lambda inquiry: seen.append(f"{inquiry.method} {inquiry.path}"))
    shop.api.products.list()
    shop.sim.interpose(None)
    shop.api.products.list()
    assert seen == ["GET /v1/products"]


@pytest.mark.anyio
async def test_the_sdk_can_be_awaited(shop: Shop) -> None:
    """The `*_async` methods reach the same data."""
    client = shop.sim.client()
    assert (await client.v1.products.retrieve_async("kuploy_pro")).name == "Pro"
    http = shop.sim.http_client()
    await http.close_async()
    http.close()


def test_country_specs_say_what_can_be_charged(shop: Shop) -> None:
    """Zero-decimal African currencies are among them; no country is called Nowhere."""
    assert {"xof", "gnf"} <= set(shop.api.country_specs.retrieve("CA").supported_payment_currencies)
    assert refused(lambda: shop.api.country_specs.retrieve("Nowhere"))["status"] == 404
