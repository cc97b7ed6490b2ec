"""Claiming a license: the rules, without I/O.

The instance makes a short code for people and a long secret for itself. The code is no credential: the hub hands the
license key only to whoever polls with the secret. Sources: hub protocol v1, section 5; RFC 8628, sections 3.5 and 5.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from kuploy_saas_kit.errors import ConfigurationError, PayloadRejectedError
from kuploy_saas_kit.license.config import checked_license_key
from kuploy_saas_kit.license.ports import ClaimRecord, HubResponse
from kuploy_saas_kit.license.reading import hash_of_key
from kuploy_saas_kit.license.requests import Refusal, refusal_in
from kuploy_saas_kit.license.strict_json import parse_strict

# No letter that can be taken for a digit or for another letter when it is read aloud or typed from paper.
_LETTERS: Final = "ABCDEFGHJKMNPQRSTVWXYZ"
_DIGITS: Final = "0123456789"
_HALF: Final = 4
_SECRET_BYTES: Final = 32
_LIFE: Final = timedelta(minutes=15)
_SLOWER: Final = timedelta(seconds=5)
_LONGEST_INTERVAL: Final = timedelta(seconds=60)
CODE_ATTEMPTS: Final = 5


class ClaimStatus(StrEnum):
    """How a claim stands."""

    NONE = "none"
    """No claim has begun."""
    PENDING = "pending"
    """The tenant has not entered the code yet."""
    APPROVED = "approved"
    """The tenant approved; confirm the tenant's name to take the license."""
    DENIED = "denied"
    """The tenant said no."""
    EXPIRED = "expired"
    """Nobody entered the code in time; begin again for a new one."""


@dataclass(frozen=True, slots=True)
class ClaimTicket:
    """What to show the operator: the code to enter at the hub, and until when (aware UTC)."""

    code: str
    expires_at: datetime
    interval: timedelta


@dataclass(frozen=True, slots=True)
class ClaimState:
    """How the claim stands. *problem* is the code of the last poll's failure; polling goes on.

    Poll again after *interval*; sooner gives the same answer without asking the hub.
    """

    status: ClaimStatus
    code: str | None = None
    tenant_name: str | None = None
    interval: timedelta = _SLOWER
    problem: str | None = None

    def __bool__(self) -> bool:
        raise TypeError("use .status")


_Line = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True, alias_generator=to_camel)


class _Begun(_Answer):
    success: Literal[True]
    expires_at: Annotated[int, Field(ge=0, le=253_402_300_799)] | _Line
    interval: Annotated[int, Field(ge=1, le=60)] = 5


class _Polled(_Answer):
    success: Literal[True]
    status: Literal["pending", "approved", "denied", "expired"]
    interval: Annotated[int, Field(ge=1, le=60)] | None = None
    license_key: Annotated[str, Field(max_length=256)] | None = Field(default=None, repr=False)
    tenant_name: _Line | None = None


def make_code() -> str:
    """A fresh code such as `KPXY-4829`."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_HALF))
    return f"{letters}-{''.join(secrets.choice(_DIGITS) for _ in range(_HALF))}"


def new_claim(now: datetime) -> ClaimRecord:
    """A claim with a fresh code and secret, not yet known to the hub."""
    return ClaimRecord(
        code=make_code(), secret=secrets.token_urlsafe(_SECRET_BYTES), expires_at=now + _LIFE, interval=_SLOWER
    )


def claim_body(
    claim: ClaimRecord, *, instance_id: str, product_type: str, hostname: str, public_url: str
) -> Mapping[str, object]:
    """What registers a claim: the code, and a hash where the secret must not be known."""
    return {
        "instanceId": instance_id,
        "productType": product_type,
        "code": claim.code,
        "secretHash": hash_of_key(claim.secret),
        "hostname": hostname,
        "publicUrl": public_url,
    }


def poll_body(claim: ClaimRecord, *, instance_id: str) -> Mapping[str, object]:
    """What asks how the claim stands. It holds the secret and goes over TLS only."""
    return {"instanceId": instance_id, "secret": claim.secret}


def read_begun(claim: ClaimRecord, response: HubResponse, now: datetime) -> ClaimRecord | Refusal:
    """The claim as the hub registered it, or why not."""
    if response.status not in {HTTPStatus.CREATED, HTTPStatus.OK}:
        return refusal_in(response, now) or Refusal("payload.schema")
    begun = _read(_Begun, response)
    if isinstance(begun, Refusal):
        return begun
    ends = _expiry(begun.expires_at, now)
    return replace(claim, expires_at=min(ends, now + _LIFE), interval=timedelta(seconds=begun.interval))


def read_poll(claim: ClaimRecord, response: HubResponse, now: datetime) -> Polled:
    """What a poll changed."""
    refusal = refusal_in(response, now)
    if refusal is not None:
        slower = refusal.hub_code == "slow_down" or refusal.code == "http.429"
        return failed_poll(claim, refusal, slower=slower)
    answer = _read(_Polled, response)
    if isinstance(answer, Refusal):
        return failed_poll(claim, answer)
    if answer.status == "approved":
        return _approved(claim, answer)
    status = ClaimStatus(answer.status)
    if status is not ClaimStatus.PENDING:
        return Polled(None, ClaimState(status))
    interval = claim.interval if answer.interval is None else timedelta(seconds=answer.interval)
    kept = replace(claim, interval=max(interval, claim.interval))
    return Polled(kept, state_of(kept))


@dataclass(frozen=True, slots=True)
class Polled:
    """The claim to keep (None: it is over, its secret is to be forgotten), and how it stands."""

    claim: ClaimRecord | None
    state: ClaimState


def state_of(claim: ClaimRecord | None, problem: str | None = None) -> ClaimState:
    """How a kept claim stands."""
    if claim is None:
        return ClaimState(ClaimStatus.NONE)
    status = ClaimStatus.PENDING if claim.license_key is None else ClaimStatus.APPROVED
    return ClaimState(status, claim.code, claim.tenant_name, claim.interval, problem)


def is_over(claim: ClaimRecord, now: datetime) -> bool:
    """Whether the claim's time has passed without an approval."""
    return claim.license_key is None and now >= claim.expires_at


def failed_poll(claim: ClaimRecord, refusal: Refusal, *, slower: bool = False) -> Polled:
    """The poll brought nothing: it goes on, slower where the hub asks for it."""
    interval = claim.interval + _SLOWER if slower else claim.interval
    kept = replace(claim, interval=min(interval, _LONGEST_INTERVAL))
    return Polled(kept, state_of(kept, refusal.hub_code or refusal.code))


def _approved(claim: ClaimRecord, answer: _Polled) -> Polled:
    try:
        license_key = checked_license_key(answer.license_key or "")
    except ConfigurationError:
        return failed_poll(claim, Refusal("payload.schema"))
    kept = replace(claim, license_key=license_key, tenant_name=answer.tenant_name or "")
    return Polled(kept, state_of(kept))


_A = TypeVar("_A", bound=_Answer)


def _read(model: type[_A], response: HubResponse) -> _A | Refusal:
    try:
        return model.model_validate(parse_strict(response.body))
    except PayloadRejectedError as error:
        return Refusal(error.code)
    except ValidationError:
        return Refusal("payload.schema")


def _expiry(value: int | str, now: datetime) -> datetime:
    """An instant in seconds or as text; what cannot be read is the protocol's 15 minutes."""
    if isinstance(value, int):
        return datetime.fromtimestamp(value, UTC)
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        return now + _LIFE
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
