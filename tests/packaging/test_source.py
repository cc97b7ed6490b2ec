"""What holds for every module of the kit: it is documented, and small enough to read."""

import ast
import builtins
import enum
import statistics
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
TREES = {name: ast.parse(text, name) for name, text in MODULES.items()}

MAX_FILE = 450
MAX_FUNCTION = 80
MAX_FUNCTION_95TH = 40
MAX_FUNCTION_MEDIAN = 12

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


def functions() -> Iterator[tuple[str, int]]:
    """Where each function stands, and its length in lines."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def public_definitions(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[ast.ClassDef | None, Definition]]:
    """The public classes, functions and methods of *tree*, each with the class that it stands in."""
    owner = tree if isinstance(tree, ast.ClassDef) else None
    for node in tree.body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield owner, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node)


def is_accessory(node: Definition) -> bool:
    """Whether *node* belongs to a documented thing of the same name: a setter, an overload, an override."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"setter", "deleter", "overload", "override"})


def bases(node: ast.ClassDef) -> set[str]:
    """The names of the classes that *node* is made of, without module and type arguments."""
    return {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}


def inherited_verbs(classes: list[ast.ClassDef]) -> set[str]:
    """The methods that are explained once for all who implement them: a port's, and the documented ones of a base."""
    extended = set().union(*map(bases, classes))
    return {
        method.name
        for owner in classes
        for method in owner.body
        if isinstance(method, Function)
        if "Protocol" in bases(owner) or (owner.name in extended and ast.get_docstring(method))
    }


def test_every_module_says_what_it_is() -> None:
    """Each module and package begins with a docstring."""
    assert [name for name, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_everything_public_is_documented() -> None:
    """Each public class, function and method has a docstring, its own or that of the port or base that it obeys."""
    classes = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    ours = {node.name for node in classes} | set(dir(builtins)) | set(enum.__all__)
    verbs = inherited_verbs(classes)
    silent = [
        f"{name}:{node.lineno} {node.name}"
        for name, tree in TREES.items()
        for owner, node in public_definitions(tree)
        if not ast.get_docstring(node) and not is_accessory(node)
        if not (owner and (node.name in verbs or bases(owner) - ours))
    ]
    assert silent == []


def test_no_file_is_too_long() -> None:
    """A file that outgrows 450 lines wants to be a room; only a conformance suite may be longer."""
    lengths = {name: text.count("\n") for name, text in MODULES.items() if "/testing/conformance" not in name}
    assert [name for name, lines in lengths.items() if lines > MAX_FILE] == []


def test_no_function_is_too_long() -> None:
    """No function is longer than 80 lines."""
    assert [(where, lines) for where, lines in functions() if lines > MAX_FUNCTION] == []


def test_functions_are_short_as_a_rule() -> None:
    """Half of all functions have at most 12 lines, 95 of 100 at most 40."""
    lengths = sorted(lines for _, lines in functions())
    assert statistics.median(lengths) <= MAX_FUNCTION_MEDIAN
    assert statistics.quantiles(lengths, n=20)[-1] <= MAX_FUNCTION_95TH
