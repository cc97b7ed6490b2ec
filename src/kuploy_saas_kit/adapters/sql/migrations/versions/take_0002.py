"""The digest of the stored catalog, and PostgreSQL's function that takes all claims or none."""

from __future__ import annotations

from alembic.operations import Operations
from sqlalchemy import Column, Text

from kuploy_saas_kit.adapters.sql.function import make_function
from kuploy_saas_kit.adapters.sql.layout import SqlLayout

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations, layout: SqlLayout) -> None:
    """Add the column, and in PostgreSQL the function."""
    op.add_column(layout.prefix + "catalog", Column("digest", Text), schema=layout.schema)
    make_function(op.get_bind(), layout)
