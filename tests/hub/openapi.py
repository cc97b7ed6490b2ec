"""The published OpenAPI file as something that can be checked against: the parts of JSON Schema that it uses.

A keyword that is not known here is an error, so that nothing in the file goes unchecked.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

FILE = Path(__file__).parents[2] / "docs" / "hub-protocol" / "openapi.yaml"

_ANNOTATIONS = {"description", "examples", "format", "type"}
_TYPES: dict[str, type | tuple[type, ...]] = {"object": dict, "array": list, "string": str, "boolean": bool}


class OpenApi:
    """The paths and schemas of the file."""

    def __init__(self) -> None:
        yaml = pytest.importorskip("yaml")
        self.document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))

    def resolve(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """The node with its reference, if it has one, put in its place."""
        resolved = dict(node)
        while "$ref" in resolved:
            target: Any = self.document
            for part in resolved.pop("$ref").removeprefix("#/").split("/"):
                target = target[part]
            resolved = {**target, **resolved}
        return resolved

    def request(self, path: str) -> dict[str, Any]:
        """The schema of a request's body."""
        return self.resolve(self._operation(path)["requestBody"]["content"]["application/json"]["schema"])

    def statuses(self, path: str) -> set[int]:
        """The documented statuses."""
        return {int(status) for status in self._operation(path)["responses"]}

    def response(self, path: str, status: int) -> dict[str, Any]:
        """The schema of a response's body."""
        response = self.resolve(self._operation(path)["responses"][str(status)])
        return self.resolve(response["content"]["application/json"]["schema"])

    def headers(self, path: str, status: int) -> set[str]:
        """The documented headers of a response, in lower case."""
        response = self.resolve(self._operation(path)["responses"][str(status)])
        return {name.lower() for name in response.get("headers", {})}

    def schema(self, name: str) -> dict[str, Any]:
        """A named schema."""
        return self.resolve({"$ref": f"#/components/schemas/{name}"})

    def _operation(self, path: str) -> dict[str, Any]:
        operation: dict[str, Any] = self.document["paths"][path]["post"]
        return operation

    def problems(self, value: Any, schema: Mapping[str, Any], at: str = "$") -> list[str]:
        """What of *value* is not as *schema* has it."""
        resolved = self.resolve(schema)
        found = _type(value, resolved["type"], at) if "type" in resolved else []
        if found:
            return found
        for keyword, wanted in resolved.items():
            if keyword not in _ANNOTATIONS:
                found += _KEYWORDS[keyword](self, value, wanted, at)
        if isinstance(value, dict):
            # What the hub says is written down; what it does not say yet may be said by others.
            found += self._unwritten(value, resolved, at)
        return found

    def _unwritten(self, value: dict[str, Any], schema: Mapping[str, Any], at: str) -> list[str]:
        if "properties" not in schema:
            return []
        return [f"{at}.{name} is not documented" for name in value.keys() - schema["properties"].keys()]

    def values(self, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
        """Values that are as *schema* has them."""
        node = self.resolve(schema)
        if "const" in node:
            return st.just(node["const"])
        makers: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
            "string": _strings,
            "integer": lambda node: st.integers(node.get("minimum"), node.get("maximum")),
            "array": lambda node: st.lists(self.values(node["items"]), max_size=min(node["maxItems"], 5)),
            "object": self._objects,
        }
        return makers[node["type"]](node)

    def _objects(self, node: dict[str, Any]) -> st.SearchStrategy[Any]:
        if "properties" not in node:
            return st.dictionaries(
                self.values(node["propertyNames"]), self.values(node["additionalProperties"]), max_size=5
            )
        made = {name: self.values(schema) for name, schema in node["properties"].items()}
        required = {name: made.pop(name) for name in node["required"]}
        return st.fixed_dictionaries(required, optional=made)


def _strings(node: dict[str, Any]) -> st.SearchStrategy[str]:
    if node.get("format") == "date-time":
        return st.datetimes().map(lambda instant: instant.isoformat() + "Z")
    longest = node.get("maxLength", 512)
    alphabet = st.characters(codec="utf-8")
    return st.from_regex(re.compile(node["pattern"].replace("$", r"\Z")), alphabet=alphabet).filter(
        lambda text: len(text) <= longest
    )


def _type(value: Any, wanted: str, at: str) -> list[str]:
    if wanted == "integer":
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, _TYPES[wanted])
    return [] if fits else [f"{at} is no {wanted}"]


def _one_of(openapi: OpenApi, value: Any, choices: list[dict[str, Any]], at: str) -> list[str]:
    fitting = [choice for choice in choices if not openapi.problems(value, choice, at)]
    return [] if len(fitting) == 1 else [f"{at} fits {len(fitting)} of the choices"]


def _properties(openapi: OpenApi, value: Any, wanted: dict[str, Any], at: str) -> list[str]:
    present = wanted.keys() & value.keys()
    return [problem for name in present for problem in openapi.problems(value[name], wanted[name], f"{at}.{name}")]


def _additional(openapi: OpenApi, value: Any, wanted: dict[str, Any], at: str) -> list[str]:
    return [problem for name in value for problem in openapi.problems(value[name], wanted, f"{at}.{name}")]


def _names(openapi: OpenApi, value: Any, wanted: dict[str, Any], at: str) -> list[str]:
    return [problem for name in value for problem in openapi.problems(name, wanted, f"{at}.{name}")]


def _items(openapi: OpenApi, value: Any, wanted: dict[str, Any], at: str) -> list[str]:
    return [problem for place, item in enumerate(value) for problem in openapi.problems(item, wanted, f"{at}[{place}]")]


def _dependent(_: OpenApi, value: Any, wanted: dict[str, list[str]], at: str) -> list[str]:
    return [
        f"{at} has {name} and not all of {others}"
        for name, others in wanted.items()
        if name in value and not value.keys() >= set(others)
    ]


def _rule(fits: Callable[[Any, Any], bool], words: str) -> Callable[[OpenApi, Any, Any, str], list[str]]:
    def check(_: OpenApi, value: Any, wanted: Any, at: str) -> list[str]:
        return [] if fits(value, wanted) else [f"{at} {words} {wanted}"]

    return check


_KEYWORDS: dict[str, Callable[[OpenApi, Any, Any, str], list[str]]] = {
    "oneOf": _one_of,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "items": _items,
    "dependentRequired": _dependent,
    "required": _rule(lambda value, wanted: value.keys() >= set(wanted), "lacks some of"),
    "const": _rule(lambda value, wanted: value is wanted or (type(value) is int and value == wanted), "is not"),
    "enum": _rule(lambda value, wanted: value in wanted, "is none of"),
    "pattern": _rule(lambda value, wanted: re.search(wanted, value) is not None, "does not match"),
    "minimum": _rule(lambda value, wanted: value >= wanted, "is below"),
    "maximum": _rule(lambda value, wanted: value <= wanted, "is above"),
    "minLength": _rule(lambda value, wanted: len(value) >= wanted, "is shorter than"),
    "maxLength": _rule(lambda value, wanted: len(value) <= wanted, "is longer than"),
    "minItems": _rule(lambda value, wanted: len(value) >= wanted, "has fewer items than"),
    "maxItems": _rule(lambda value, wanted: len(value) <= wanted, "has more items than"),
    "maxProperties": _rule(lambda value, wanted: len(value) <= wanted, "has more properties than"),
}
