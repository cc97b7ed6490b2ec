"""`kuploy-saas-kit license …`: the license of this instance."""

from __future__ import annotations

from kuploy_saas_kit.cli.options import Commands, add_command, add_group, add_json, add_stores, add_yes

_READS = "LICENSE_HUB_URL, LICENSE_TRUSTED_KEYS and the other LICENSE_* variables"


def add_to(commands: Commands) -> None:
    """Add the group."""
    group = add_group(commands, "license", "the license of this instance")
    _add_status(group)
    _add_sync(group)
    _add_claim(group)
    _add_doctor(group)


def _add_status(group: Commands) -> None:
    status = add_command(
        group,
        "status",
        "how the license stands, from the store",
        about=f"Shows what a status page needs, and no secret. Reads the store and {_READS};\nnever the network.",
        example="kuploy-saas-kit license status --store sqlite:///kit.db",
        runs="license.status:run",
    )
    add_json(status)
    add_stores(status)


def _add_sync(group: Commands) -> None:
    sync = add_command(
        group,
        "sync",
        "ask the hub for the license now",
        about="One exchange: usage up, license down. Running processes see the new license within a second, and "
        f"carry its plans into the store. Reads the store and {_READS}.",
        example="kuploy-saas-kit license sync",
        runs="license.sync:run",
    )
    add_json(sync)
    add_stores(sync)


def _add_claim(group: Commands) -> None:
    claim = add_command(
        group,
        "claim",
        "link this instance to a tenant with a code",
        about="Shows a code, waits until the tenant enters it at the hub, "
        "asks whether the tenant is the right one, and stores the license key. "
        "Ctrl-C leaves a claim that the next call resumes. "
        f"Reads the store and {_READS}.",
        example="kuploy-saas-kit license claim",
        runs="license.claim:run",
    )
    add_yes(claim)
    add_stores(claim)


def _add_doctor(group: Commands) -> None:
    doctor = add_command(
        group,
        "doctor",
        "look for what is wrong, and how to mend it",
        about="Checks configuration, stores, stored license, hub, clocks, trusted keys and Stripe's keys. "
        "It syncs once, as a starting host does, and takes a lease that it gives back. "
        f"Exits with 1 if a check fails. Reads the stores, {_READS}, and STRIPE_*.",
        example="kuploy-saas-kit license doctor --bundle doctor.json",
        runs="license.doctor:run",
    )
    doctor.add_argument(
        "--bundle", metavar="FILE", help="write what was found to a new JSON file without secrets, for a support case"
    )
    add_json(doctor)
    add_stores(doctor)
