"""`kuploy-saas-kit store …`: the database."""

from __future__ import annotations

from kuploy_saas_kit.cli.options import Commands, add_command, add_group, add_json, add_stores


def add_to(commands: Commands) -> None:
    """Add the group."""
    group = add_group(commands, "store", "the database that the kit keeps its rows in")
    migrate = add_command(
        group,
        "migrate",
        "make the tables that are missing",
        about="May run at each deploy, and twice at once. Touches no table that is not the kit's. "
        "The one command that makes an SQLite file. Reads KUPLOY_STORE.",
        example="KUPLOY_STORE=postgresql://user@host/name kuploy-saas-kit store migrate",
        runs="store.tables:migrate",
    )
    add_stores(migrate)
    check = add_command(
        group,
        "check",
        "see whether the stores do what they should",
        about="Looks whether the tables are those of this version, reads plans, license and change feed, takes nothing "
        "of a counter of its own, and a lease that it gives back. "
        "Exits with 1 if a check fails. Reads KUPLOY_STORE, KUPLOY_LICENSE_STORE and KUPLOY_USAGE_STORE.",
        example="kuploy-saas-kit store check --store sqlite:///kit.db",
        runs="store.tables:check",
    )
    add_json(check)
    add_stores(check)
