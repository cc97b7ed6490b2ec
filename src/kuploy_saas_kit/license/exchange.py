"""One exchange with the hub: what is asked, and what the answer changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from kuploy_saas_kit.errors import PayloadRejectedError
from kuploy_saas_kit.license.ports import HubResponse, LicenseRecord, UsageReport
from kuploy_saas_kit.license.reading import Believed, Binding, LicenseReader
from kuploy_saas_kit.license.requests import Known, Refusal, make_nonce, refusal_in, refused_body, sync_body
from kuploy_saas_kit.license.state import (
    Held,
    LicenseState,
    Moment,
    Order,
    Rules,
    SentWith,
    Verdict,
    adopted,
    demoted_by_code,
    judge,
    loaded,
)
from kuploy_saas_kit.model.status import LicenseStatus


@dataclass(frozen=True, slots=True)
class SyncResult:
    """How a sync ended. Not ok: nothing changed, and it is tried again by itself.

    *code* is `ok` or says what went wrong (`transport.timeout`, `sig.invalid`, …), *status* is the license's after
    it, *hub_code* what the hub said with an error, *next_in* how long until the next attempt in the background.
    """

    ok: bool
    code: str
    status: LicenseStatus
    hub_code: str | None = None
    next_in: timedelta | None = None

    def __bool__(self) -> bool:
        raise TypeError("use .ok")


@dataclass(frozen=True, slots=True)
class Asked:
    """What has to be remembered of a request to judge its answer."""

    binding: Binding
    nonce: str
    sent: SentWith
    usage: Mapping[str, int]
    body: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Concluded:
    """What an exchange came to. *record* is to be stored, where there is one."""

    code: str
    state: LicenseState
    verdict: Verdict | None = None
    record: LicenseRecord | None = None
    hub_code: str | None = None
    retry_after: timedelta | None = None

    @property
    def is_good(self) -> bool:
        """Whether the exchange did what it should."""
        return self.verdict is not None and self.verdict.is_good


@dataclass(frozen=True, slots=True)
class ExchangeRules:
    """What stays the same over all exchanges of a client."""

    reader: LicenseReader
    rules: Rules
    kit_version: str

    def ask(
        self, state: LicenseState, binding: Binding, report: UsageReport, attempt: int, elapsed: timedelta
    ) -> Asked:
        """The next request."""
        epoch, revision = (max(part, 0) for part in state.mark)
        nonce = make_nonce()
        body = sync_body(
            instance_id=binding.instance_id,
            product_type=binding.product_type,
            kit_version=self.kit_version,
            nonce=nonce,
            known=Known(epoch=epoch, revision=revision, attempt=attempt),
            report=report,
        )
        return Asked(binding, nonce, SentWith(state.mark, elapsed), report.usage, body)

    def conclude(self, state: LicenseState, asked: Asked, answer: HubResponse | Refusal, moment: Moment) -> Concluded:
        """What *answer* changes. Any failure changes nothing but the note of how the last sync ended."""
        concluded = self._judged(state, asked, answer, moment)
        noted = replace(concluded.state, last_sync_code=concluded.code, last_sync_at=moment.now, usage=asked.usage)
        return replace(concluded, state=noted)

    def _judged(self, state: LicenseState, asked: Asked, answer: HubResponse | Refusal, moment: Moment) -> Concluded:
        refusal = answer if isinstance(answer, Refusal) else refusal_in(answer, moment.now)
        if refusal is not None or isinstance(answer, Refusal):
            return _refused(state, refusal or Refusal("http.unexpected"), moment)
        try:
            believed = self.reader.read_answer(answer.body, asked.binding, asked.nonce, moment.now)
        except PayloadRejectedError as error:
            return _refused(state, Refusal(error.code, refused_body(answer)), moment)
        judged = judge(state, believed, asked.sent, moment, self.rules)
        held = judged.state.held if judged.verdict is Verdict.ACCEPTED else None
        record = None if held is None else _record(judged.state, held, moment)
        return Concluded(judged.verdict.value, judged.state, judged.verdict, record)

    def adopt(self, state: LicenseState, record: LicenseRecord, binding: Binding, moment: Moment) -> LicenseState:
        """The state with what the store has; the same state where that is not newer than what is held.

        `PayloadRejectedError` for a record that is to be treated as absent.
        """
        believed, order = self._reread(record, binding, moment)
        if state.held is None:
            return loaded(state, believed, order, record.mark, self.rules)
        if order <= state.mark:
            return state
        return adopted(state, believed, order, record.mark, moment, self.rules)

    def _reread(self, record: LicenseRecord, binding: Binding, moment: Moment) -> tuple[Believed, Order]:
        if record.trust != self.reader.trust:
            raise PayloadRejectedError("the stored license is of another trust mode", code="cache.trust")
        if record.mark.tzinfo is None:
            raise PayloadRejectedError("the stored time mark has no time zone", code="cache.corrupt")
        believed = self.reader.read_record(record.body, binding, moment.now)
        epoch, revision = believed.payload.epoch, believed.payload.revision
        return believed, (record.epoch if epoch is None else epoch, record.revision if revision is None else revision)


def _refused(state: LicenseState, refusal: Refusal, moment: Moment) -> Concluded:
    demotes_to = refusal.demotes_to
    after = state if demotes_to is None else demoted_by_code(state, demotes_to, moment)
    return Concluded(refusal.code, after, hub_code=refusal.hub_code, retry_after=refusal.retry_after)


def _record(state: LicenseState, held: Held, moment: Moment) -> LicenseRecord:
    epoch, revision = held.order
    return LicenseRecord(
        body=held.body,
        trust=state.trust.value,
        epoch=epoch,
        revision=revision,
        received_at=moment.now,
        mark=state.time.at_moment(moment),
    )
