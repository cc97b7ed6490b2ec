"""The rights that the documentation gives the application's role suffice for every verb, and for nothing else."""

import re
from contextlib import closing

import pytest
from sqlalchemy import create_engine, make_url, text
from tests.adapters.conftest import Schemas, prepare
from tests.adapters.test_postgresql_dies import VERBS
from tests.docs.pages import ROOT, blocks_of

from kuploy_saas_kit.adapters import SqlStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW

PAGE = ROOT / "docs/how-to/bring-your-own-storage.md"


def granted(schema: str, role: str) -> str:
    """The statements of the page, which speaks of the schema `public` and the role `app`."""
    (statements,) = (block.text for block in blocks_of(PAGE) if block.language == "sql" and "GRANT" in block.text)
    return re.sub(r"\bapp\b", role, re.sub(r"\bpublic\b", schema, statements))


def test_what_the_page_grants(schemas: Schemas) -> None:
    """A role that owns nothing and has just these rights can do every verb, and cannot migrate or drop."""
    url = schemas.new(migrated=True)
    prepare(url)
    schema = url.rpartition("%3D")[2]
    role = f"app_of_{schema}"
    owner = create_engine(url)
    with owner.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text("REVOKE EXECUTE ON FUNCTION kuploy_saas_take FROM PUBLIC"))
        connection.execute(text(granted(schema, role)))
    owner.dispose()
    as_app = make_url(url).set(username=role).render_as_string(hide_password=False)
    with closing(SqlStore.from_url(as_app, clock=ManualClock(NOW))) as store:
        store.require_tables()
        for verb in VERBS.values():
            verb(store)
        store.migrate()  # finds nothing to make
        forbidden = r"let this user .* \(must be owner of table kuploy_saas_usage\)"
        with pytest.raises(StorageError, match=forbidden), store._writing() as connection:
            connection.execute(text("DROP TABLE kuploy_saas_usage"))
