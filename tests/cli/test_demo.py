"""The demo, as a user runs it."""

import json
import sqlite3
from pathlib import Path

import pytest

from kuploy_saas_kit.cli import main
from kuploy_saas_kit.cli.demo import story
from kuploy_saas_kit.cli.demo.place import place_for
from kuploy_saas_kit.cli.demo.report import Reporter
from kuploy_saas_kit.cli.demo.shop import TestModeShop
from kuploy_saas_kit.cli.demo.stage import stage
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.stripe import StripeSimulator


def test_the_story_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check of the nine steps holds, and the exit status says so."""
    assert main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["failed"] == 0
    assert len(report["steps"]) == 9
    assert all(step["checks"] for step in report["steps"])


def test_keep_leaves_the_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --keep the SQLite file stays to be looked at; a second demo does not overwrite it."""
    folder = tmp_path / "kept"
    assert main(["demo", "--keep", str(folder)]) == 0
    with sqlite3.connect(folder / "kit.db") as database:
        rows = database.execute(
            'SELECT "planId", price, currency, "billingCycle" FROM cloud_plans ORDER BY 1'
        ).fetchall()
    database.close()
    assert rows == [("business", 290000, "gnf", "monthly"), ("free", None, None, None), ("pro", 2500, "cad", "monthly")]
    assert "checks held in 9 steps" in capsys.readouterr().out
    assert main(["demo", "--keep", str(folder)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "set STRIPE_TEST_KEY"),
        ("sk_live_abc", "must begin with sk_test_"),
        ("pk_test_abc", "must begin with sk_test_"),
    ],
)
def test_only_a_test_key_reaches_stripe(
    key: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a test key there is no Stripe test run, and a live key is refused without being shown."""
    monkeypatch.setenv("STRIPE_TEST_KEY", key)
    assert main(["demo", "--stripe-test"]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "abc" not in told


def test_no_key_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Keys that lie about in the environment change nothing about the demo."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_never")
    monkeypatch.setenv("LICENSE_KEY", "lic_neverneverever")
    assert main(["demo", "--json"]) == 0
    assert "never" not in capsys.readouterr().out


def test_a_check_that_fails_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One check that does not hold turns the exit status to 1 and is marked."""
    wrong = tuple((title, step) for title, step in story.STORY if "claimed" in title or "race" in title)
    monkeypatch.setattr(story, "STORY", wrong)
    assert main(["demo"]) == 1
    assert "✗ exactly 5 of 8 succeed" in capsys.readouterr().out


def test_stripe_test_mode_plays_the_same_story(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The steps for Stripe's test mode hold against the simulator too, where no webhook is delivered."""
    clock, reporter = ManualClock(), Reporter(as_json=True)
    with (
        StripeSimulator(clock=clock).serve() as url,
        place_for(None, tmp_path) as place,
        stage(place, TestModeShop("sk_test_x", clock, base_url=url)) as props,
    ):
        for title, step in story.STORY:
            reporter.begin(title)
            step(props, reporter)
    assert reporter.end() == 0


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Help lists what there is; a wrong command says so."""
    with pytest.raises(SystemExit) as asked:
        main(["--help"])
    assert asked.value.code == 0
    assert "demo" in capsys.readouterr().out
    with pytest.raises(SystemExit) as wrong:
        main(["dmeo"])
    assert wrong.value.code == 2
