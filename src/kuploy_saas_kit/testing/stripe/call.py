"""One request as its endpoint sees it: already authenticated, routed and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kuploy_saas_kit.testing.stripe.refusals import invalid
from kuploy_saas_kit.testing.stripe.space import Row, Space


@dataclass(frozen=True, slots=True)
class Call:
    """The ids in the path and the typed parameters of one request."""

    ids: tuple[str, ...]
    params: Row

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.ids[0]

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter; an empty one, which unsets, is None."""
        value = self.params.get(name, default)
        return None if value == "" else value

    def given(self, *names: str) -> Row:
        """Those of *names* that were sent; empty ones as None."""
        return {name: self.get(name) for name in names if name in self.params}

    def refuse_both(self, first: str, second: str) -> None:
        """Refuse a request that sends two parameters which exclude each other."""
        if first in self.params and second in self.params:
            message = f"You may only specify one of these parameters: {first}, {second}."
            raise invalid(message, param=first, code="parameters_exclusive")


Handler = Callable[[Space, Call], Row]
"""An endpoint that answers one object."""
Lister = Callable[[Space, Call], list[Row]]
"""An endpoint that answers a list: all rows that match, oldest first."""
