"""Mutate deliveries and look for one that is taken though nobody signed it, or for one that raises.

`python -m tests.stripe_provision.fuzz_webhooks 1000000` runs a million of them; the tests run a few thousand.
"""

import logging
import random
import sys
from collections import Counter
from datetime import timedelta
from typing import TypeAlias

from tests.stripe_provision.book import NOW, OLD_SECRET, SECRET, Book, Office, event, remote, signature

from kuploy_saas_kit.stripe_provision.signature import TOLERANCE
from kuploy_saas_kit.stripe_provision.webhooks import WebhookResult

GOOD = (
    event(),
    event("evt_2", "invoice.paid", {"object": "invoice", "subscription": "sub_1"}),
    event("evt_3", "checkout.session.completed", {"object": "checkout.session", "mode": "subscription"}),
)
PIECES = (b"t=", b"v1=", b"v0=", b",", b"=", b"-", b"0", b"9" * 13, b"\x00", b"\xff", b"\n", b" ", b"a" * 5000)
ODD = (b"null", b"-1", b"1e999", b"9" * 400, b'""', b"[]", b"{}", b"true", b'"\\ud800"', b"NaN", b"[" * 3000)

Delivery: TypeAlias = tuple[bytes, str | None, bool]
"""A body, its header, and whether that body was signed in time with one of the endpoint's secrets."""


class Fuzzer:
    """Deals deliveries, and knows which of their bodies were signed in time."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
        book = Book()
        book.set(remote())
        self._office = Office(book)

    def step(self) -> WebhookResult:
        """Deliver once; an AssertionError for anything but a documented answer to what was really signed."""
        body, header, may_be_taken = self._deal()
        outcome = self._office.webhooks.handle(body, header)
        if outcome.status not in {200, 400}:
            raise AssertionError(f"{outcome} for {header!r}, {body!r}")
        if outcome.result is not WebhookResult.REJECTED and not may_be_taken:
            raise AssertionError(f"taken: {header!r}, {body!r}")
        return outcome.result

    def _deal(self) -> Delivery:
        deals = (self._other_body, self._other_header, self._swapped, self._badly_signed, self._odd_content)
        return self._dice.choice(deals)(self._dice.choice(GOOD))

    def _other_body(self, good: bytes) -> Delivery:
        body = self._mutated(good)
        header = signature(good)
        if self._dice.randrange(2):
            header = self._mutated(header.encode()).decode("latin-1")
        return body, header, body == good

    def _other_header(self, good: bytes) -> Delivery:
        header = self._mutated(signature(good).encode()).decode("latin-1")
        return good, self._dice.choice([header, header, None]), True

    def _swapped(self, good: bytes) -> Delivery:
        other = self._dice.choice(GOOD)
        return good, signature(other), good == other

    def _badly_signed(self, good: bytes) -> Delivery:
        late = TOLERANCE + timedelta(seconds=self._dice.randrange(1, 10**6))
        headers = (
            signature(good, secret="whsec_other"),
            signature(good, scheme="v0"),
            signature(good, at=NOW + late),
            signature(good, at=NOW - late),
        )
        return good, self._dice.choice(headers), False

    def _odd_content(self, good: bytes) -> Delivery:
        body = self._mutated(self._odd(good))
        return body, signature(body, secret=self._dice.choice([SECRET, OLD_SECRET])), True

    def _odd(self, body: bytes) -> bytes:
        """*body* with one value of its JSON replaced by an odd one."""
        places = [place for place, byte in enumerate(body) if byte == ord(":")]
        place = self._dice.choice(places) + 1
        end = min(found for found in (body.find(mark, place) for mark in b",}") if found >= 0)
        return body[:place] + self._dice.choice(ODD) + body[end:]

    def _mutated(self, raw: bytes) -> bytes:
        """*raw* after up to three random changes."""
        changed = bytearray(raw)
        for _ in range(self._dice.randrange(4)):
            place = self._dice.randrange(len(changed) + 1)
            changed[place : place + self._dice.randrange(4)] = self._dice.choice(PIECES) * self._dice.randrange(2)
        return bytes(changed)


def fuzz(times: int, seed: int) -> Counter[WebhookResult]:
    """How often each result came."""
    fuzzer = Fuzzer(seed)
    logging.disable(logging.WARNING)
    try:
        return Counter(fuzzer.step() for _ in range(times))
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    for result, count in fuzz(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 0).most_common():
        sys.stdout.write(f"{count:>9} {result}\n")
