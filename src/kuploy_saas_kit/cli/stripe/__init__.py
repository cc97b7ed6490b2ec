"""`kuploy-saas-kit stripe …`: the plans at Stripe, and the subscriptions."""

from __future__ import annotations

import argparse

from kuploy_saas_kit.cli.options import Commands, add_command, add_group, add_json, add_stores, add_yes

_READS = "Reads the store, LICENSE_* and STRIPE_SECRET_KEY."


def add_to(commands: Commands) -> None:
    """Add the group."""
    group = add_group(commands, "stripe", "the plans at Stripe, and the subscriptions")
    diff = add_command(
        group,
        "diff",
        "what an apply would change at Stripe",
        about="Reads only, and says how many subscriptions stay on an old price. Exits with 1 "
        f"if a plan cannot be put on sale. {_READS}",
        example="kuploy-saas-kit stripe diff",
        runs="stripe.provision:diff",
    )
    _add_options(diff)
    apply = add_command(
        group,
        "apply",
        "make Stripe sell the plans",
        about="Shows the diff, asks, and does exactly that: if account or plans changed since, nothing is done. "
        f"The license must permit PROVISION. Exits with 1 if a plan failed. {_READS}",
        example="kuploy-saas-kit stripe apply --yes",
        runs="stripe.provision:apply",
    )
    add_yes(apply)
    _add_options(apply)
    resync = add_command(
        group,
        "resync",
        "compare every subscription with Stripe",
        about="Mends what lost webhooks left behind. Exits with 1 if a subscription still belongs to no org or plan. "
        f"{_READS}",
        example="kuploy-saas-kit stripe resync",
        runs="stripe.subscriptions:resync",
    )
    _add_options(resync)


def _add_options(command: argparse.ArgumentParser) -> None:
    add_json(command)
    command.add_argument(
        "--namespace",
        metavar="NAME",
        help="the host's KitConfig.namespace, if it sets one (default: KUPLOY_NAMESPACE, else made from the instance)",
    )
    add_stores(command)
