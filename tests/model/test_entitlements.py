"""The laws of the semilattice of rights."""

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from kuploy_saas_kit.errors import InvalidValueError
from kuploy_saas_kit.model.entitlements import Entitlements
from kuploy_saas_kit.model.features import ALL
from kuploy_saas_kit.model.limits import MAX_LIMIT, UNLIMITED, Limits, LimitValue, limit_from_wire, limit_to_wire
from kuploy_saas_kit.testing.strategies import entitlements, feature_keys, limit_entries, limit_keys, limit_values

TOP, BOTTOM = Entitlements.TOP, Entitlements.BOTTOM
ANY: Any = UNLIMITED
"""`UNLIMITED` as code sees it that no type checker reads."""


@given(entitlements, entitlements)
def test_meet_is_commutative(a: Entitlements, b: Entitlements) -> None:
    """The order of the layers does not matter."""
    assert a & b == b & a


@given(entitlements, entitlements, entitlements)
def test_meet_is_associative(a: Entitlements, b: Entitlements, c: Entitlements) -> None:
    """Any number of layers may be composed in any grouping."""
    assert (a & b) & c == a & (b & c)


@given(entitlements)
def test_meet_is_idempotent_with_bounds(a: Entitlements) -> None:
    """A layer twice is the layer once; `TOP` changes nothing and `BOTTOM` takes all."""
    assert a & a == a
    assert a & TOP == a
    assert a & BOTTOM == BOTTOM
    assert BOTTOM <= a <= TOP


@given(entitlements, entitlements)
def test_meet_is_the_greatest_lower_bound(a: Entitlements, b: Entitlements) -> None:
    """The meet is below both, and order agrees with meet."""
    assert a & b <= a
    assert a & b <= b
    assert (a <= b) == (a & b == a)
    assert (a >= b) == (b <= a)


@given(entitlements, entitlements, entitlements)
def test_everything_below_both_is_below_the_meet(a: Entitlements, b: Entitlements, c: Entitlements) -> None:
    """Nothing that both layers grant is lost by composing them."""
    assert not (c <= a and c <= b) or c <= a & b


@given(entitlements, entitlements, entitlements)
def test_meet_is_monotone(a: Entitlements, b: Entitlements, c: Entitlements) -> None:
    """More in a layer never means less in the result."""
    assert (a & b) & c <= a & c


@given(entitlements, entitlements)
def test_order_is_antisymmetric_and_hash_agrees(a: Entitlements, b: Entitlements) -> None:
    """Two rights that bound each other are equal and hash alike."""
    if a <= b <= a:
        assert a == b
        assert hash(a) == hash(b)


@given(entitlements, entitlements, feature_keys, limit_keys)
def test_meet_is_pointwise(a: Entitlements, b: Entitlements, feature: str, limit: str) -> None:
    """Composing is AND for each feature and the smaller number for each limit."""
    assert (a & b).allows(feature) == (a.allows(feature) and b.allows(feature))
    assert (a & b).limit(limit) == min(a.limit(limit), b.limit(limit))


@given(limit_entries, limit_values)
def test_limits_are_canonical(entries: dict[str, LimitValue], default: LimitValue) -> None:
    """Entries equal to the default are no entries, whatever the order they came in."""
    padded = {"maxOther": default, **entries}
    again = Limits(dict(reversed(padded.items())), default=default)
    assert again == Limits(entries, default=default)
    assert hash(again) == hash(Limits(entries, default=default))
    assert pickle.loads(pickle.dumps(again)) == again == copy.deepcopy(again)  # noqa: S301 - our own bytes


@given(limit_entries)
def test_limits_survive_the_wire(entries: dict[str, LimitValue]) -> None:
    """What the wire writes is read back as the same function."""
    limits = Limits(entries)
    assert Limits.from_wire(limits.to_wire()) == limits


def test_unlimited_is_above_every_number() -> None:
    """`UNLIMITED` orders, prints and copies well."""
    assert MAX_LIMIT < UNLIMITED
    assert 5 < UNLIMITED > 0
    assert not UNLIMITED < UNLIMITED
    assert UNLIMITED <= UNLIMITED >= 7
    assert not UNLIMITED <= 7
    assert min(3, UNLIMITED) == 3
    assert max(3, UNLIMITED) is UNLIMITED
    assert (str(UNLIMITED), repr(UNLIMITED)) == ("unlimited", "UNLIMITED")
    assert copy.deepcopy(UNLIMITED) is pickle.loads(pickle.dumps(UNLIMITED)) is UNLIMITED  # noqa: S301 - our own bytes


@pytest.mark.parametrize(
    "combine",
    [lambda: ANY + 1, lambda: 5 - ANY, lambda: ANY < "x"],
    ids=["plus", "minus", "string"],
)
def test_unlimited_refuses_arithmetic(combine: Callable[[], object]) -> None:
    """Nobody computes with `UNLIMITED` by accident."""
    with pytest.raises(TypeError):
        combine()


@pytest.mark.parametrize("value", [-1, -7, True, 1.0, "5", None, MAX_LIMIT + 1])
def test_other_values_are_no_limits(value: Any) -> None:
    """What is no int from 0 to 2**63-1 is refused with a message that names `UNLIMITED`."""
    with pytest.raises(InvalidValueError, match="UNLIMITED"):
        Limits({"maxProjects": value})


def test_wire_numbers() -> None:
    """On the wire −1 is unlimited and 0 not available."""
    assert limit_from_wire(-1, "maxApps") is UNLIMITED
    assert limit_to_wire(UNLIMITED) == -1
    assert limit_from_wire(0, "maxApps") == 0
    with pytest.raises(InvalidValueError):
        limit_from_wire(-2, "maxApps")


@pytest.mark.parametrize("features", ["customDomains", ["9lives"], [""], ["a" * 65], ["white label"], [7]])
def test_malformed_features_are_refused(features: Any) -> None:
    """A lone string or a key that can be none is refused, with an error that says what keys are."""
    with pytest.raises(InvalidValueError):
        Entitlements(features)


def test_all_features() -> None:
    """`ALL` has every feature, and prints as what it is."""
    assert "anything" in ALL
    assert frozenset({"a"}) <= ALL
    assert not ALL <= frozenset({"a"})
    assert frozenset({"a"}) & ALL == frozenset({"a"})
    assert repr(TOP) == "Entitlements.TOP"
    assert repr(ALL) == "ALL"
    assert "UNLIMITED" in repr(Entitlements({"b"}, {"maxApps": UNLIMITED}))


def test_rights_compare_only_with_rights() -> None:
    """Comparing rights with something else is a type error, not an answer."""
    others: list[Any] = [1, "TOP", None]
    for other in others:
        assert other != TOP
        with pytest.raises(TypeError):
            TOP & other
        with pytest.raises(TypeError):
            operator.le(TOP, other)
        with pytest.raises(TypeError):
            operator.ge(TOP, other)


def test_limits_are_mappings() -> None:
    """Named keys are in the mapping, all keys have a value, and only limits equal limits."""
    limits = Limits({"maxApps": 3})
    assert "maxApps" in limits
    assert "maxNew" not in limits
    assert limits["maxNew"] == 0
    assert limits != {"maxApps": 3}
