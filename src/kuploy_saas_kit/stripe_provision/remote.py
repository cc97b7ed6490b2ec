"""Stripe's answers as plain values: what the kit does not read is ignored, what it reads is bounded."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kuploy_saas_kit._clock import from_timestamp
from kuploy_saas_kit.errors import StripeRejectedError
from kuploy_saas_kit.stripe_provision.ports import (
    RemoteEvent,
    RemoteItem,
    RemotePrice,
    RemoteProduct,
    RemoteSession,
    RemoteSubscription,
)

_MAX_TIMESTAMP = 253_402_300_799


def _id_of(value: Any) -> Any:
    """The id of a reference, expanded or not."""
    return value.get("id") if isinstance(value, dict) else value


Id = Annotated[str, Field(min_length=1, max_length=255)]
Reference = Annotated[Id, BeforeValidator(_id_of)]
Timestamp = Annotated[int, Field(ge=0, le=_MAX_TIMESTAMP)]
Metadata = Annotated[dict[str, str], Field(max_length=100)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)


_AnswerT = TypeVar("_AnswerT", bound=_Answer)


class _Recurring(_Answer):
    interval: str
    interval_count: int = 1
    usage_type: str = "licensed"


class _Price(_Answer):
    id: Id
    product: Reference
    active: bool
    livemode: bool
    currency: str
    lookup_key: str | None = None
    unit_amount: int | None = None
    billing_scheme: str = "per_unit"
    transform_quantity: dict[str, Any] | None = None
    recurring: _Recurring | None = None
    metadata: Metadata = Field(default_factory=dict)


class _Product(_Answer):
    id: Id
    name: str
    active: bool
    livemode: bool
    description: str | None = None
    default_price: Annotated[Id | None, BeforeValidator(_id_of)] = None
    metadata: Metadata = Field(default_factory=dict)


class _ItemPrice(_Answer):
    id: Id
    metadata: Metadata = Field(default_factory=dict)


class _Item(_Answer):
    price: _ItemPrice
    quantity: int | None = None
    current_period_start: Timestamp | None = None
    current_period_end: Timestamp | None = None


class _Items(_Answer):
    data: list[_Item] = Field(max_length=100)


class _Subscription(_Answer):
    id: Id
    customer: Reference
    status: str = Field(min_length=1, max_length=100)
    created: Timestamp
    livemode: bool
    items: _Items
    cancel_at: Timestamp | None = None
    cancel_at_period_end: bool = False
    metadata: Metadata = Field(default_factory=dict)


class _Session(_Answer):
    id: Id
    url: str = Field(max_length=20_000)


class _Thing(_Answer):
    object: str


class _EventContent(_Answer):
    object: dict[str, Any]


class _Event(_Answer):
    id: Id
    type: Annotated[str, Field(max_length=255)]
    created: Timestamp
    livemode: bool
    data: _EventContent
    account: str | None = None


def read_price(answer: Any) -> RemotePrice:
    """A Price. Tiers, metering and transformed quantities have no plain amount: None."""
    price = _read(_Price, answer)
    plain = price.billing_scheme == "per_unit" and price.transform_quantity is None
    recurring = price.recurring
    return RemotePrice(
        id=price.id,
        product=price.product,
        active=price.active,
        lookup_key=price.lookup_key,
        amount=price.unit_amount if plain else None,
        currency=price.currency.lower(),
        interval=recurring.interval if recurring is not None else None,
        interval_count=recurring.interval_count if recurring is not None else 1,
        usage_type=recurring.usage_type if recurring is not None else "licensed",
        metadata=price.metadata,
        livemode=price.livemode,
    )


def read_product(answer: Any) -> RemoteProduct:
    """A Product."""
    product = _read(_Product, answer)
    return RemoteProduct(
        id=product.id,
        name=product.name,
        description=product.description or "",
        active=product.active,
        default_price=product.default_price,
        metadata=product.metadata,
        livemode=product.livemode,
    )


def read_subscription(answer: Any, *, unpaid_since: datetime | None = None) -> RemoteSubscription:
    """A Subscription; *unpaid_since* comes from its invoices."""
    subscription = _read(_Subscription, answer)
    return RemoteSubscription(
        id=subscription.id,
        customer_id=subscription.customer,
        status=subscription.status,
        created=from_timestamp(subscription.created),
        items=tuple(_item(item) for item in subscription.items.data),
        metadata=subscription.metadata,
        livemode=subscription.livemode,
        cancel_at=_instant(subscription.cancel_at),
        cancel_at_period_end=subscription.cancel_at_period_end,
        unpaid_since=unpaid_since,
    )


def read_session(answer: Any) -> RemoteSession:
    """A Checkout or portal session."""
    session = _read(_Session, answer)
    return RemoteSession(id=session.id, url=session.url)


def read_event(answer: Any) -> RemoteEvent:
    """An Event of the API's list."""
    return _remote_event(_read(_Event, answer))


def parse_event(payload: bytes) -> RemoteEvent | None:
    """An Event from the bytes of a delivery; None for Stripe's thin events, `ValueError` for anything else."""
    try:
        return _remote_event(_Event.model_validate_json(payload))
    except ValidationError:
        if _Thing.model_validate_json(payload).object == "event":
            raise
        return None


def _remote_event(event: _Event) -> RemoteEvent:
    return RemoteEvent(
        id=event.id,
        type=event.type,
        created=from_timestamp(event.created),
        livemode=event.livemode,
        account=event.account,
        object=event.data.object,
    )


def _item(item: _Item) -> RemoteItem:
    return RemoteItem(
        price_id=item.price.id,
        price_metadata=item.price.metadata,
        quantity=1 if item.quantity is None else item.quantity,
        period_start=_instant(item.current_period_start),
        period_end=_instant(item.current_period_end),
    )


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else from_timestamp(seconds)


def _read(model: type[_AnswerT], answer: Any) -> _AnswerT:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False))
        name = model.__name__.strip("_").lower()
        raise StripeRejectedError(f"Stripe answered a {name} that the kit cannot read ({fields})") from error
