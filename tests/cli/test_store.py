"""`store migrate`, `store check`, and where files are."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from tests.cli.instance import Instance
from tests.conftest import why_no_postgres
from tests.kit.world import CATALOG

from kuploy_saas_kit.adapters import SqlLayout, SqlStore
from kuploy_saas_kit.adapters.sql.migration import make_tables
from kuploy_saas_kit.cli.findings import Level
from kuploy_saas_kit.cli.store.disks import ephemeral_kind
from kuploy_saas_kit.cli.store.selftest import disk_finding, lease_findings, take_finding
from kuploy_saas_kit.cli.wiring import StoreUrls
from kuploy_saas_kit.plans.ports import TakeOutcome
from kuploy_saas_kit.testing.servers import PostgresServer

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
MOUNTS = """\
21 1 0:20 / / rw,relatime - overlay overlay rw
22 21 8:1 / /data rw - ext4 /dev/sda1 rw
23 22 0:30 / /data/in\\040memory rw shared:1 - tmpfs tmpfs rw
24 21 0:31 / /mnt rw - tmpfs tmpfs rw
25 24 8:2 / /mnt rw - xfs /dev/sdb rw
no line of a mount
"""


def test_migrate_makes_the_tables_and_may_run_twice(instance: Instance) -> None:
    """The one command that makes a file; a second run changes nothing."""
    for _ in range(2):
        ran = instance.run("store", "migrate")
        assert (ran.status, ran.err) == (0, "")
        assert "the tables are there" in ran.out
    assert instance.run("store", "check").status == 0


def test_migrate_where_no_file_can_be(instance: Instance) -> None:
    """A folder that does not exist is one line, which says so."""
    ran = instance.run("store", "migrate", "--store", "sqlite:///no/folder/kit.db")
    assert ran.status == 2
    assert "is its folder there" in ran.one_line


def test_tables_of_a_layout_of_the_hosts(instance: Instance) -> None:
    """Options or variables say where the tables are, to every command; what no layout can be is one line."""
    layout = SqlLayout(prefix="kit_", plans_table="plans", schema="main")
    options = ("--prefix", "kit_", "--plans-table", "plans", "--schema", "main")
    assert instance.run("store", "migrate", *options).status == 0
    with closing(SqlStore.from_url(instance.url, layout=layout)) as store:
        store.replace_plans(CATALOG, revision=1)
    assert "pro" in instance.run("plans", "list", *options).out
    assert "store migrate" in instance.run("plans", "list").one_line
    instance.set(KUPLOY_PREFIX="kit_", KUPLOY_PLANS_TABLE="plans", KUPLOY_SCHEMA="main")
    assert "2 plans" in instance.run("store", "check").out
    instance.set(KUPLOY_SCHEMA="elsewhere")
    assert "SQLite has no schemas" in instance.run("store", "migrate").one_line


def test_check_finds_missing_tables(instance: Instance) -> None:
    """A database without tables fails the check, and nothing more is asked of it."""
    instance.database.touch()
    ran = instance.run("store", "check", "--json")
    assert ran.status == 1
    told = {one["subject"]: one for one in json.loads(ran.out)}
    assert told["store"]["level"] == "fail"
    assert "kit's tables" in told["store"]["seen"]
    assert "counters" not in told


def test_check_finds_tables_of_an_earlier_version(instance: Instance) -> None:
    """Tables that were not migrated since fail the check, with the command to run."""
    with closing(SqlStore.from_url(instance.url)) as store, store._engine.begin() as connection:
        make_tables(connection, store._tables, "0001")
    ran = instance.run("store", "check")
    assert ran.status == 1
    assert "kuploy-saas-kit store migrate" in ran.out


@pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres()))
def test_check_finds_that_takes_fail(instance: Instance) -> None:
    """What reads well and refuses each take fails the check: PostgreSQL's function is lost, or a right is missing."""
    with PostgresServer() as server:
        instance.set(KUPLOY_STORE=server.url)
        assert instance.run("store", "migrate").status == 0
        assert "counters: a take works" in instance.run("store", "check").out
        with closing(SqlStore.from_url(server.url)) as store, store._engine.begin() as connection:
            connection.execute(text("CREATE ROLE reader LOGIN"))
            connection.execute(text("GRANT pg_read_all_data TO reader"))
        as_reader = make_url(server.url).set(username="reader").render_as_string()
        ran = instance.run("store", "check", "--store", as_reader)
        assert ran.status == 1
        assert "does not let this user do what was asked" in ran.out
        with closing(SqlStore.from_url(server.url)) as store, store._engine.begin() as connection:
            connection.execute(text("DROP FUNCTION kuploy_saas_take"))
        ran = instance.run("store", "check")
    assert ran.status == 1
    assert "kuploy-saas-kit store migrate" in ran.out


def test_check_of_a_full_store(instance: Instance) -> None:
    """Plans, counters, license and leases are looked at; the lease is given back."""
    instance.licensed()
    for _ in range(2):
        ran = instance.run("store", "check")
        assert ran.status == 0
        assert "2 plans: catalog revision 1" in ran.out
        assert "leases: one of two holders gets it" in ran.out


def test_check_of_a_license_file(instance: Instance) -> None:
    """A file elects nobody, so no lease is asked for, and its disk is looked at."""
    instance.run("store", "migrate")
    ran = instance.run("store", "check", "--license-store", "file:license.json")
    assert ran.status == 0
    assert "leases" not in ran.out
    assert "license.json is on" in ran.out


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/kit.db", "the container's own layer"),
        ("/data/kit.db", None),
        ("/data/in memory/kit.db", "a disk in memory"),
        ("/database/kit.db", "the container's own layer"),
        ("/mnt/kit.db", None),
    ],
)
def test_which_disks_pass(file: str, kind: str | None) -> None:
    """The mount nearest to the file decides, and of two at one place the later."""
    assert ephemeral_kind(Path(file), MOUNTS) == kind


def test_what_is_not_known_of_disks_is_not_said() -> None:
    """Without a list of mounts nothing is called passing; what is, is a warning."""
    assert ephemeral_kind(Path("/kit.db"), "") is None
    assert disk_finding(Path("/kit.db"), None).level is Level.OK
    assert disk_finding(Path("/kit.db"), "a disk in memory").level is Level.WARN


def test_a_store_whose_leases_elect_nobody() -> None:
    """Two holders at once, or none, fail; a clock apart is a warning."""
    for first, second in ((True, True), (False, False)):
        assert next(lease_findings(first=first, second=second, server_now=NOW, now=NOW)).level is Level.FAIL
    late = lease_findings(first=True, second=False, server_now=NOW - timedelta(minutes=5), now=NOW)
    assert [one.level for one in late] == [Level.OK, Level.WARN]


def test_a_store_that_refuses_to_give_nothing() -> None:
    """A take of nothing that is refused is a store that does not keep its contract."""
    assert take_finding(TakeOutcome.TAKEN, limits=3).level is Level.OK
    assert take_finding(TakeOutcome.REFUSED, limits=3).level is Level.FAIL


def test_the_files_among_the_stores() -> None:
    """Only what is a file is looked for on disks."""
    urls = StoreUrls("sqlite+pysqlite:////srv/kit.db?timeout=5", "file:/srv/license.json")
    assert urls.files == (Path("/srv/kit.db"), Path("/srv/license.json"))
    assert StoreUrls("postgresql://host/name", "redis://host").files == ()
