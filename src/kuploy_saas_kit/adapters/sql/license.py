"""The license, the instance's identity, and leases."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, delete, or_, select, update

from kuploy_saas_kit.adapters.sql.connection import SqlVerbs, upsert
from kuploy_saas_kit.adapters.sql.rows import claim_from_json, claim_json
from kuploy_saas_kit.license.ports import ClaimRecord, Lease, LicenseRecord, LicenseSaved

_ONLY: Final = 1
_RECORD: Final = tuple(field.name for field in fields(LicenseRecord))


class LicenseVerbs(SqlVerbs):
    """`LicenseStore` in SQL: one row, written only in place of an older one."""

    def load_license(self) -> LicenseRecord | None:
        with self._reading() as connection:
            row = connection.execute(select(self._tables.license)).one_or_none()
        if row is None:
            return None
        return LicenseRecord(bytes(row.body), row.trust, row.epoch, row.revision, row.received_at, row.mark)

    def save_license(self, record: LicenseRecord, *, instead_of: LicenseRecord | None = None) -> LicenseSaved:
        table = self._tables.license
        row = {column: getattr(record, column) for column in _RECORD}
        older = or_(
            table.c.epoch < record.epoch, and_(table.c.epoch == record.epoch, table.c.revision < record.revision)
        )
        # The time mark tells no two records apart: it moves while they stay what they are.
        same = [
            table.c[name] == getattr(instead_of, name) for name in _RECORD if name != "mark" and instead_of is not None
        ]
        where = or_(older, and_(*same)) if same else older
        with self._writing() as connection:
            first = upsert(connection, table).values(id=_ONLY, **row)
            saved = first.on_conflict_do_update(index_elements=["id"], set_=row, where=where).returning(table.c.id)
            return LicenseSaved(saved=connection.execute(saved).first() is not None)

    def save_mark(self, mark: datetime) -> None:
        table = self._tables.license
        with self._writing() as connection:
            connection.execute(update(table).where(table.c.mark < mark).values(mark=mark))


class IdentityVerbs(SqlVerbs):
    """`IdentityStore` in SQL: one row."""

    def ensure_instance_id(self, candidate: str) -> str:
        table = self._tables.identity
        with self._writing() as connection:
            first = upsert(connection, table).values(id=_ONLY, instance_id=candidate)
            connection.execute(first.on_conflict_do_nothing())
            connection.execute(update(table).where(table.c.instance_id.is_(None)).values(instance_id=candidate))
            instance_id: str = connection.execute(select(table.c.instance_id)).scalar_one()
            return instance_id

    def load_license_key(self) -> str | None:
        with self._reading() as connection:
            return connection.execute(select(self._tables.identity.c.license_key)).scalar_one_or_none()

    def save_license_key(self, license_key: str | None) -> None:
        self._keep(license_key=license_key)

    def load_claim(self) -> ClaimRecord | None:
        with self._reading() as connection:
            stored = connection.execute(select(self._tables.identity.c.claim)).scalar_one_or_none()
        return claim_from_json(stored) if stored is not None else None

    def save_claim(self, claim: ClaimRecord | None) -> None:
        self._keep(claim=claim_json(claim) if claim is not None else None)

    def _keep(self, **columns: Any) -> None:
        with self._writing() as connection:
            first = upsert(connection, self._tables.identity).values(id=_ONLY, **columns)
            connection.execute(first.on_conflict_do_update(index_elements=["id"], set_=columns))


class LeaseVerbs(SqlVerbs):
    """`LeaseStore` in SQL."""

    def take_lease(self, name: str, holder: str, ttl: timedelta) -> Lease:
        table = self._tables.lease
        with self._writing() as connection:
            now = self._now(connection)
            row = {"holder": holder, "until": now + ttl}
            free = or_(table.c.holder == holder, table.c.until <= now)
            taken = upsert(connection, table).values(name=name, **row)
            taken = taken.on_conflict_do_update(index_elements=["name"], set_=row, where=free).returning(table.c.until)
            if connection.execute(taken).first() is not None:
                return Lease(held=True, until=now + ttl)
            return Lease(held=False, until=self._ends(connection, name) or now)

    def _ends(self, connection: Connection, name: str) -> datetime | None:
        table = self._tables.lease
        until: datetime | None = connection.execute(select(table.c.until).where(table.c.name == name)).scalar()
        return until

    def drop_lease(self, name: str, holder: str) -> None:
        table = self._tables.lease
        with self._writing() as connection:
            connection.execute(delete(table).where(table.c.name == name, table.c.holder == holder))
