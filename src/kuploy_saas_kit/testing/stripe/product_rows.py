"""What a new product looks like, however it comes to be: by its own endpoint or inside a price."""

from __future__ import annotations

from kuploy_saas_kit.testing.stripe.call import Call
from kuploy_saas_kit.testing.stripe.refusals import invalid
from kuploy_saas_kit.testing.stripe.space import Row, Space, metadata_of

PLAIN = (
    "active",
    "description",
    "name",
    "package_dimensions",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
)
"""Fields that read back as they were sent."""


def new_product(space: Space, call: Call) -> Row:
    """Keep a new product with the parameters of *call*, telling nobody yet."""
    id_ = call.get("id") or space.world.new_id("prod")
    burnt = space.deleted.get("product", set())
    if id_ in space.table("product") or (id_ in burnt and not space.world.quirks.reuses_deleted_ids):
        raise invalid("Product already exists.", param="id", code="resource_already_exists")
    blank: Row = dict.fromkeys(PLAIN)
    row = {
        "id": id_,
        "object": "product",
        **blank,
        "active": True,
        "created": space.now,
        "default_price": None,
        "images": call.get("images") or [],
        "livemode": space.livemode,
        "marketing_features": call.get("marketing_features") or [],
        "metadata": metadata_of({}, call.get("metadata") or {}),
        "tax_details": None,
        "type": "service",
        "updated": space.now,
    }
    return space.add({**row, **call.given(*PLAIN)})
