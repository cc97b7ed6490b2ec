"""The hub's rows as JSON, and back. What cannot be read back is a `StorageError`, never a guess."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from kuploy_saas_kit.errors import InvalidValueError, StorageError
from kuploy_saas_kit.hub.catalogs import plan_to_wire
from kuploy_saas_kit.hub.records import ROW_KINDS, Row, TenantCatalog
from kuploy_saas_kit.model.limits import Limits
from kuploy_saas_kit.model.money import BillingCycle, Price
from kuploy_saas_kit.model.plan import Plan

_R = TypeVar("_R", bound=Row)

_ADAPTERS: Final[dict[type[Row], TypeAdapter[Any]]] = {
    kind: TypeAdapter(kind) for kind in ROW_KINDS if kind is not TenantCatalog
}


class _StoredPlan(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    slug: str
    name: str
    price_cents: int = 0
    currency: str | None = None
    billing_cycle: BillingCycle = BillingCycle.MONTHLY
    limits: dict[str, int]
    features: dict[str, bool]
    is_default: bool
    is_active: bool
    description: str

    def plan(self) -> Plan:
        price = Price(self.price_cents, self.currency, self.billing_cycle) if self.currency else None
        return Plan(
            self.slug,
            self.name,
            price,
            self.features,
            Limits.from_wire(self.limits),
            is_default=self.is_default,
            is_active=self.is_active,
            description=self.description,
        )


class _StoredCatalog(BaseModel):
    tenant_id: str
    product_type: str
    revision: int
    plans: list[_StoredPlan] = Field(default_factory=list)

    def catalog(self) -> TenantCatalog:
        plans = tuple(stored.plan() for stored in self.plans)
        return TenantCatalog(
            tenant_id=self.tenant_id, product_type=self.product_type, revision=self.revision, plans=plans
        )


def dump_row(row: Row) -> str:
    """*row* as JSON."""
    if isinstance(row, TenantCatalog):
        return _stored_catalog(row).model_dump_json(by_alias=True)
    return _ADAPTERS[type(row)].dump_json(row).decode("utf-8")


def load_row(kind: type[_R], text: str) -> _R:
    """The row of *kind* that `dump_row` wrote.

    Raises:
        StorageError: the text is not such a row; the message does not repeat it.
    """
    try:
        if kind is TenantCatalog:
            return cast("_R", _StoredCatalog.model_validate_json(text).catalog())
        return cast("_R", _ADAPTERS[kind].validate_json(text))
    except (ValidationError, InvalidValueError):
        raise StorageError(f"a stored {kind.__name__} of the hub cannot be read: restore the file") from None


def _stored_catalog(catalog: TenantCatalog) -> _StoredCatalog:
    return _StoredCatalog(
        tenant_id=catalog.tenant_id,
        product_type=catalog.product_type,
        revision=catalog.revision,
        plans=[_StoredPlan.model_validate(plan_to_wire(plan)) for plan in catalog.plans],
    )
