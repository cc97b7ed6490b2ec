"""`kuploy-saas-kit hub …`: a hub of one's own, in a folder."""

from __future__ import annotations

import argparse

from kuploy_saas_kit.cli.options import Commands, add_command, add_group


def add_to(commands: Commands) -> None:
    """Add the group and its own groups."""
    group = add_group(commands, "hub", "the reference hub: serve it, and administer it")
    _add_serve(group)
    _add_keys(add_group(group, "keys", "the keys that the hub signs with"))
    _add_tenants(add_group(group, "tenant", "the hub's tenants"))
    _add_licenses(add_group(group, "license", "the licenses of tenants"))
    _add_instances(add_group(group, "instance", "the instances of a license"))
    _add_catalogs(add_group(group, "catalog", "the plans of a tenant"))
    _add_claims(add_group(group, "claim", "the codes that instances show"))


def _add(
    group: Commands, name: str, summary: str, *, example: str, runs: str, about: str = "Works on the hub's folder."
) -> argparse.ArgumentParser:
    example = f"kuploy-saas-kit hub {example}"
    command = add_command(group, name, summary, about=about, example=example, runs=f"hub.actions:{runs}")
    command.add_argument("--folder", metavar="DIR", help="the hub's folder (default: KUPLOY_HUB_FOLDER, else ./hub)")
    return command


def _add_serve(group: Commands) -> None:
    serve = _add(
        group,
        "serve",
        "serve the hub",
        about="Makes folder, tables and signing keys unless they are there, and serves until it is told to stop. "
        "Without a certificate it serves this machine only.",
        example="serve --port 8321",
        runs="serve",
    )
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8321, help="the port (default: 8321)")
    serve.add_argument("--issuer", metavar="URL", help="where instances reach the hub, if not there")
    serve.add_argument("--tls-certificate", metavar="FILE", help="the certificate chain, PEM")
    serve.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")


def _add_keys(group: Commands) -> None:
    _add(group, "show", "what instances are to trust", example="keys show", runs="show_keys")
    rotate = _add(group, "rotate", "sign with the next key from now on", example="keys rotate", runs="rotate_keys")
    rotate.add_argument("--compromised", action="store_true", help="the key is known to others: begin a new epoch")


def _add_tenants(group: Commands) -> None:
    add = _add(group, "add", "add a tenant and print its id", example="tenant add 'Acme Hosting'", runs="add_tenant")
    add.add_argument("name", metavar="NAME", help="what operators see before they confirm a claim")
    _add(group, "list", "the tenants", example="tenant list", runs="list_tenants")


def _add_licenses(group: Commands) -> None:
    issue = _add(
        group,
        "issue",
        "issue a license and print its key, this once",
        example="license issue tenant_1 --tier growth",
        runs="issue_license",
    )
    issue.add_argument("tenant", metavar="TENANT", help="the tenant's id")
    issue.add_argument("--product", default="kuploy-cloud", help="the product (default: kuploy-cloud)")
    issue.add_argument("--tier", default="growth", help="the tier (default: growth)")
    listed = _add(group, "list", "the licenses", example="license list", runs="list_licenses")
    listed.add_argument("--tenant", metavar="TENANT", help="only this tenant's")
    tier = _add_for_license(group, "tier", "upgrade or downgrade", example="license_1 business", runs="change_tier")
    tier.add_argument("tier", metavar="TIER", help="such as starter or business")
    suspend = _add_for_license(group, "suspend", "suspend", example="license_1 --reason unpaid", runs="suspend")
    suspend.add_argument("--reason", default="", help="shown on the instances")
    revoke = _add_for_license(group, "revoke", "revoke", example="license_1", runs="revoke")
    revoke.add_argument("--reason", default="", help="shown on the instances")
    _add_for_license(group, "reinstate", "end a suspension or revocation", example="license_1", runs="reinstate")
    until = _add_for_license(
        group, "pay-until", "end the license at an instant", example="license_1 2026-12-01T00:00:00Z", runs="pay_until"
    )
    until.add_argument("instant", metavar="INSTANT", nargs="?", help="with its zone; left out: paid")


def _add_for_license(group: Commands, name: str, summary: str, *, example: str, runs: str) -> argparse.ArgumentParser:
    command = _add(group, name, summary, example=f"license {name} {example}", runs=runs)
    return _license_argument(command)


def _license_argument(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("license", metavar="LICENSE", help="the license's id, from `hub license list`; never its key")
    return command


def _add_instances(group: Commands) -> None:
    listed = _add(group, "list", "who holds a seat", example="instance list license_1", runs="list_instances")
    _license_argument(listed)
    remove = _add(
        group, "remove", "free an instance's seat", example="instance remove license_1 inst_1", runs="remove_instance"
    )
    _license_argument(remove)
    remove.add_argument("instance", metavar="INSTANCE", help="the instance's id")


def _add_catalogs(group: Commands) -> None:
    put = _add(
        group,
        "set",
        "make the tenant's plans be those in a file",
        about='FILE is JSON, {"plans": [...]}, each plan as in the hub protocol. Works on the hub\'s folder.',
        example="catalog set tenant_1 plans.json",
        runs="set_plans",
    )
    put.add_argument("tenant", metavar="TENANT", help="the tenant's id")
    put.add_argument("file", metavar="FILE", help="the plans")
    put.add_argument("--product", default="kuploy-cloud", help="the product (default: kuploy-cloud)")


def _add_claims(group: Commands) -> None:
    _add(group, "list", "who waits to be approved", example="claim list", runs="list_claims")
    approve = _add(
        group,
        "approve",
        "give a license to the instance that shows a code",
        about="Asks for the license key, or reads it from standard input: "
        "arguments are seen by every user of a machine.",
        example="claim approve KPXY-4829",
        runs="approve_claim",
    )
    approve.add_argument("code", metavar="CODE", help="what the instance shows")
    deny = _add(group, "deny", "refuse a code", example="claim deny KPXY-4829", runs="deny_claim")
    deny.add_argument("code", metavar="CODE", help="what the instance shows")
