"""PostgreSQL goes away in the middle of a verb of the Django store: nothing is half-written, and then all is well."""

from contextlib import closing

import pytest
from django.db import Error, close_old_connections, transaction
from tests.adapters.django_host import database
from tests.adapters.ways import Proxy
from tests.conftest import why_no_postgres

from kuploy_saas_kit.adapters import DjangoStore
from kuploy_saas_kit.errors import StorageError
from kuploy_saas_kit.testing.clock import ManualClock
from kuploy_saas_kit.testing.conformance.base import NOW

if reason := why_no_postgres():
    pytest.skip(reason, allow_module_level=True)

from tests.adapters.test_postgresql_dies import VERBS, WRITING, Rows, Verb

IN_A_BLOCK = ("take", "take that sweeps", "put_subscription")


def test_each_verb_by_itself(place: str, proxy: Proxy) -> None:
    """Cut before whichever request it raises `StorageError`; the next call has a connection again."""
    with closing(Rows(place)) as rows, database(proxy.url) as alias:
        store = DjangoStore(alias, clock=ManualClock(NOW))
        for name, verb in VERBS.items():
            before, requests, proxy.left = rows.kept(), 0, 0
            while has_failed(verb, store):
                assert rows.kept() == before, (name, requests)
                requests += 1
                proxy.left = requests
            assert requests > 0, name
            assert (rows.kept() != before) is (name in WRITING), name
            proxy.left = None


@pytest.mark.parametrize("name", IN_A_BLOCK)
def test_a_block_of_the_hosts(place: str, proxy: Proxy, name: str) -> None:
    """The block fails as a whole, as Django says; the next request, which Django begins as always, has a connection."""
    with closing(Rows(place)) as rows, database(proxy.url) as alias:
        store = DjangoStore(alias, clock=ManualClock(NOW))
        before, requests, proxy.left = rows.kept(), 0, 0
        while has_failed(transaction.atomic(alias)(VERBS[name]), store, Error):
            close_old_connections()
            assert rows.kept() == before, requests
            requests += 1
            proxy.left = requests
        assert requests > 0
        assert rows.kept() != before


def has_failed(verb: Verb, store: DjangoStore, *others: type[Exception]) -> bool:
    """Whether it raised what it may raise."""
    try:
        verb(store)
    except Exception as error:
        if isinstance(error, (StorageError, *others)):
            return True
        raise
    return False
