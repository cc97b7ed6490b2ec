"""Form encoding with brackets, as Stripe's API takes it: `items[0][price]=price_1&metadata[org]=o`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl


def decode(encoded: str) -> dict[str, Any]:
    """The nested values of *encoded*; leaves are strings, and a list is a mapping from index to value."""
    root: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        _put(root, _segments(name), value)
    return root


def _segments(name: str) -> list[str]:
    head, _, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")] if rest else [head]


def _put(root: dict[str, Any], segments: list[str], value: str) -> None:
    node = root
    for segment in segments[:-1]:
        inner = node.get(segment)
        if not isinstance(inner, dict):
            inner = node[segment] = {}
        node = inner
    last = segments[-1] or str(len(node))
    node[last] = value


def bracketed(path: str, name: str) -> str:
    """The name of a nested parameter as Stripe prints it in `error.param`."""
    return f"{path}[{name}]" if path else name
