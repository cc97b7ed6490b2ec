"""The migrations of the Django app."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from django.db.migrations.exceptions import IrreversibleError
from django.db.migrations.loader import MigrationLoader
from django.test.utils import override_settings
from tests.adapters.django_host import database, set_up

from kuploy_saas_kit.adapters import DjangoStore, SqlLayout, SqlStore
from kuploy_saas_kit.adapters.django.connection import how_to_migrate
from kuploy_saas_kit.adapters.django.operation import KitTables
from kuploy_saas_kit.adapters.sql import migration
from kuploy_saas_kit.adapters.sql.layout import SCHEMA_VERSION
from kuploy_saas_kit.errors import ConfigurationError, StorageError

APP = "kuploy_saas_kit"
OWN = {"prefix": "kit_", "plans_table": "kit_plans"}


@pytest.fixture
def alias(empty_url: str) -> Iterator[str]:
    """Django's name of a database without tables."""
    with database(empty_url) as alias:
        yield alias


def manage(command: str, *args: str, **options: Any) -> str:
    """What a command of `manage.py` prints."""
    out = io.StringIO()
    call_command(command, *args, stdout=out, no_color=True, **options)
    return out.getvalue()


def names(alias: str) -> set[str]:
    """The tables that are there."""
    return set(connections[alias].introspection.table_names())


def by_django(alias: str) -> None:
    """As a host deploys."""
    manage("migrate", database=alias, verbosity=0)


def by_store(alias: str) -> None:
    """As the kit's own command does."""
    DjangoStore(alias).migrate()


@pytest.mark.parametrize("first", [by_django, by_store])
def test_each_way_knows_what_the_other_did(empty_url: str, alias: str, first: Callable[[str], None]) -> None:
    """`manage.py migrate` and `store.migrate()` make the same tables, and after either the other changes nothing."""
    first(alias)
    after_one = DjangoStore(alias).changes(None)
    by_django(alias)
    by_store(alias)
    with closing(SqlStore.from_url(empty_url)) as sql:
        sql.migrate()
    assert DjangoStore(alias).changes(None) == after_one  # the feed's epoch was made once
    assert "[ ]" not in manage("showmigrations", APP, database=alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT version_num FROM kuploy_saas_schema_version")
        assert cursor.fetchall() == [(SCHEMA_VERSION,)]
    tables = DjangoStore(alias)._tables.metadata.tables
    assert names(alias) == {*tables, "django_migrations"}


def test_the_layout_of_the_settings(alias: str) -> None:
    """The tables are where the setting says, for migrations and stores alike; what it does not know is refused."""
    with override_settings(KUPLOY_SAAS_LAYOUT=OWN):
        by_django(alias)
        assert DjangoStore(alias).load_plans().catalog is None
    owned = {name for name in names(alias) if SqlLayout(**OWN).owns(name)}
    assert {"kit_plans", "kit_usage"} <= owned
    assert names(alias) == {*owned, "django_migrations"}
    with override_settings(KUPLOY_SAAS_LAYOUT={"tables": "kit_"}), pytest.raises(ConfigurationError, match="prefix"):
        DjangoStore(alias)


def test_how_to_make_tables_that_are_missing(alias: str) -> None:
    """The error names the command where that makes them, and the store's verb where the layout is the store's own."""
    with pytest.raises(StorageError, match=r"manage\.py migrate"):
        DjangoStore(alias).require_tables()
    own = DjangoStore(alias, layout=SqlLayout(**OWN))
    for verb in (own.require_tables, own.load_plans):
        with pytest.raises(StorageError, match=r": call migrate\(\) on a DjangoStore with this layout$"):
            verb()
    by_django(alias)
    DjangoStore(alias).require_tables()
    own.migrate()
    own.require_tables()


def test_how_to_make_them_in_the_database_that_lacks_them(alias: str) -> None:
    """Both commands name it, as without its name they would make tables in the default one; that one has no option."""
    with pytest.raises(StorageError) as missing:
        DjangoStore(alias).require_tables()
    commands = re.findall("`(.*?)`", str(missing.value))
    assert commands == [f"manage.py migrate --database {alias}", f"DjangoStore({alias!r}).migrate()"]
    assert re.findall("`(.*?)`", how_to_migrate("default")) == ["manage.py migrate", "DjangoStore().migrate()"]


def test_an_app_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it `manage.py migrate` finds nothing to do, so it is named first."""
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "kuploy_saas_kit.adapters.django")
    assert how_to_migrate("default").startswith("name kuploy_saas_kit.adapters.django in INSTALLED_APPS, and run ")


def test_a_database_that_the_settings_do_not_have(alias: str) -> None:
    """It is a mistake in the host's code, and the error says what there is."""
    for verb in (DjangoStore("nope").load_plans, DjangoStore("nope").migrate, DjangoStore("nope").require_tables):
        with pytest.raises(ConfigurationError, match=f"no database 'nope' in settings.DATABASES.*{alias}"):
            verb()


class Elsewhere:
    """A database router of a host that keeps the kit's tables in another database."""

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool | None:
        """Nowhere here."""
        return False if app_label == APP else None


def test_a_router_decides_where(alias: str) -> None:
    """In a database that the host's routers keep the app out of no table is made."""
    with override_settings(DATABASE_ROUTERS=[Elsewhere()]):
        by_django(alias)
    assert names(alias) == {"django_migrations"}


def test_what_the_commands_say(alias: str) -> None:
    """A plan names the step, SQL is not promised, there is no more to make, and going back is refused with a reason."""
    assert "Make the kit's tables of revision 0001" in manage("migrate", database=alias, plan=True)
    assert "CANNOT BE WRITTEN AS SQL" in manage("sqlmigrate", APP, "0001", database=alias)
    assert names(alias) == set()
    by_django(alias)
    before = names(alias)
    assert "No changes detected" in manage("makemigrations", check_changes=True, dry_run=True)
    with pytest.raises(IrreversibleError, match="by hand"):
        manage("migrate", APP, "zero", database=alias)
    assert names(alias) == before


def test_every_revision_has_a_migration() -> None:
    """The app's migrations are the kit's own revisions, one each and in their order."""
    set_up()
    loader = MigrationLoader(None)
    found = [
        operation.revision
        for key in loader.graph.forwards_plan(loader.graph.leaf_nodes(APP)[0])
        for operation in loader.graph.nodes[key].operations
        if isinstance(operation, KitTables)
    ]
    script = ScriptDirectory(str(Path(migration.__file__).parent / "migrations"))
    assert found == [revision.revision for revision in reversed(list(script.walk_revisions()))]
