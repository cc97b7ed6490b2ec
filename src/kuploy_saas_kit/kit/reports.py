"""What a run and a save answer with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kuploy_saas_kit.license.exchange import SyncResult
from kuploy_saas_kit.plans.ceiling import CeilingViolation
from kuploy_saas_kit.plans.ports import PlansReplaced

if TYPE_CHECKING:
    from kuploy_saas_kit.stripe_provision import ProvisionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one run did. *plans* is None where they were the catalog already, *provision* where Stripe was not due.

    *problems* are what hindered it, in words; the next run tries again.
    """

    sync: SyncResult
    plans: PlansReplaced | None = None
    provision: ProvisionReport | None = None
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("use .problems")


@dataclass(frozen=True, slots=True)
class PlanSave:
    """A plan that was saved as *version*. *clamped* are its limits above the license: they count as the license's."""

    version: int
    clamped: tuple[CeilingViolation, ...] = ()
    provision: ProvisionReport | None = None
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("use .version")


@dataclass(slots=True)
class Carried:
    """What a run carried out."""

    plans: PlansReplaced | None = None
    provision: ProvisionReport | None = None
    problems: list[str] = field(default_factory=list)
