"""The hub's side of a claim: an instance shows a code, a tenant types it in, the instance fetches the key. Pure.

Source: hub protocol, section 5. The code is 31 bits and no credential: the instance polls with a secret of its own,
and wrong codes are counted over all tenants, so that guessing any live code stays out of reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from kuploy_saas_kit.hub.records import Claim, ClaimStatus, Refusal, RefusalCode, WrongCode, WrongCodes

LIFETIME: Final = timedelta(minutes=15)
"""How long a code may be typed in, and then how long its answer may be fetched."""
INTERVAL: Final = timedelta(seconds=5)
"""How long an instance waits between polls, and by how much longer once it did not."""
WINDOW: Final = timedelta(minutes=15)
MAX_WRONG_CODES: Final = 45
"""Wrong codes within the window over all tenants; the next is not looked at."""
MAX_WRONG_CODES_PER_TENANT: Final = 5

_MAX_INTERVAL: Final = timedelta(seconds=60)
_MAX_LIVE_CLAIMS: Final = 1000
_MAX_LIVE_CLAIMS_PER_INSTANCE: Final = 5
_CODE: Final = re.compile(r"([A-Z]{4})-?([0-9]{4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimAsked:
    """What an instance registers."""

    instance_id: str
    product_type: str
    code: str
    secret_hash: str
    hostname: str = ""
    public_url: str = ""


@dataclass(frozen=True, slots=True)
class Polled:
    """The answer to a poll, and the claim as it is to be kept, if there is one."""

    status: ClaimStatus
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class PolledTooSoon:
    """A poll before its time; the claim's interval is longer now."""

    claim: Claim


PollAnswer: TypeAlias = Polled | PolledTooSoon


@dataclass(frozen=True, slots=True)
class CodeFound:
    """The pending claim that a typed code belongs to."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class CodeWrong:
    """No pending claim has this code; the wrong codes as they are to be kept."""

    wrong_codes: WrongCodes


@dataclass(frozen=True, slots=True)
class CodesLocked:
    """Too many wrong codes: none is looked at until *retry_after* has passed."""

    retry_after: timedelta


CodeLookup: TypeAlias = CodeFound | CodeWrong | CodesLocked


def normal_code(typed: str) -> str | None:
    """The code that somebody typed, in its one spelling `KPXY-4829`; None if it cannot be one."""
    match = _CODE.fullmatch("".join(typed[:64].split()).upper())
    return f"{match[1]}-{match[2]}" if match else None


def is_over(claim: Claim, now: datetime) -> bool:
    """Whether nobody can do anything with the claim any more."""
    return now >= claim.expires_at


def register_claim(live: Mapping[str, Claim], asked: ClaimAsked, now: datetime) -> Claim | Refusal:
    """A new claim beside the *live* ones (by secret hash), or the same again if only the answer was lost."""
    again = live.get(asked.secret_hash)
    if again is not None and (again.instance_id, again.code) == (asked.instance_id, asked.code):
        return again
    if any(asked.code == claim.code for claim in live.values()) or again is not None:
        return Refusal(409, RefusalCode.CODE_TAKEN, "Another instance shows this code. Make another one.")
    if _is_crowded(live.values(), asked.instance_id):
        return Refusal(429, RefusalCode.RATE_LIMITED, "Too many claims are open. Try again later.", LIFETIME)
    return Claim(
        secret_hash=asked.secret_hash,
        instance_id=asked.instance_id,
        product_type=asked.product_type,
        code=asked.code,
        hostname=asked.hostname,
        public_url=asked.public_url,
        registered_at=now,
        expires_at=now + LIFETIME,
        interval=INTERVAL,
    )


def _is_crowded(live: Iterable[Claim], instance_id: str) -> bool:
    claims = list(live)
    own = sum(claim.instance_id == instance_id for claim in claims)
    return len(claims) >= _MAX_LIVE_CLAIMS or own >= _MAX_LIVE_CLAIMS_PER_INSTANCE


def poll_claim(claim: Claim | None, instance_id: str, now: datetime) -> PollAnswer:
    """How the claim stands, for the instance that knows its secret. A decided claim answers as often as it is asked.

    A claim that is gone, and one of another instance, have expired: nothing more is told to who guesses.
    """
    if claim is None or claim.instance_id != instance_id or is_over(claim, now):
        return Polled(ClaimStatus.EXPIRED, None)
    if claim.status is not ClaimStatus.PENDING:
        return Polled(claim.status, claim)
    if claim.polled_at is not None and now < claim.polled_at + claim.interval:
        interval = min(claim.interval + INTERVAL, _MAX_INTERVAL)
        return PolledTooSoon(replace(claim, polled_at=now, interval=interval))
    return Polled(claim.status, replace(claim, polled_at=now))


def find_code(live: Iterable[Claim], typed: str, tenant_id: str, wrong: WrongCodes, now: datetime) -> CodeLookup:
    """The pending claim of the code that the tenant typed, within the limits on guessing."""
    recent = tuple(entry for entry in wrong.entries if now < entry.at + WINDOW)
    locked = _locked_until(recent, tenant_id)
    if locked is not None:
        return CodesLocked(locked - now)
    code = normal_code(typed)
    for claim in live:
        if claim.code == code and claim.status is ClaimStatus.PENDING and not is_over(claim, now):
            return CodeFound(claim)
    return CodeWrong(replace(wrong, entries=(*recent, WrongCode(tenant_id, now))))


def _locked_until(recent: tuple[WrongCode, ...], tenant_id: str) -> datetime | None:
    """When the oldest of too many wrong codes leaves the window; None if there are not too many."""
    own = tuple(entry for entry in recent if entry.tenant_id == tenant_id)
    ends = []
    if len(recent) >= MAX_WRONG_CODES:
        ends.append(recent[-MAX_WRONG_CODES].at + WINDOW)
    if len(own) >= MAX_WRONG_CODES_PER_TENANT:
        ends.append(own[-MAX_WRONG_CODES_PER_TENANT].at + WINDOW)
    return max(ends, default=None)


def approve_claim(claim: Claim, license_key: str, tenant_name: str, now: datetime) -> Claim:
    """The claim with the license key for its instance, to be fetched within the lifetime from now."""
    return replace(
        claim,
        status=ClaimStatus.APPROVED,
        license_key=license_key,
        tenant_name=tenant_name,
        expires_at=now + LIFETIME,
    )


def deny_claim(claim: Claim, now: datetime) -> Claim:
    """The claim refused; its instance is told until the lifetime from now is over."""
    return replace(claim, status=ClaimStatus.DENIED, expires_at=now + LIFETIME)
