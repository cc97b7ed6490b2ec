"""The revisions of the kit's tables, for Alembic. `adapters/sql/migration.py` runs them; they need no `env.py`."""
