"""The order of catalogs of several licenses."""

from hypothesis import given
from hypothesis import strategies as st

from kuploy_saas_kit.plans.ports import StoredPlans
from kuploy_saas_kit.plans.revisions import next_revision

revisions = st.integers(0, 2**39)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), revisions), min_size=1, max_size=8))
def test_another_license_is_never_older(history: list[tuple[str, int]]) -> None:
    """A catalog of another license is above all before it; within a license the hub's order holds."""
    stored = StoredPlans()
    last: dict[str, int] = {}
    for source, revision in history:
        wanted = next_revision(stored, revision, source)
        if stored.revision is None or stored.source != source:
            assert stored.revision is None or wanted > stored.revision
            last = {source: revision}
        else:
            assert (wanted >= stored.revision) == (revision >= last[source])
            assert (wanted == stored.revision) == (revision == last[source])
        if stored.revision is None or wanted >= stored.revision:
            last[source] = revision
            stored = StoredPlans(revision=wanted, source=source)


def test_the_first_catalogs_keep_the_hubs_numbers() -> None:
    """An instance that never changed its license has the hub's own revisions; absurd ones stay in order."""
    assert next_revision(StoredPlans(), 7, "a") == 7
    assert next_revision(StoredPlans(revision=7, source="a"), 8, "a") == 8
    assert next_revision(StoredPlans(revision=7, source="a"), 1, "b") == 2**40 + 1
    assert next_revision(StoredPlans(revision=7, source="a"), 2**62, "a") == 2**40 - 1
