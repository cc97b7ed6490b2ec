"""What an idempotency key remembers: the outcome of the first request whose endpoint had begun, success or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kuploy_saas_kit.testing.stripe.refusals import RefusalError
from kuploy_saas_kit.testing.stripe.space import World
from kuploy_saas_kit.testing.stripe.wire import Answer, Inquiry

_MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class _Saved:
    path: str
    params: dict[str, Any]
    answer: Answer
    at: int


@dataclass(slots=True)
class KeyMemory:
    """The idempotency keys of one account in one mode."""

    world: World
    saved: dict[str, _Saved] = field(default_factory=dict)

    def recall(self, inquiry: Inquiry, now: int) -> Answer | None:
        """The answer to replay, None for no or a fresh key, or the refusal of a key that stood for something else."""
        key = inquiry.idempotency_key
        if key is None:
            return None
        if len(key) > _MAX_LENGTH:
            raise _misused(f"Idempotency keys must be at most {_MAX_LENGTH} characters long.")
        saved = self.saved.get(key)
        if saved is None or now - saved.at >= self.world.settings.keeps_keys.total_seconds():
            return None
        hint = f"Try using a key other than '{key}' if you meant to execute a different request."
        if saved.path != inquiry.path:
            first = (
                "Keys for idempotent requests can only be used for the same endpoint they were first used for "
                f"('{saved.path}')."
            )
            raise _misused(f"{first} {hint}")
        if saved.params != inquiry.params:
            first = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            raise _misused(f"{first} {hint}")
        return saved.answer

    def save(self, inquiry: Inquiry, now: int, answer: Answer) -> None:
        """Remember the outcome of a request whose endpoint had begun."""
        if inquiry.idempotency_key is not None:
            self.saved[inquiry.idempotency_key] = _Saved(inquiry.path, inquiry.params, answer, now)


def _misused(message: str) -> RefusalError:
    return RefusalError(400, message, type="idempotency_error")
