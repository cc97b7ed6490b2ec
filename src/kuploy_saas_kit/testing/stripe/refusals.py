"""What Stripe says no with: one exception, and a constructor for each kind of refusal.

The wire knows only four values of `error.type`; refusals are told apart by HTTP status and `error.code`.
"""

from __future__ import annotations

from typing import Any, Literal

# Shorter keys are printed without any of their own characters.
_SHOWN_FROM = 12

ErrorType = Literal["api_error", "card_error", "idempotency_error", "invalid_request_error"]


class RefusalError(Exception):
    """An answer other than success; `executed` says whether the endpoint had begun, so that a key remembers it."""

    def __init__(  # noqa: PLR0913 - the fields of Stripe's error object
        self,
        status: int,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",  # noqa: A002 - Stripe's own word on the wire
        code: str | None = None,
        param: str | None = None,
        executed: bool = False,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        fields = {"message": message, "type": type, "code": code, "param": param, **(details or {})}
        if code is not None:
            fields["doc_url"] = "https://stripe.com/docs/error-codes/" + code.replace("_", "-")
        self.error = {name: value for name, value in fields.items() if value is not None}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body as it goes over the wire."""
        return {"error": self.error}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> RefusalError:
    """A 400 of an endpoint that looked at the request and will not do it."""
    return RefusalError(400, message, param=param, code=code, executed=True)


def unacceptable(message: str, *, param: str | None, code: str | None = None) -> RefusalError:
    """A 400 for a request that never reached its endpoint; no idempotency key remembers it."""
    return RefusalError(400, message, param=param, code=code)


def unknown_param(param: str) -> RefusalError:
    """A parameter that this endpoint does not have."""
    return unacceptable(f"Received unknown parameter: {param}", param=param, code="parameter_unknown")


def missing_param(param: str) -> RefusalError:
    """A required parameter that was not sent."""
    return unacceptable(f"Missing required param: {param}.", param=param, code="parameter_missing")


def no_such(thing: str, id_: str, *, param: str, status: int = 400, hint: str = "") -> RefusalError:
    """An id that names nothing: 404 for the id in the path, 400 for one in a parameter."""
    message = f"No such {thing}: '{id_}'{hint}"
    return RefusalError(status, message, param=param, code="resource_missing", executed=True)


def card_declined(message: str = "Your card was declined.", *, decline_code: str = "generic_decline") -> RefusalError:
    """The 402 of a charge that the issuer refused."""
    details = {"decline_code": decline_code}
    return RefusalError(402, message, type="card_error", code="card_declined", executed=True, details=details)


def unauthorized(message: str, *, code: str | None = None) -> RefusalError:
    """A 401: the key is none, or not one that may call the API."""
    return RefusalError(401, message, code=code)


def forbidden(key: str, account: str, permission: str) -> RefusalError:
    """The 403 of a restricted key, which names the permission that it lacks."""
    message = (
        f"The provided key '{masked(key)}' does not have the required permissions for this endpoint on "
        f"account '{account}'. Having the '{permission}' permission would allow this request to continue."
    )
    return RefusalError(403, message, code="more_permissions_required")


def masked(key: str) -> str:
    """A key as Stripe prints it back: its kind and its last four characters."""
    *kind, rest = key.split("_", 2)
    return "_".join([*kind, "*" * 10 + (rest[-4:] if len(rest) > _SHOWN_FROM else "")])
