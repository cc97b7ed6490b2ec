"""`kuploy-saas-kit plans …`: the plan catalog in the store."""

from __future__ import annotations

from kuploy_saas_kit.cli.options import Commands, add_command, add_group, add_json, add_stores


def add_to(commands: Commands) -> None:
    """Add the group."""
    group = add_group(commands, "plans", "the plans that this instance sells")
    listed = add_command(
        group,
        "list",
        "the plans in the store",
        about="Slug, name, price, whether it is the default or active, and version. Reads the store.",
        example="kuploy-saas-kit plans list --store sqlite:///kit.db",
        runs="plans.listing:run",
    )
    add_json(listed)
    add_stores(listed)
    seed = add_command(
        group,
        "seed",
        "store plans for the time before the first sync",
        about='FILE is JSON, {"plans": [...]}, each plan as in the hub protocol. They are stored only where there are '
        "no plans at all, so this may run at each boot; the license's first catalog takes their place, for ever. What "
        "they grant is up to the license, as always. Reads KUPLOY_STORE and LICENSE_PRODUCT_TYPE.",
        example="kuploy-saas-kit plans seed plans.json",
        runs="plans.seeding:run",
    )
    seed.add_argument("file", metavar="FILE", help="the plans")
    add_stores(seed)
    check = add_command(
        group,
        "check",
        "compare the plans with the license",
        about="Features above the license and keys that the product does not have are faults; exits with 1 for them. "
        "A limit above the license is normal and counts as the license's. Reads the store and LICENSE_*.",
        example="kuploy-saas-kit plans check",
        runs="plans.checking:run",
    )
    add_json(check)
    add_stores(check)
