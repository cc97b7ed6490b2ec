"""What instances send, read strictly and within bounds (hub protocol, sections 1 and 5).

Unknown fields are ignored, so that a newer kit may say more. No message repeats what was sent.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from kuploy_saas_kit.hub.claims import ClaimAsked
from kuploy_saas_kit.hub.ledger import SyncAsked
from kuploy_saas_kit.hub.records import MeterTotal, Refusal, RefusalCode, secret_hash
from kuploy_saas_kit.hub.usage import UsageReported
from kuploy_saas_kit.model.limits import MAX_LIMIT

MAX_BODY: Final = 64 * 1024
"""The largest request body in bytes."""

BODY_TOO_LARGE: Final = Refusal(413, RefusalCode.INVALID_REQUEST, f"The body is over {MAX_BODY} bytes.")

_MAX_TOLD: Final = 5
_NO_CONTROLS: Final = r"\A[^\x00-\x1f\x7f-\x9f]*\z"


_Id = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\z")]
_Key = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z][A-Za-z0-9_.-]{0,63}\z")]
_Text = Annotated[str, StringConstraints(max_length=255, pattern=_NO_CONTROLS)]
_Url = Annotated[str, StringConstraints(max_length=2048, pattern=_NO_CONTROLS)]
_Count = Annotated[int, Field(ge=0, le=MAX_LIMIT)]


class _Body(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", hide_input_in_errors=True, alias_generator=to_camel
    )


class _Meter(_Body):
    key: _Key
    period: AwareDatetime
    total: _Count


class SyncBody(_Body):
    """The body of `POST /api/license/sync`."""

    schema_version: Literal[1] = Field(alias="schema")
    instance_id: _Id
    product_type: _Key
    kit_version: _Text = ""
    nonce: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{22}\z")]
    known_epoch: _Count = 0
    known_revision: _Count = 0
    report_seq: _Count = 0
    usage: Annotated[dict[_Key, _Count], Field(max_length=128)] = Field(default_factory=dict)
    meters: Annotated[list[_Meter], Field(max_length=256)] = Field(default_factory=list)

    def asked(self) -> SyncAsked:
        """The same as a value of the ledger."""
        meters = tuple(MeterTotal(meter.key, meter.period, meter.total) for meter in self.meters)
        return SyncAsked(
            instance_id=self.instance_id,
            product_type=self.product_type,
            nonce=self.nonce,
            known=(self.known_epoch, self.known_revision),
            kit_version=self.kit_version,
            report=UsageReported(report_seq=self.report_seq, usage=self.usage, meters=meters),
        )


class ClaimBody(_Body):
    """The body of `POST /api/license/claims`."""

    instance_id: _Id
    product_type: _Key
    code: Annotated[str, StringConstraints(pattern=r"\A[A-Z]{4}-[0-9]{4}\z")]
    secret_hash: Annotated[str, StringConstraints(pattern=r"\Asha256:[0-9a-f]{64}\z")] = Field(repr=False)
    hostname: _Text = ""
    public_url: _Url = ""

    def asked(self) -> ClaimAsked:
        """The same as a value of the ledger."""
        return ClaimAsked(
            instance_id=self.instance_id,
            product_type=self.product_type,
            code=self.code,
            secret_hash=self.secret_hash,
            hostname=self.hostname,
            public_url=self.public_url,
        )


class PollBody(_Body):
    """The body of `POST /api/license/claims/poll`. The secret has at least 128 bits."""

    instance_id: _Id
    secret: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9_-]{22,128}\z")] = Field(repr=False)

    @property
    def secret_hash(self) -> str:
        """What the instance registered of its secret."""
        return secret_hash(self.secret)


_BodyType = TypeVar("_BodyType", bound=_Body)


def read_body(kind: type[_BodyType], body: bytes) -> _BodyType | Refusal:
    """*body* as *kind*, or why it is none."""
    if len(body) > MAX_BODY:
        return BODY_TOO_LARGE
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        return Refusal(400, RefusalCode.INVALID_REQUEST, _told(error))


def _told(error: ValidationError) -> str:
    """Which fields are wrong and how, without what was sent: names of our own fields only, never of foreign keys."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    fields = sorted({f"{_own_name(problem['loc'])}: {problem['type']}" for problem in problems})
    return "The body is not as the hub protocol has it: " + "; ".join(fields[:_MAX_TOLD])


def _own_name(location: tuple[int | str, ...]) -> str:
    return str(location[0]) if location else "body"
