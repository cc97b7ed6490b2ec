"""The simulator: one Stripe account in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Literal, Protocol, runtime_checkable

import stripe

from kuploy_saas_kit._clock import Clock, SystemClock
from kuploy_saas_kit.testing.stripe import buyers, dashboard, lifecycle
from kuploy_saas_kit.testing.stripe.client import SimulatedHTTPClient
from kuploy_saas_kit.testing.stripe.delivery import Delivery, Order, Post, Receiver
from kuploy_saas_kit.testing.stripe.endpoints import new_endpoint
from kuploy_saas_kit.testing.stripe.engine import Engine
from kuploy_saas_kit.testing.stripe.faults import FaultKind, Match
from kuploy_saas_kit.testing.stripe.keys import Access, KeyRing
from kuploy_saas_kit.testing.stripe.quirks import Quirks, Settings
from kuploy_saas_kit.testing.stripe.render import render
from kuploy_saas_kit.testing.stripe.server import serve
from kuploy_saas_kit.testing.stripe.space import Row, Space, World
from kuploy_saas_kit.testing.stripe.wire import Inquiry, RecordedRequest

_HERE = "https://host.test/stripe/webhook"


@runtime_checkable
class _Advanceable(Protocol):
    def advance(self, step: timedelta) -> object: ...


class StripeSimulator:
    """A stateful double of one Stripe account: its API, its test and live data, its webhooks and what its buyers do.

    Several accounts are several simulators. Nothing happens by itself but what falls due as *clock* moves, and that is
    done when the simulator is next used. Safe to use from many threads.
    """

    def __init__(self, *, clock: Clock | None = None, account: str = "acct_sim", quirks: Quirks | None = None) -> None:
        self._world = World(account, clock or SystemClock(), quirks or Quirks())
        self._post = Post(self._world.clock)
        test, live = (Space(self._world, mode, render, self._post.announce) for mode in (False, True))
        test.twin, live.twin = live, test
        self._spaces = {False: test, True: live}
        self._ring = KeyRing(account)
        self._engine = Engine(self._world, self._spaces, self._ring, self._catch_up)

    # How to reach it

    def http_client(self) -> stripe.HTTPClient:
        """The other end of the SDK, in this process: `stripe.StripeClient(key, http_client=...)`."""
        return SimulatedHTTPClient(self._engine)

    def client(self, key: str = "sk_test_sim") -> stripe.StripeClient:
        """A client that talks to this simulator in this process; it turns the SDK's telemetry off."""
        # Telemetry writes a file below HOME and fails every request where there is no home directory.
        stripe.enable_telemetry = False
        return stripe.StripeClient(key, http_client=self.http_client())

    def serve(self) -> AbstractContextManager[str]:
        """The same over HTTP on loopback while the block runs: `with sim.serve() as url:`.

        For `stripe.StripeClient(key, base_addresses={"api": url})`.
        """
        return serve(self._engine)

    # What it was asked

    @property
    def account(self) -> str:
        """The id of the simulated account."""
        return self._world.account

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, whether or not it was answered; `clear()` it to count anew."""
        return self._engine.requests

    @property
    def writes(self) -> list[RecordedRequest]:
        """The requests that may change something."""
        return [request for request in self.requests if request.method != "GET"]

    # How it is set up

    @property
    def settings(self) -> Settings:
        """What the account's operator chose in the dashboard; assign another one to change it."""
        return self._world.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._world.settings = settings

    def restrict(self, key: str, permissions: Mapping[str, Access]) -> None:
        """Let *key* do only this, such as `{"products": "write"}`; the rest is a 403 that names what is missing."""
        self._ring.restrict(key, permissions)

    def revoke(self, key: str) -> None:
        """Let *key* be expired: 401 from now on."""
        self._ring.revoked.add(key)

    # What goes wrong

    def fault(self, kind: FaultKind, *, match: Match = None, times: int | None = 1) -> None:
        """Let the next *times* requests that match (None: all from now on) run into a fault.

        *match* is `"POST /v1/prices"`, a path with `*` in it, or a predicate over the `Inquiry`.
        """
        with self._engine.lock:
            self._engine.faults.add(kind, match, times)

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        with self._engine.lock:
            self._engine.faults.clear()

    def interpose(self, callback: Callable[[Inquiry], None] | None) -> None:
        """Call *callback* before each request, outside any lock: to crash there, or to let somebody else go first."""
        self._engine.interposed = callback

    # Webhooks

    def endpoint(
        self,
        target: Receiver | str,
        *,
        secret: str,
        events: Collection[str] = ("*",),
        api_version: str | None = None,
        livemode: bool = False,
    ) -> str:
        """Have events delivered to *target*, a function `(payload, signature) -> status` or a loopback URL.

        *api_version* gives events the shape of an older version. Events from before are not delivered. Returns an id.
        """
        with self._engine.lock:
            url = target if isinstance(target, str) else _HERE
            row = new_endpoint(self._spaces[livemode], url, tuple(events))
            row.update(
                _secrets=[secret], _receiver=None if isinstance(target, str) else target, api_version=api_version
            )
            return str(self._spaces[livemode].add(row)["id"])

    def roll_secret(self, endpoint_id: str, secret: str, *, keep_old: bool = True) -> None:
        """Give an endpoint a new signing secret; with *keep_old* deliveries are signed with both."""
        with self._engine.lock:
            row = self._find("webhook_endpoint", endpoint_id)[1]
            row["_secrets"] = [secret, *(row["_secrets"] if keep_old else [])]

    @property
    def events(self) -> list[Row]:
        """Every event of both modes, oldest first."""
        with self._engine.lock:
            self._catch_up()
            found = [event for space in self._spaces.values() for event in space.rows("event")]
            return sorted((dict(event) for event in found), key=lambda event: str(event["id"]))

    @property
    def pending(self) -> list[Row]:
        """The events that some endpoint has not taken yet, oldest first."""
        with self._engine.lock:
            self._catch_up()
            return self._post.pending()

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery so far."""
        return self._post.deliveries

    def deliver(self, *, order: Order = None, duplicates: int = 1, drop: Collection[str] = ()) -> list[Delivery]:
        """Deliver what is pending, each event *duplicates* times, but never what *drop* names by id or type.

        What is not answered with 2xx stays pending for the next call, as at Stripe; so do events that follow from it.
        An exception of a receiver in this process passes through, and its event stays pending.
        """
        with self._engine.lock:
            self._catch_up()
            attempts = self._post.select(order, duplicates, drop)
        made = []
        for entry in attempts:
            delivery = self._post.send(entry)
            with self._engine.lock:
                self._post.note(entry, delivery)
            made.append(delivery)
        return made

    def repeat(self, event_id: str) -> Row:
        """Make a second event object of the same change, as Stripe sometimes does."""
        with self._engine.lock:
            space, event = self._find("event", event_id)
            again = {**event, "id": self._world.new_id("evt"), "pending_webhooks": 0}
            space.add(again)
            self._post.announce(space, again)
            return dict(again)

    # What buyers do

    def pay(
        self, session_id: str, card: str | None = "4242424242424242", *, method: Literal["card", "async"] = "card"
    ) -> Row:
        """Pay an open checkout session as its buyer would; the session as it is then.

        Cards as Stripe's: …4242 is paid, …0002 is declined and the session stays open, …3220 waits for `authenticate`;
        None gives no card, where the session asks for none (a trial with `payment_method_collection` "if_required").
        *method* "async" completes the session at once and leaves its payment to `settle`.
        """
        with self._engine.lock:
            space, session = self._session(session_id)
            if method == "async":
                buyers.pay_later(space, session)
            else:
                buyers.pay(space, session, card)
            return space.rendered(session)

    def authenticate(self, session_id: str, *, ok: bool = True) -> Row:
        """Answer the 3-D Secure challenge of a session."""
        with self._engine.lock:
            space, session = self._session(session_id)
            buyers.authenticate(space, session, ok=ok)
            return space.rendered(session)

    def settle(self, session_id: str, *, ok: bool = True) -> Row:
        """Let the delayed payment of a completed session arrive, or fail."""
        with self._engine.lock:
            space, session = self._session(session_id)
            buyers.settle(space, session, ok=ok)
            return space.rendered(session)

    # What happens to subscriptions

    def fail_payment(self, subscription_id: str) -> Row:
        """Take the next payment now and let it fail; the card stays bad until `pay_invoice`."""
        return self._on_subscription(subscription_id, dashboard.fail_payment)

    def pay_invoice(self, subscription_id: str) -> Row:
        """Put in a good card and pay all open invoices."""
        return self._on_subscription(subscription_id, dashboard.pay_invoice)

    def cancel(self, subscription_id: str, *, at_period_end: bool = False) -> Row:
        """Cancel in the dashboard, now or when the period ends."""
        return self._on_subscription(
            subscription_id, lambda space, row: dashboard.cancel(space, row, at_period_end=at_period_end)
        )

    def portal_cancel(self, subscription_id: str) -> Row:
        """Cancel in the customer portal: sets `cancel_at` only."""
        return self._on_subscription(subscription_id, dashboard.portal_cancel)

    def portal_renew(self, subscription_id: str) -> Row:
        """Take the cancellation back in the customer portal."""
        return self._on_subscription(subscription_id, dashboard.portal_renew)

    def switch_plan(self, subscription_id: str, price_id: str) -> Row:
        """Choose another price in the customer portal."""
        return self._on_subscription(subscription_id, lambda space, row: dashboard.switch_plan(space, row, price_id))

    def pause(self, subscription_id: str, *, why: str = "pause_requested") -> Row:
        """Pause a subscription, for one of the reasons of `status_details.paused.subscription.type`."""
        return self._on_subscription(subscription_id, lambda space, row: dashboard.pause(space, row, why=why))

    def resume(self, subscription_id: str) -> Row:
        """Resume a paused subscription; a new period begins and is charged."""
        return self._on_subscription(subscription_id, dashboard.resume)

    def subscription(self, subscription_id: str) -> Row:
        """A subscription as it stands, without a request."""
        return self._on_subscription(subscription_id, lambda _space, _row: None)

    # Time

    def advance(self, step: timedelta = timedelta()) -> None:
        """Let *step* pass and do all that falls due: renewals, retries, trial ends, expiries.

        A clock that can be advanced is, and so moves for all who share it; otherwise only this simulator gets ahead
        of it, and what it signs still bears the clock's own time.
        """
        with self._engine.lock:
            clock = self._world.clock
            if isinstance(clock, _Advanceable):
                clock.advance(step)
            else:
                self._world.ahead += step
            self._catch_up()

    def _catch_up(self) -> None:
        for space in self._spaces.values():
            lifecycle.catch_up(space)

    def _find(self, kind: str, id_: str) -> tuple[Space, Row]:
        for space in self._spaces.values():
            if id_ in space.table(kind):
                return space, space.table(kind)[id_]
        raise LookupError(f"{self.account} has no {kind} {id_!r}")

    def _session(self, session_id: str) -> tuple[Space, Row]:
        self._catch_up()
        return self._find("checkout.session", session_id)

    def _on_subscription(self, subscription_id: str, do: Callable[[Space, Row], None]) -> Row:
        with self._engine.lock:
            self._catch_up()
            space, row = self._find("subscription", subscription_id)
            with space.on(row["test_clock"]):
                do(space, row)
            return space.rendered(row)
