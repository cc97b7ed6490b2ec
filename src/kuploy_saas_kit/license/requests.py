"""The exchange with the hub without any I/O: values in, a request out; an answer in, what it means out.

Source: hub protocol v1, sections 1 and 5. No answer raises: what is no success is a `Refusal` that says why.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from pydantic import SecretStr

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license.ports import HubRequest, HubResponse, MeterReport, UsageReport
from kuploy_saas_kit.license.schedule import parse_retry_after
from kuploy_saas_kit.license.shapes import SCHEMA_VERSION
from kuploy_saas_kit.license.strict_json import parse_strict
from kuploy_saas_kit.license.wire import PayloadStatus

NONCE_BYTES: Final = 16
_MAX_CODE: Final = 64
_DEMOTING: Final = {"license_suspended": PayloadStatus.SUSPENDED, "license_revoked": PayloadStatus.REVOKED}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An exchange that brought nothing. *code* says what went wrong, *hub_code* what the hub said, if it did.

    *retry_after* is what the hub asked to wait, clamped to 1…900 s.
    """

    code: str
    hub_code: str | None = None
    retry_after: timedelta | None = None

    @property
    def demotes_to(self) -> PayloadStatus | None:
        """What the hub's code says of the license, if it speaks of it."""
        return _DEMOTING.get(self.hub_code or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the hub is told about what this instance knows."""

    epoch: int
    revision: int
    attempt: int

    @property
    def report_seq(self) -> int:
        """Orders this instance's usage reports, also after a restart and over replicas.

        The revision rises with every answer, so that reports made before one are below those made after; the
        attempts since then order those between. The parts saturate, so that the number fits in 64 bits.
        """
        return min(self.epoch, 2**18 - 1) << 44 | min(self.revision, 2**36 - 1) << 8 | min(self.attempt, 2**8 - 1)


def make_nonce() -> str:
    """128 random bits in base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(NONCE_BYTES)).rstrip(b"=").decode()


def hub_request(url: str, body: Mapping[str, object], *, license_key: SecretStr | None = None) -> HubRequest:
    """A POST of *body* as JSON. The key goes into the one header that HTTP libraries mask."""
    return HubRequest(url, _headers(license_key), json.dumps(body, separators=(",", ":")).encode())


def sync_body(
    *, instance_id: str, product_type: str, kit_version: str, nonce: str, known: Known, report: UsageReport
) -> Mapping[str, object]:
    """What a sync tells the hub: who asks, what is known already, and absolute totals of what is used."""
    return {
        "schema": SCHEMA_VERSION,
        "instanceId": instance_id,
        "productType": product_type,
        "kitVersion": kit_version,
        "nonce": nonce,
        "knownEpoch": known.epoch,
        "knownRevision": known.revision,
        "reportSeq": known.report_seq,
        "usage": dict(report.usage),
        "meters": [_meter(meter) for meter in report.meters],
    }


def refusal_in(response: HubResponse, now: datetime) -> Refusal | None:
    """Why *response* is no 200 answer with a body to read, or None where it is one."""
    status = response.status
    if status == HTTPStatus.OK:
        return None
    return Refusal(_status_code(status), _hub_code(response.body), _retry_after(response, now))


def refused_body(response: HubResponse) -> str | None:
    """The hub's code in a 200 answer that says `"success": false`."""
    return _hub_code(response.body)


def _status_code(status: int) -> str:
    if status == HTTPStatus.NOT_MODIFIED:
        return "http.304"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return "auth_rejected"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "http.429"
    families = {2: "http.unexpected_2xx", 3: "http.redirect", 4: "http.4xx", 5: "http.5xx"}
    return families.get(status // 100, "http.unexpected")


def _retry_after(response: HubResponse, now: datetime) -> timedelta | None:
    return parse_retry_after(response.headers.get("retry-after"), now)


def _hub_code(body: bytes) -> str | None:
    """The `code` of the hub's error answer; whatever else the body is, it is not repeated anywhere."""
    try:
        answer = parse_strict(body)
    except PayloadRejectedError:
        return None
    if not isinstance(answer, dict) or answer.get("success") is not False:
        return None
    code = answer.get("code")
    if not isinstance(code, str) or len(code) > _MAX_CODE or not code.replace("_", "").isalnum():
        return None
    return code


def _meter(meter: MeterReport) -> Mapping[str, object]:
    period = meter.period.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"key": meter.key, "period": period, "total": meter.total}


def _headers(license_key: SecretStr | None) -> Mapping[str, str]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
    if license_key is not None:
        headers["Authorization"] = f"Bearer {license_key.get_secret_value()}"
    return headers
