"""`run`: what a host does in the background, once."""

import json

from tests.cli.instance import Instance


def test_one_run_does_everything(instance: Instance) -> None:
    """A linked instance without a host gets license, plans and products; the next run has nothing to do."""
    instance.linked()
    ran = instance.run("run")
    assert (ran.status, ran.err) == (0, "")
    assert "the license is" in ran.out
    assert "plans: changed" in ran.out
    assert "stripe: + pro: price 20.00 CAD monthly" in ran.out
    assert {plan.slug for plan in instance.store().load_plans().catalog or ()} == {"free", "pro"}
    instance.world.later(seconds=60)
    told = json.loads(instance.run("run", "--json").out)
    assert (told["plans"], told["stripe"], told["problems"]) == (None, [], [])


def test_an_unreachable_hub_is_a_failed_run(instance: Instance) -> None:
    """Without the hub the run says so and exits with 1."""
    instance.linked()
    instance.world.hub.outage("refused")
    ran = instance.run("run")
    assert ran.status == 1
    assert "nothing has changed" in ran.out
