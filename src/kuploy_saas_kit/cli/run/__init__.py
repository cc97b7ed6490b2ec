"""`kuploy-saas-kit run`: one run of the kit, for schedulers and for instances whose host is not up."""

from __future__ import annotations

from kuploy_saas_kit.cli.options import Commands, add_command, add_json, add_stores


def add_to(commands: Commands) -> None:
    """Add the command."""
    command = add_command(
        commands,
        "run",
        "sync, then carry plans to the store and to Stripe as far as they differ",
        about="What a host does in the background, once: one exchange with the hub, the plan catalog into the store, "
        "the plans to Stripe if there are keys. Exits with 1 if something hindered it; the next run goes on. Reads the "
        "store, LICENSE_* and STRIPE_*.",
        example="kuploy-saas-kit run --store sqlite:///kit.db",
        runs="run.once:run",
    )
    command.add_argument("--namespace", metavar="NAME", help="the host's own Stripe namespace, if it sets one")
    add_json(command)
    add_stores(command)
