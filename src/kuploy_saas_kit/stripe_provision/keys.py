"""Stripe's keys: told apart by their prefixes and refused early, with what to mend."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from kuploy_saas_kit.errors import ConfigurationError

_SECRET: Final = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]{1,240}")
_PUBLISHABLE: Final = re.compile(r"pk_(test|live)_[A-Za-z0-9_]{1,240}")
_WEBHOOK: Final = re.compile(r"whsec_[A-Za-z0-9+/=_-]{1,240}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeKeys:
    """The keys of one side of one account. `ConfigurationError` for keys that are mixed up; nothing shows them.

    *publishable* is for the host's own pages. Without *webhook_secrets* deliveries are answered 503.
    """

    secret: str = field(repr=False)
    publishable: str | None = None
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_secret(self.secret)
        if self.publishable is not None:
            _check_publishable(self.publishable, livemode=self.livemode)
        for secret in self.webhook_secrets:
            _check_webhook_secret(secret)

    @property
    def livemode(self) -> bool:
        """Whether the keys move real money."""
        return self.secret[3:].startswith("live_")

    @property
    def digest(self) -> str:
        """Tells keys apart without showing them."""
        return hashlib.sha256(self.secret.encode()).hexdigest()[:12]


def checked_webhook_secrets(secrets: Iterable[str]) -> tuple[str, ...]:
    """The signing secrets as they are; none, an empty or a mangled one is a `ConfigurationError`.

    An empty secret must never verify anything: whoever knows that it is empty could sign.
    """
    if isinstance(secrets, str):
        raise ConfigurationError("webhook secrets are a list: write secrets=[secret]")
    listed = tuple(secrets)
    if not listed:
        raise ConfigurationError("no webhook secret: copy the endpoint's signing secret (whsec_…) from Stripe")
    for secret in listed:
        _check_webhook_secret(secret)
    return listed


def _check_secret(secret: str) -> None:
    _check_no_whitespace(secret, "the Stripe secret key")
    if secret.startswith("pk_"):
        raise ConfigurationError("a publishable key (pk_…) stands where the secret key (sk_… or rk_…) belongs")
    if not _SECRET.fullmatch(secret):
        raise ConfigurationError("a Stripe secret key begins with sk_test_, sk_live_, rk_test_ or rk_live_")


def _check_publishable(key: str, *, livemode: bool) -> None:
    _check_no_whitespace(key, "the Stripe publishable key")
    if key.startswith(("sk_", "rk_")):
        raise ConfigurationError("a secret key stands where the publishable key (pk_…) belongs: roll it, pages show it")
    if not _PUBLISHABLE.fullmatch(key):
        raise ConfigurationError("a Stripe publishable key begins with pk_test_ or pk_live_")
    if key[3:].startswith("live_") != livemode:
        raise ConfigurationError(
            "the publishable and the secret key are of different modes: take both test or both live"
        )


def _check_webhook_secret(secret: str) -> None:
    _check_no_whitespace(secret, "the webhook secret")
    if not _WEBHOOK.fullmatch(secret):
        raise ConfigurationError("a webhook secret begins with whsec_ (Stripe shows it at the webhook endpoint)")


def _check_no_whitespace(text: str, what: str) -> None:
    if not text:
        raise ConfigurationError(f"{what} is empty")
    if text != text.strip() or any(char.isspace() for char in text):
        raise ConfigurationError(f"{what} has whitespace in or around it, such as a newline from a file: remove it")
