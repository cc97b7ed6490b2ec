"""The license at one instant: what hosts, plans and status pages read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kuploy_saas_kit.license.reading import Trust
from kuploy_saas_kit.license.state import LicenseState, ServedFrom, limits_exceeded, reason_at, status_at
from kuploy_saas_kit.model.grant import LicenseGrant
from kuploy_saas_kit.model.limits import LimitValue, Unlimited
from kuploy_saas_kit.model.plan import PlanCatalog
from kuploy_saas_kit.model.product import UnknownKey
from kuploy_saas_kit.model.status import LicenseStatus, Operation, permits


@dataclass(frozen=True, slots=True, repr=False)
class LicenseSnapshot:
    """The license as it stands at *at*, in the license's own time (aware UTC). It never changes.

    `grant` is None where nothing is granted: UNLICENSED, PENDING and REVOKED.
    """

    state: LicenseState
    at: datetime

    @property
    def status(self) -> LicenseStatus:
        """The status; the table of the hub protocol, section 3."""
        return status_at(self.state, self.at)

    @property
    def status_reason(self) -> str:
        """`offline` or `paid` for EXPIRED, the last failure's code for PENDING, else the hub's own words."""
        return reason_at(self.state, self.at)

    def permits(self, operation: Operation) -> bool:
        """Whether the license permits *operation*. `Operation.RUN` always is."""
        return permits(self.status, operation)

    @property
    def grant(self) -> LicenseGrant | None:
        """What the license grants, or None where it grants nothing."""
        held = self.state.held
        if held is None or not self.state.has_key or self.status is LicenseStatus.REVOKED:
            return None
        return held.payload.grant

    @property
    def plan(self) -> str | None:
        """The license's plan at the hub, such as `growth`; also of a revoked license."""
        return None if self.state.held is None else self.state.held.payload.grant.tier

    @property
    def tier(self) -> str | None:
        """The same as `plan`, in the word that `LicenseGrant` uses."""
        return self.plan

    def instance_cap(self, limit: str) -> LimitValue:
        """How many of *limit* all orgs of this instance may hold together, in wire units.

        The smaller of limit and allowance; without an allowance the limit less what other instances use.
        """
        grant, held = self.grant, self.state.held
        if grant is None or held is None:
            return 0
        cap = grant.limits[limit]
        allowance = held.payload.allowances.get(limit)
        if allowance is not None:
            return min(cap, allowance)
        if isinstance(cap, Unlimited):
            return cap
        return max(0, cap - held.payload.usage_elsewhere.get(limit, 0))

    def meter_period(self, limit: str) -> tuple[datetime, datetime] | None:
        """The half-open period in which a meter adds up now, if the hub named one."""
        return None if self.state.held is None else self.state.held.payload.periods.get(limit)

    @property
    def catalog(self) -> PlanCatalog | None:
        """The plan catalog that the hub sent last and that could be read."""
        return self.state.catalog

    @property
    def catalog_revision(self) -> int | None:
        """Rises when the plans change at the hub."""
        return self.state.catalog_revision

    @property
    def catalog_error(self) -> str | None:
        """Why the newest catalog is not in force; the one before it still is."""
        return self.state.catalog_error

    @property
    def epoch(self) -> int | None:
        """The hub's count of fresh starts; orders answers before `revision` does."""
        return None if self.state.held is None else self.state.held.order[0]

    @property
    def revision(self) -> int | None:
        """The sequence number of the hub's answer that is held."""
        return None if self.state.held is None else self.state.held.order[1]

    @property
    def age(self) -> timedelta | None:
        """How long ago the hub issued what is held."""
        return None if self.state.held is None else self.at - self.state.held.payload.issued_at

    @property
    def issued_at(self) -> datetime | None:
        """When the hub issued what is held."""
        return None if self.state.held is None else self.state.held.payload.issued_at

    @property
    def fresh_until(self) -> datetime | None:
        """Until when the license is ACTIVE without hearing from the hub."""
        return None if self.state.held is None else self.state.held.payload.fresh_until

    @property
    def grace_until(self) -> datetime | None:
        """From when on nothing new can be created without hearing from the hub."""
        return None if self.state.held is None else self.state.held.grace_until

    @property
    def paid_until(self) -> datetime | None:
        """The end of the hub's own dunning, if it named one."""
        return None if self.state.held is None else self.state.held.payload.paid_until

    @property
    def tenant_id(self) -> str | None:
        """Whose license it is."""
        return None if self.state.held is None else self.state.held.payload.tenant_id

    @property
    def license_id(self) -> str | None:
        """The license's id (not its key)."""
        return None if self.state.held is None else self.state.held.payload.license_id

    @property
    def unknown_keys(self) -> tuple[UnknownKey, ...]:
        """Features and limits in license and catalog that the product's schema does not have."""
        if self.state.held is None:
            return ()
        payload = self.state.held.payload
        return payload.unknown_keys + payload.catalog.unknown_keys

    @property
    def trust(self) -> Trust:
        """What makes the license believable: a pinned key, or only TLS."""
        return self.state.trust

    @property
    def served_from(self) -> ServedFrom:
        """Whether this process got the license from the hub or from the store."""
        return self.state.served_from

    @property
    def clock_suspect(self) -> bool:
        """Whether the host's clock and the license's time are more than five minutes apart."""
        return self.state.clock_suspect

    @property
    def held_payload(self) -> bool:
        """Whether a payload that takes everything away waits for the hub to say it again."""
        return self.state.second_look is not None

    @property
    def over_limit(self) -> tuple[str, ...]:
        """The limits of which more is in use than the license grants. Nothing is deleted for it."""
        return limits_exceeded(self.state)

    @property
    def last_sync_code(self) -> str | None:
        """How the last sync ended: `ok`, or what went wrong, such as `transport.timeout`."""
        return self.state.last_sync_code

    @property
    def last_sync_at(self) -> datetime | None:
        """When the last sync ended, by the host's clock."""
        return self.state.last_sync_at

    def __repr__(self) -> str:
        return f"LicenseSnapshot({self.status.name}, plan={self.plan!r}, revision={self.revision}, at={self.at})"
