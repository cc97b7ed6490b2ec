"""`kuploy-saas-kit explain` and `overview`: what an org has, and why."""

from __future__ import annotations

from kuploy_saas_kit.cli.options import Commands, add_command, add_json, add_stores


def add_to(commands: Commands) -> None:
    """Add both commands."""
    explain = add_command(
        commands,
        "explain",
        "why an org has a feature or room under a limit, or not",
        about="Every layer that had a say, the one that refused, and who can lift it. Reads the store and LICENSE_*.",
        example="kuploy-saas-kit explain org_acme aiAssistant",
        runs="explain.answers:explain",
    )
    explain.add_argument("org", metavar="ORG", help="the org's id, as the host calls it")
    explain.add_argument("key", metavar="KEY", help="a feature or limit, such as aiAssistant or maxProjects")
    add_json(explain)
    add_stores(explain)
    overview = add_command(
        commands,
        "overview",
        "everything that an org has and uses",
        about="The plan and where it comes from, every feature, every limit with its use. "
        "Reads the store and LICENSE_*.",
        example="kuploy-saas-kit overview org_acme",
        runs="explain.answers:overview",
    )
    overview.add_argument("org", metavar="ORG", help="the org's id, as the host calls it")
    add_json(overview)
    add_stores(overview)
