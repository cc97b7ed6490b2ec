"""Two replicas at once: every interleaving of their requests to Stripe and of their verbs of the store."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stripe_provision.explore import Ask, Program, Question, explore
from tests.stripe_provision.replicas import Shop
from tests.stripe_provision.schedule import Pause, interleave
from tests.stripe_provision.world import business, catalog, pro, require_goal, require_sellable

from kuploy_saas_kit.model.plan import PlanCatalog

EXHAUSTIVE = bool(os.environ.get("EXHAUSTIVE"))
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Two catalogs that two replicas apply at once to a shop that sells another; the second one is the newer."""

    before: PlanCatalog | None
    first: PlanCatalog
    second: PlanCatalog
    revisions: tuple[int, int] | None = None
    is_always_sellable: bool = True

    def open(self) -> tuple[Shop, list[Program]]:
        """The shop as it stands before, and the replicas."""
        shop = Shop()
        first, second = self.revisions or (None, None)
        if self.before is not None:
            before = shop.world.provisioner.provision(self.before, revision=None if first is None else 1)
            assert before.is_complete
        return shop, [shop.replica(self.first, first), shop.replica(self.second, second)]


SCENES = {
    "first": Scene(before=None, first=catalog(pro()), second=catalog(pro())),
    "price": Scene(before=catalog(pro(1000)), first=catalog(pro(2500)), second=catalog(pro(2500))),
    "two-prices": Scene(
        before=catalog(pro(1000)), first=catalog(pro(2500)), second=catalog(pro(3000)), revisions=(2, 3)
    ),
    "older-retires": Scene(
        before=catalog(pro(1000), business()),
        first=catalog(pro(is_active=False), business()),
        second=catalog(pro(3000), business()),
        revisions=(2, 3),
        is_always_sellable=False,
    ),
    "newer-retires": Scene(
        before=catalog(pro(1000), business()),
        first=catalog(pro(3000), business()),
        second=catalog(pro(is_active=False), business()),
        revisions=(2, 3),
        is_always_sellable=False,
    ),
}
"""One plan that changes is enough: plans share no object at Stripe and no row in the store, and a run applies them one
after the other. *business* only keeps the shop from being emptied. What replicas have in common beside the plans is the
list that they read and the fingerprint that they save, and both are in it.
"""
QUICK = ("first", "price")
"""Those that take a second; `make interleavings` explores the others."""


@pytest.mark.parametrize("name", SCENES)
def test_every_interleaving_of_two_replicas(name: str) -> None:
    """Both end, the newer catalog is sold and can be bought, and a next look at Stripe leaves nothing to mend.

    With one catalog, or two prices, what is sold can be bought at every instant (I2, I6, I13). Where one catalog
    retires the plan that another sells, an older one may take the product out of sale just after a newer one looked;
    it looks again itself and puts it back.
    """
    if name not in QUICK and not EXHAUSTIVE:
        pytest.skip("make interleavings")
    scene = SCENES[name]
    shop, replicas = scene.open()

    def look() -> None:
        for slug, (mapping, _, can_be_bought) in shop.sold().items():
            assert can_be_bought or not scene.is_always_sellable, f"{slug} is sold by {mapping}"

    found = explore(shop, replicas, look)
    assert found.interleavings > 100_000
    assert found.ends
    for end in found.ends:
        _require_newer(shop, scene, end)
    figures = (name, f"{found.interleavings:.2g}", found.states, len(found.ends))
    _log.info("%s: %s interleavings through %d states to %d ends", *figures)


def _require_newer(shop: Shop, scene: Scene, end: Any) -> None:
    wanted, revision = scene.second, scene.revisions[1] if scene.revisions else None
    shop.load(end)
    amounts = {plan.slug: plan.price.amount for plan in wanted if plan.price is not None and plan.is_billable}
    assert {slug: (amount, can) for slug, (_, amount, can) in shop.sold().items()} == {
        slug: (amount, True) for slug, amount in amounts.items()
    }
    if scene.revisions is None:
        require_goal(shop.world, wanted)
        assert len(shop.world.prices) == len({plan.price for plan in [*(scene.before or []), *wanted] if plan.price})
    assert shop.world.provisioner.provision(wanted, revision=revision, force=True).is_complete
    require_goal(shop.world, wanted)


@pytest.mark.parametrize("name", SCENES)
@given(st.lists(st.integers(0, 1), min_size=16, max_size=24))
@settings(max_examples=8)
def test_two_threads_end_with_the_newer_catalog(name: str, picks: list[int]) -> None:
    """The same with threads and whole gateways, in a few interleavings of their requests."""
    scene = SCENES[name]
    shop, _ = scene.open()
    world = shop.world

    def worker(wanted: PlanCatalog, revision: int | None) -> Callable[[Pause], None]:
        provisioner, wire = world.replica()

        def work(pause: Pause) -> None:
            wire.before = lambda _method, _path: pause()
            if scene.is_always_sellable:
                wire.after = lambda _method, _path, _answer: require_sellable(world)
            provisioner.provision(wanted, revision=revision)

        return work

    first, second = scene.revisions or (None, None)
    interleave([worker(scene.first, first), worker(scene.second, second)], picks)
    _require_newer(shop, scene, shop.save()[1])


def test_interleavings_are_those_of_mathematics() -> None:
    """Two programs of n steps each have (2n choose n) interleavings, though far fewer states."""
    register = Register()
    steps = [[("add", 1)] * 8, [("add", 1)] * 8]
    found = explore(register, [register.program(lane) for lane in steps])
    assert (found.interleavings, found.states, found.ends) == (12_870, 81, [{"x": 16, "y": 0}])


def test_what_a_look_raises_says_how_it_came_to_it() -> None:
    """The questions that led there stand in the note, in their order."""
    register = Register()

    def look() -> None:
        assert register.cells["x"] < 2

    with pytest.raises(AssertionError) as caught:
        explore(register, [register.program([("add", 1)]), register.program([("get", 0), ("add", 1)])], look)
    assert len(caught.value.__notes__[0].splitlines()) in {2, 3}


def test_a_program_that_is_none_is_noticed() -> None:
    """A program must ask the same after the same answers: otherwise states that look the same are not."""
    register, texts = Register(), iter(range(100))
    fickle = register.program([("add", 1), ("add", 1)])

    def program(ask: Ask) -> None:
        fickle(lambda question: ask(Question(f"{question.text} {next(texts)}", question.put)))

    with pytest.raises(AssertionError, match="something else"):
        explore(register, [program])


instructions = st.tuples(st.sampled_from(["get", "set", "add", "copy", "swap if odd"]), st.integers(0, 2))


@given(st.lists(st.lists(instructions, max_size=4), min_size=1, max_size=3))
def test_nothing_is_missed(lanes: list[list[tuple[str, int]]]) -> None:
    """Programs over two cells reach the very states, during and at the end, that running each interleaving reaches."""
    register = Register()
    seen: set[Hashable] = set()
    found = explore(register, [register.program(lane) for lane in lanes], lambda: seen.add(register.save()[0]))
    everything, ends = run_each(lanes)
    assert seen == everything
    assert {Register.name_of(end) for end in found.ends} == set(ends)
    assert found.interleavings == sum(ends.values())


class Register:
    """Two numbers, and programs whose next steps depend on what they read."""

    def __init__(self) -> None:
        self.cells = {"x": 0, "y": 0}

    @staticmethod
    def name_of(cells: dict[str, int]) -> Hashable:
        """The same for the same numbers."""
        return tuple(cells.items())

    def save(self) -> tuple[Hashable, Any]:
        """The numbers."""
        return self.name_of(self.cells), dict(self.cells)

    def load(self, saved: Any) -> None:
        """Bring numbers back."""
        self.cells = dict(saved)

    def program(self, lane: list[tuple[str, int]]) -> Program:
        """Does the instructions one by one; what it read last decides what some of them do."""

        def run(ask: Ask) -> None:
            last = 0
            for number, (verb, operand) in enumerate(lane):
                do = partial(self.do, verb, operand, last)
                last = ask(Question(f"{number} {verb} {operand} {last}", do))

        return run

    def do(self, verb: str, operand: int, last: int) -> int:
        """One instruction, given what was read last; what it reads."""
        cells = self.cells
        match verb:
            case "set":
                cells["x"] = operand
            case "add":
                cells["x"] += operand
            case "copy":
                cells["y"] = last
            case "swap if odd" if last % 2:
                cells["x"], cells["y"] = cells["y"], cells["x"]
            case _:
                return cells["y"] if operand else cells["x"]
        return last


def run_each(lanes: list[list[tuple[str, int]]]) -> tuple[set[Hashable], Counter[Hashable]]:
    """Every state that some interleaving goes through, and how many interleavings end in which; each is run whole."""
    everything: set[Hashable] = set()
    ends: Counter[Hashable] = Counter()

    def go(cells: dict[str, int], positions: tuple[int, ...], lasts: tuple[int, ...]) -> None:
        everything.add(Register.name_of(cells))
        is_end = True
        for number, lane in enumerate(lanes):
            if positions[number] == len(lane):
                continue
            is_end = False
            register = Register()
            register.load(cells)
            last = register.do(*lane[positions[number]], lasts[number])
            go(register.cells, _with(positions, number, positions[number] + 1), _with(lasts, number, last))
        if is_end:
            ends[Register.name_of(cells)] += 1

    go({"x": 0, "y": 0}, (0,) * len(lanes), (0,) * len(lanes))
    return everything, ends


def _with(numbers: tuple[int, ...], place: int, number: int) -> tuple[int, ...]:
    return (*numbers[:place], number, *numbers[place + 1 :])
