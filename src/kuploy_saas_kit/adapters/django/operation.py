"""The operation of the Django app's migrations."""

from __future__ import annotations

from typing import Any

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory


class KitTables(Operation):
    """Bring the kit's tables to *revision*, which the kit's own version table then names.

    Nothing happens where they are there already, or where a database router wants none of this app's tables. It cannot
    be undone: the tables hold what organizations bought and used.
    """

    category = OperationCategory.ADDITION
    reduces_to_sql = False
    reversible = False

    def __init__(self, revision: str) -> None:
        self.revision = revision

    def __str__(self) -> str:
        return f"{self.describe()} (they hold what organizations bought and used: drop them by hand, if you must)"

    def state_forwards(self, app_label: str, state: Any) -> None:
        """No models, no state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        """Run the kit's own revisions in the transaction of the migration."""
        # Slow to load, and most commands only look at migrations.
        from kuploy_saas_kit.adapters.django.store import DjangoStore  # noqa: PLC0415

        alias = schema_editor.connection.alias
        if router.allow_migrate(alias, app_label):
            DjangoStore(alias).migrate(self.revision)

    def describe(self) -> str:
        """What plans and `sqlmigrate` say."""
        return f"Make the kit's tables of revision {self.revision}"
