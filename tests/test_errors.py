"""The kit's errors as hosts pass them on: to other processes, into task queues, in copies."""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from kuploy_saas_kit.errors import (
    CeilingExceededError,
    ClaimError,
    ConfigurationError,
    DeniedError,
    FeatureDeniedError,
    HubRefusedError,
    HubUnavailableError,
    KitError,
    LicenseDeniedError,
    LimitExceededError,
    PayloadRejectedError,
    StorageError,
    StoredPlansError,
    StripeRejectedError,
    StripeUnavailableError,
    storage_errors,
)
from kuploy_saas_kit.plans import CeilingViolation, Decision, Reason
from kuploy_saas_kit.plans.ports import StoredPlans

REFUSAL = Decision(granted=False, reason=Reason.UNKNOWN_KEY, key="nope")
CODED = {"code": "E1"}
AT_STRIPE = {"status": 402, "code": "declined", "param": "source", "request_id": "req_1"}
MADE: dict[type[KitError], Callable[[Any], KitError]] = {
    StoredPlansError: lambda made: made("wrong", StoredPlans(versions={"pro": 2})),
    CeilingExceededError: lambda made: made("wrong", (CeilingViolation("feature", "sso", wanted=True, ceiling=False),)),
    **dict.fromkeys(
        (DeniedError, FeatureDeniedError, LimitExceededError, LicenseDeniedError), lambda made: made(REFUSAL)
    ),
    **dict.fromkeys(
        (PayloadRejectedError, HubUnavailableError, HubRefusedError, ClaimError), lambda made: made("wrong", **CODED)
    ),
    **dict.fromkeys((StripeUnavailableError, StripeRejectedError), lambda made: made("wrong", **AT_STRIPE)),
}


def _kinds(root: type[KitError]) -> Iterator[type[KitError]]:
    for kind in root.__subclasses__():
        if not kind.__name__.startswith("_"):
            yield kind
        yield from _kinds(kind)


def _pickled(error: KitError, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - its own pickle


@pytest.mark.parametrize("kind", [KitError, *_kinds(KitError)], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "passed_on",
    [partial(_pickled, protocol=0), partial(_pickled, protocol=pickle.HIGHEST_PROTOCOL), copy.copy, copy.deepcopy],
    ids=["oldest pickle", "newest pickle", "copy", "deepcopy"],
)
def test_errors_are_passed_on(kind: type[KitError], passed_on: Callable[[KitError], Any]) -> None:
    """An error is the same afterwards: its kind, its message, and what is known besides."""
    error = MADE.get(kind, lambda made: made("wrong"))(kind)
    error.add_note("seen by the host")
    again = passed_on(error)
    assert type(again) is kind
    assert (str(again), again.args) == (str(error), error.args)
    assert dict(vars(again)) == dict(vars(error))


def _raised_within(error: Exception) -> KitError:
    with pytest.raises(KitError) as caught, storage_errors("take the limit"):
        raise error
    return caught.value


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(), ValueError(), KeyError()])
def test_what_a_store_raises_is_no_promise(error: Exception) -> None:
    """A store may fail after it did what was asked: that nothing was changed is not said, nor that a retry is safe."""
    told = _raised_within(error)
    assert type(told) is StorageError
    assert told.__cause__ is error
    assert str(told) == f"could not take the limit: {type(error).__name__}; its cause says more"


@pytest.mark.parametrize("error", [AttributeError("no take"), TypeError("2 arguments"), NameError("used")])
def test_a_mistake_in_a_stores_code_is_no_outage(error: Exception) -> None:
    """What no later call mends is not told as a store that is away."""
    told = _raised_within(error)
    assert type(told) is ConfigurationError
    assert told.__cause__ is error
    assert f"{type(error).__name__} in the code of the store" in str(told)
