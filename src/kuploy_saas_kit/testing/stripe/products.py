"""Products: ids of the caller's choice, a default price, and deletion only before the first price."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe import prices
from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.listing import matches
from kuploy_saas_kit.testing.stripe.product_rows import PLAIN, new_product
from kuploy_saas_kit.testing.stripe.refusals import invalid, unacceptable
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

_MAX_IDS = 100


def create(space: Space, call: Call) -> Row:
    """`POST /v1/products`."""
    inner = call.get("default_price_data")
    if inner is not None:
        prices.shape_of(Call((), inner))
    row = new_product(space, call)
    if inner is not None:
        price = prices.add(space, Call((), {**inner, "product": row["id"]}), announced=False)
        row["default_price"] = price["id"]
        space.emit("product.created", row)
        space.emit("price.created", price)
    else:
        space.emit("product.created", row)
    return row


def retrieve(space: Space, call: Call) -> Row:
    """`GET /v1/products/{id}`; a deleted product is as if it had never been."""
    return space.find("product", call.id, param="id", status=404)


def update(space: Space, call: Call) -> Row:
    """`POST /v1/products/{id}`."""
    row = retrieve(space, call)
    changes = call.given(*PLAIN, "default_price")
    changes |= {name: value or [] for name, value in call.given("images", "marketing_features").items()}
    if "metadata" in call.params:
        changes["metadata"] = metadata_of(row["metadata"], call.params["metadata"])
    if changes.get("default_price") is not None:
        _require_own_price(space, row, changes["default_price"])
    with space.changing(row, "product.updated"):
        if any(row[name] != value for name, value in changes.items()):
            row.update(changes, updated=space.now)
    return row


def _require_own_price(space: Space, row: Row, price_id: str) -> None:
    price = space.find("price", price_id, param="default_price")
    if price["product"] != row["id"]:
        raise invalid(f"The price `{price_id}` does not belong to the product `{row['id']}`.", param="default_price")
    if not price["active"]:
        raise invalid("The price specified is inactive. This field only accepts active prices.", param="default_price")


def delete(space: Space, call: Call) -> Row:
    """`DELETE /v1/products/{id}`."""
    row = retrieve(space, call)
    if any(price["product"] == row["id"] for price in space.rows("price")):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    row["active"] = False
    return space.drop(row, "product.deleted")


def list_(space: Space, call: Call) -> list[Row]:
    """`GET /v1/products`."""
    ids = call.get("ids")
    if ids is not None:
        for cursor in ("starting_after", "ending_before"):
            call.refuse_both("ids", cursor)
        if len(ids) > _MAX_IDS:
            raise unacceptable(f"You may only specify up to {_MAX_IDS} ids.", param="ids")
    found = space.rows("product") if ids is None else [row for row in space.rows("product") if row["id"] in set(ids)]
    return [row for row in found if matches(row, call.params, "active", "created", "shippable", "type", "url")]
