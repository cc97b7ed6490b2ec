"""`plans list|check`, `explain` and `overview`."""

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime

from tests.cli.instance import Instance
from tests.kit.world import CATALOG

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.cli.findings import Level
from kuploy_saas_kit.cli.plans.checking import catalog_findings, plan_findings
from kuploy_saas_kit.plans import KUPLOY_CLOUD, Assignment, LicenseGrant, Plan, PlanCatalog, Price

GRANT = LicenseGrant("starter", {"customDomains"}, {"maxProjects": 5})


def test_the_plans_are_listed(instance: Instance) -> None:
    """Slug, name, price, state and version, for people and for machines."""
    instance.licensed()
    ran = instance.run("plans", "list")
    assert ran.status == 0
    assert ran.out.splitlines()[0].split() == ["SLUG", "NAME", "PRICE", "STATE", "VERSION"]
    assert "20.00 CAD monthly" in ran.out
    assert "default" in ran.out
    told = json.loads(instance.run("plans", "list", "--json").out)
    assert told["revision"] == 1
    pro = told["plans"][1]
    assert (pro["slug"], pro["amount"], pro["currency"], pro["limits"]) == ("pro", 2000, "cad", {"maxProjects": 5})


def test_no_plans_yet(instance: Instance) -> None:
    """An empty store is no error to list, and nothing to check or sell."""
    instance.run("store", "migrate")
    ran = instance.run("plans", "list")
    assert ran.status == 0
    assert "there are no plans yet" in ran.out
    assert json.loads(instance.run("plans", "list", "--json").out)["plans"] == []
    assert "there are no plans yet" in instance.run("plans", "check").one_line


SEED = {
    "plans": [
        {
            "slug": "starter",
            "name": "Starter",
            "limits": {"maxProjects": 2},
            "features": {"whitelabel": True},
            "isDefault": True,
            "isActive": True,
        }
    ]
}


def test_plans_for_the_first_boot(instance: Instance) -> None:
    """They are stored where there are none, whenever a container boots, until the license's take their place."""
    file = instance.database.with_name("plans.json")
    file.write_text(json.dumps(SEED))
    assert "there is no SQLite file" in instance.run("plans", "seed", str(file)).one_line
    instance.run("store", "migrate")
    assert (
        "stored to begin with: starter; where the hub owns the plans, the license's first catalog replaces them"
        in instance.run("plans", "seed", str(file)).out
    )
    assert "there are plans already" in instance.run("plans", "seed", str(file)).out
    assert "bootstrap to begin with; no catalog of a license" in instance.run("plans", "list").out
    told = json.loads(instance.run("plans", "list", "--json").out)
    assert (told["revision"], told["plans"][0]["features"]) == (None, ["whiteLabel"])
    assert "1 plans: bootstrap" in instance.run("store", "check").out
    with closing(SqlStore.from_url(instance.url)) as store:
        store.put_plan(Plan("starter", "Ours", is_default=True), expected_version=1)
    assert "no catalog of a license has been applied yet" in instance.run("plans", "list").out
    instance.licensed()
    assert "there are plans already" in instance.run("plans", "seed", str(file)).out
    listed = json.loads(instance.run("plans", "list", "--json").out)
    assert (listed["revision"], [one["slug"] for one in listed["plans"] if one["is_active"]]) == (1, ["free", "pro"])


def test_a_file_without_plans(instance: Instance) -> None:
    """What cannot be read, is no JSON or no catalog is one line, and nothing is stored."""
    instance.run("store", "migrate")
    file = instance.database.with_name("plans.json")
    assert "cannot be read" in instance.run("plans", "seed", str(file)).one_line
    for content in ("", "[]", "{}", json.dumps({"plans": []}), '{"plans": 1, "plans": 2}', '{"plans": 1.5}'):
        file.write_text(content)
        said = instance.run("plans", "seed", str(file)).one_line
        assert str(file) in said
        assert "answer" not in said
    assert "there are no plans yet" in instance.run("plans", "list").out


def test_a_seed_needs_no_extra(instance: Instance) -> None:
    """A host with the extra [sql] alone seeds its plans."""
    instance.run("store", "migrate")
    file = instance.database.with_name("plans.json")
    file.write_text(json.dumps(SEED))
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from kuploy_saas_kit.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "plans", "seed", str(file), "--store", instance.url]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "starter" in ran.stdout


def test_a_seed_of_an_unknown_product(instance: Instance) -> None:
    """What is wrong is the host's own setting, and the message names it."""
    instance.run("store", "migrate")
    file = instance.database.with_name("plans.json")
    file.write_text(json.dumps(SEED))
    instance.set(LICENSE_PRODUCT_TYPE="shop")
    said = instance.run("plans", "seed", str(file)).one_line
    assert "LICENSE_PRODUCT_TYPE" in said
    assert "hub" not in said


def test_plans_within_the_license(instance: Instance) -> None:
    """A catalog under its license passes; after a downgrade the plan above it fails."""
    instance.licensed()
    ran = instance.run("plans", "check")
    assert ran.status == 0
    assert "pro: within the license (growth)" in ran.out
    instance.world.hub.change_tier(instance.world.license_key, "starter")
    instance.run("license", "sync")
    above = instance.run("plans", "check", "--json")
    assert above.status == 1
    assert [one["subject"] for one in json.loads(above.out) if one["level"] == "fail"] == ["pro"]


def test_nothing_to_compare_with(instance: Instance) -> None:
    """Without a license there is no ceiling to compare with, which is said."""
    instance.licensed()
    instance.monkeypatch.delenv("LICENSE_KEY")
    assert "no license is held" in instance.run("plans", "check").one_line


def test_what_a_plan_may_ask_for() -> None:
    """A feature above the license, an unknown and a never-gate key fail; a limit above it is normal, and said."""

    def levels(plan: Plan) -> list[Level]:
        return [one.level for one in plan_findings(plan, GRANT, KUPLOY_CLOUD)]

    assert levels(Plan("a", "A", features={"customDomains"}, limits={"maxProjects": 5})) == [Level.OK]
    assert levels(Plan("b", "B", features={"whiteLabel"})) == [Level.FAIL]
    assert levels(Plan("c", "C", limits={"maxProjects": 6})) == [Level.WARN]
    assert levels(Plan("d", "D", features={"teleport"})) == [Level.FAIL, Level.FAIL]
    assert Level.FAIL in levels(Plan("e", "E", features={"login"}))


def test_what_is_probably_not_meant() -> None:
    """The catalog's own warnings are passed on."""
    odd = PlanCatalog([Plan("free", "Free", Price(100, "cad"), is_default=True)])
    assert [one.level for one in catalog_findings(odd)] == [Level.WARN]
    assert catalog_findings(CATALOG) == []


def test_explain_says_why_and_who(instance: Instance) -> None:
    """Each layer with its version, the one that refused, and who can lift it; the answer itself is no failure."""
    instance.licensed()
    refused = instance.run("explain", "acme", "aiAssistant")
    assert refused.status == 0
    assert "acme aiAssistant: refused (not_in_plan)" in refused.out
    assert "license:growth = True" in refused.out
    assert "× plan:free = False" in refused.out
    assert "who can lift it: org: the org changes to a plan that has it" in refused.out
    limit = instance.run("explain", "acme", "maxProjects")
    assert "acme maxProjects: granted" in limit.out
    assert "0 of 1 used" in limit.out


def test_explain_for_machines(instance: Instance) -> None:
    """The same as a document."""
    instance.licensed()
    told = json.loads(instance.run("explain", "acme", "aiAssistant", "--json").out)
    assert told["granted"] is False
    assert (told["reason"], told["blocking"], told["who"]) == ("not_in_plan", "plan:free", "org")
    assert {layer["source"] for layer in told["layers"]} >= {"license:growth", "plan:free"}


def test_explain_a_key_that_cannot_be_asked_for(instance: Instance) -> None:
    """An unknown key is refused with the developer's remedy; a never-gate key is an error of the question."""
    instance.licensed()
    assert "unknown_key" in instance.run("explain", "acme", "teleport").out
    assert "must never be gated" in instance.run("explain", "acme", "login").one_line


def test_overview_of_an_org_with_a_plan_by_hand(instance: Instance) -> None:
    """Who gave it and who took it away is told, with the reasons, oldest first."""
    instance.licensed()
    with closing(SqlStore.from_url(instance.url)) as store:
        at = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        given = Assignment(org_id="acme", plan="internal", actor="ann", reason="our own", assigned_at=at)
        store.put_assignment(given)
        store.end_assignment("acme", actor="bob", reason="sold", at=at)
    trail = json.loads(instance.run("overview", "acme", "--json").out)["trail"]
    assert [(line["kind"], line["plan"], line["actor"]) for line in trail] == [
        ("given", "internal", "ann"),
        ("ended", "internal", "bob"),
    ]
    assert "internal ended" in instance.run("overview", "acme").out


def test_overview(instance: Instance) -> None:
    """The plan with its source, every feature and every limit with its use."""
    instance.licensed()
    ran = instance.run("overview", "acme")
    assert ran.status == 0
    assert "acme is on free (default)" in ran.out
    assert "aiAssistant" in ran.out
    assert "buildMinutesPerMonth" in ran.out
    told = json.loads(instance.run("overview", "acme", "--json").out)
    assert told["features"]["aiAssistant"] == {"granted": False, "in_license": True, "in_plan": False}
    assert told["limits"]["maxProjects"] == {"used": 0, "limit": 1, "unit": "count", "level": "ok"}
