"""Every interleaving of programs that share a state, with each state that they can reach visited once.

A program is a function of the answers that it was given. So where the shared state and the answers of every program
are the same, all that can follow is the same, whichever interleaving led there: nothing is assumed about which steps
commute. Programs are run again from their beginning with the answers that they had, up to their next question.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias


@dataclass(frozen=True)
class Question:
    """One step: *text* says what is asked, and questions of the same text do the same to the same state."""

    text: str
    put: Callable[[], Any] = field(compare=False, repr=False)


Ask: TypeAlias = Callable[[Question], Any]
Program: TypeAlias = Callable[[Ask], None]


class Shared(Protocol):
    """What the programs share: all that a question reads or changes is in what is saved."""

    def save(self) -> tuple[Hashable, Any]:
        """What tells this state from others, and what brings it back."""

    def load(self, saved: Any) -> None:
        """Bring a state back."""


@dataclass(frozen=True)
class Exploration:
    """What was found. *states* counts those of the programs and what they share together; *ends* are shared ones."""

    states: int
    interleavings: int
    ends: Sequence[Any]


def explore(shared: Shared, programs: Sequence[Program], look: Callable[[], None] = lambda: None) -> Exploration:
    """Run *programs* in every interleaving of their questions from the present state; *look* at every shared state.

    What *look* raises is raised here, with the questions that led there as its note.
    """
    search = _Search(shared, programs, look)
    search.run()
    return Exploration(
        states=len(search.after),
        interleavings=search.ways[search.first],
        ends=[search.steps.saved[end] for end in sorted(search.ends)],
    )


_State: TypeAlias = tuple[int, tuple[int, ...]]
"""The number of the shared state, and for each program that of the answers it was given."""


class _Search:
    """Depth first; a state is left when all that follows is known."""

    def __init__(self, shared: Shared, programs: Sequence[Program], look: Callable[[], None]) -> None:
        self.lanes = [_Lane(program) for program in programs]
        self.steps = _Steps(shared, look)
        self.first: _State = (self.steps.enter(), (0,) * len(self.lanes))
        self.after: dict[_State, list[_State]] = {}
        self.ways: dict[_State, int] = {}
        self.ends: set[int] = set()
        self._came: dict[_State, tuple[_State, str]] = {}

    def run(self) -> None:
        stack = [self.first]
        while stack:
            state = stack[-1]
            if state in self.after:
                self._leave(stack.pop())
                continue
            self.after[state] = list(self._successors(state))
            stack += [one for one in self.after[state] if one not in self.after]

    def _leave(self, state: _State) -> None:
        if state in self.ways:
            return
        self.ways[state] = sum(self.ways[one] for one in self.after[state]) or 1
        if not self.after[state]:
            self.ends.add(state[0])

    def _successors(self, state: _State) -> Iterator[_State]:
        shared, positions = state
        for number, lane in enumerate(self.lanes):
            question = lane.question(positions[number])
            if question is None:
                continue
            step = f"{number}: {question.text}"
            try:
                reached, text, answer = self.steps.take(shared, question)
            except AssertionError as error:
                error.add_note("\n".join([*self._way_to(state), step]))
                raise
            position = lane.given(positions[number], text, answer)
            following = (reached, (*positions[:number], position, *positions[number + 1 :]))
            self._came.setdefault(following, (state, step))
            yield following

    def _way_to(self, state: _State) -> list[str]:
        way = []
        while state in self._came:
            state, step = self._came[state]
            way.append(step)
        return way[::-1]


class _Steps:
    """The shared states by number, and where each question leads from each of them."""

    def __init__(self, shared: Shared, look: Callable[[], None]) -> None:
        self.saved: list[Any] = []
        self._shared = shared
        self._look = look
        self._numbers: dict[Hashable, int] = {}
        self._taken: dict[tuple[int, str], tuple[int, str, Any]] = {}

    def enter(self) -> int:
        """The number of the present state."""
        name, saved = self._shared.save()
        if name not in self._numbers:
            self._numbers[name] = len(self.saved)
            self.saved.append(saved)
            self._look()
        return self._numbers[name]

    def take(self, state: int, question: Question) -> tuple[int, str, Any]:
        """The state that the question leads to, and its answer: as text, and as it is."""
        if (state, question.text) not in self._taken:
            self._shared.load(self.saved[state])
            answer = question.put()
            self._taken[state, question.text] = (self.enter(), repr(answer), answer)
        return self._taken[state, question.text]


class _AskedError(BaseException):
    def __init__(self, question: Question) -> None:
        super().__init__(question.text)
        self.question = question


class _Lane:
    """One program: what it asks next, for every sequence of answers that it may have been given so far."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._numbers: dict[tuple[int, str], int] = {}
        self._parents: list[tuple[int, Any]] = [(0, None)]
        self._questions: dict[int, Question | None] = {}

    def question(self, position: int) -> Question | None:
        """What the program asks after these answers, or None where it is done."""
        if position not in self._questions:
            self._questions[position] = self._run(position)
        return self._questions[position]

    def given(self, position: int, text: str, answer: Any) -> int:
        """The number of these answers and one more."""
        if (position, text) not in self._numbers:
            self._numbers[position, text] = len(self._parents)
            self._parents.append((position, answer))
        return self._numbers[position, text]

    def _run(self, position: int) -> Question | None:
        history = list(self._history(position))[::-1]
        asked = iter(history)

        def ask(question: Question) -> Any:
            for expected, answer in asked:
                assert question.text == expected, "a program asked something else after the same answers"
                return answer
            raise _AskedError(question)

        try:
            self._program(ask)
        except _AskedError as error:
            return error.question
        return None

    def _history(self, position: int) -> Iterator[tuple[str, Any]]:
        """The questions and answers up to here, the last one first."""
        while position:
            position, answer = self._parents[position]
            question = self._questions[position]
            assert question is not None
            yield question.text, answer
