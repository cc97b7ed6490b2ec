"""The gateway against an emulator of others: npm's `stripe-stateful-mock` 0.0.16 (MIT), for products and prices.

`python -m tests.stripe_provision.second_emulator` installs it into a temporary folder, starts it, and shows what holds.
It needs node and npm; no test and no CI runs it.

What the emulator cannot do, so that no whole run of provisioning is possible on it (looked up in its source):

* it has no `GET /v1/account`: a key has no space, and no customer can be made;
* it has no `POST /v1/products/{id}`: no rename, no default price, no archived product;
* `GET /v1/products?active=…` finds nothing: it compares a bool with the word;
* lookup keys are kept but neither unique nor a filter of `GET /v1/prices`, and nothing is expanded;
* it has no Checkout, portal, invoices, events or webhooks, and no live mode.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kuploy_saas_kit.errors import StripeRejectedError
from kuploy_saas_kit.model.money import Price
from kuploy_saas_kit.stripe_provision import StripeGateway, naming

PACKAGE = "stripe-stateful-mock@0.0.16"
NAME = "kuploy_pro"
FIELDS = {"name": "Pro", "description": "For teams", "metadata": naming.product_metadata("kuploy", "pro", 1)}


def price_fields(lookup_key: str) -> dict[str, object]:
    """What the kit sends for a price."""
    sold = Price(2000, "cad", "monthly")
    recurring = {"interval": naming.interval_of(sold)}
    return {
        "product": NAME,
        "lookup_key": lookup_key,
        "unit_amount": sold.amount,
        "currency": sold.currency,
        "recurring": recurring,
        "metadata": {"managed_by": naming.MARK},
    }


def a_product_is_made_once(gateway: StripeGateway) -> None:
    """It comes back as it went, and its id is taken."""
    made = gateway.create_product(NAME, FIELDS)
    assert (made.id, made.name, made.description, made.active) == (NAME, "Pro", "For teams", True)
    assert naming.is_ours(made.metadata, "kuploy")
    assert gateway.product(NAME) == made
    assert refusal(lambda: gateway.create_product(NAME, FIELDS)).code == "resource_already_exists"


def what_is_not_there_is_none(gateway: StripeGateway) -> None:
    """Unknown ids are no error."""
    assert gateway.product("nobody") is None
    assert gateway.subscription("sub_nobody") is None
    assert list(gateway.subscriptions(customer_id="cus_nobody")) == []


def a_price_is_made_archived_and_sold_again(gateway: StripeGateway) -> None:
    """Its terms come back as they went."""
    made = gateway.create_price(price_fields("kuploy:pro:1"))
    assert (made.product, made.amount, made.currency, made.interval) == (NAME, 2000, "cad", "month")
    assert (made.lookup_key, made.usage_type, made.interval_count) == ("kuploy:pro:1", "licensed", 1)
    assert not gateway.update_price(made.id, {"active": False}).active
    assert made.id in {price.id for price in gateway.archived_prices(["kuploy:pro:1"])}
    assert gateway.update_price(made.id, {"active": True}) == made
    assert made.id in {price.id for price in gateway.catalog("kuploy").prices}


def refusals_are_of_our_tree(gateway: StripeGateway) -> None:
    """What is wrong is named by code and parameter."""
    assert refusal(lambda: gateway.update_price("price_nobody", {"active": True})).code == "resource_missing"
    wrong = {**price_fields("x"), "currency": "xxx"}
    assert refusal(lambda: gateway.create_price(wrong)).param == "currency"


def listings_have_pages(gateway: StripeGateway) -> None:
    """More prices than one page has are all read."""
    made = {gateway.create_price(price_fields(f"kuploy:pro:{number}")).id for number in range(2, 130)}
    assert made <= {price.id for price in gateway.catalog("kuploy").prices}


CHECKS: tuple[Callable[[StripeGateway], None], ...] = (
    a_product_is_made_once,
    what_is_not_there_is_none,
    a_price_is_made_archived_and_sold_again,
    refusals_are_of_our_tree,
    listings_have_pages,
)


def refusal(call: Callable[[], object]) -> StripeRejectedError:
    """What *call* is refused with."""
    try:
        call()
    except StripeRejectedError as error:
        return error
    raise AssertionError("it was not refused")


@contextmanager
def emulator(folder: str) -> Iterator[str]:
    """The URL of an emulator that runs meanwhile."""
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", PACKAGE], cwd=folder, check=True)  # noqa: S603, S607
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    script = Path(folder, "node_modules/stripe-stateful-mock/dist/cli.js")
    environment = {**os.environ, "PORT": str(port)}
    server = subprocess.Popen(["node", script], env=environment, stdout=subprocess.PIPE, text=True)  # noqa: S603, S607
    try:
        assert server.stdout is not None
        assert "started" in server.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


def main() -> int:
    """Play all checks; the number of those that failed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        sys.stderr.write("this needs node and npm\n")
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as folder, emulator(folder) as url:
        gateway = StripeGateway.from_key("sk_test_emulator", base_url=url)
        for check in CHECKS:
            try:
                check(gateway)
            except Exception:  # noqa: BLE001 - shown, and the others go on
                failed += 1
                sys.stdout.write(f"FAILED {check.__name__}\n{traceback.format_exc()}\n")
            else:
                sys.stdout.write(f"held   {check.__name__}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
