"""Text that is read without the code beside it is plain: docstrings, help texts and error messages.

A list of words cannot tell good English from bad; these are habits that this code had.
"""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from tests.house.source_tree import modules

TICS = re.compile(r"\b(?:nobody|somebody|so many)\b", re.IGNORECASE)

BEGINNINGS = re.compile(r"\s*(Of|Who|For what)\s")
"""A docstring that begins with one of these continues the name beside it and says nothing alone."""

CLAUSES = re.compile(r"(?:How|What|When|Where|Whether|Which|Who|Whose|Why)\b")
"""A module whose first line begins with one of these is circumscribed and not named."""

LOOP_LINES_MAX = 3
"""A ``for`` statement with a longer body has to name what it walks; ``one`` is no name."""

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

Text = tuple[int, str]
"""The line on which a string literal begins, and its value."""


def test_texts_are_plain_and_loops_name_what_they_walk() -> None:
    offenders = [
        f"{module.path}:{line}: {reason}"
        for module in modules()
        for line, reason in sorted({*_tics(module.tree), *_nameless_loops(module.tree)})
    ]

    assert offenders == []


def test_a_modules_first_line_names_what_is_in_it() -> None:
    circumscribed = [
        module.path for module in modules() if CLAUSES.match(ast.get_docstring(module.tree) or "")
    ]

    assert circumscribed == []


def _tics(tree: ast.Module) -> Iterator[Text]:
    docstrings = list(_docstrings(tree))
    for line, text in (*docstrings, *_messages(tree)):
        yield from ((line, f"a text says {tic!r}") for tic in TICS.findall(text))
    for line, text in docstrings:
        if begins := BEGINNINGS.match(text):
            yield line, f"a docstring begins with {begins[1]!r}"


def _nameless_loops(tree: ast.Module) -> Iterator[Text]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor):
            names = {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
            lines = (node.body[-1].end_lineno or 0) - node.body[0].lineno + 1
            if "one" in names and lines > LOOP_LINES_MAX:
                yield node.lineno, f"a loop of {lines} lines calls what it walks 'one'"


def _docstrings(tree: ast.Module) -> Iterator[Text]:
    """Yield the docstrings of modules, public classes and functions, and those below attributes."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and _is_public(node):
            if isinstance(node.body[0] if node.body else None, ast.Expr):
                yield from _strings(node.body[0])
            for attribute, below in pairwise(node.body):
                if isinstance(attribute, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
                    yield from _strings(below)


def _is_public(node: DOCUMENTED) -> bool:
    return isinstance(node, ast.Module) or node.name == "__init__" or not node.name.startswith("_")


def _messages(tree: ast.Module) -> Iterator[Text]:
    """Yield the texts of ``help=``, of raised expressions, and of calls of ``super().__init__``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "help":
            yield from _strings(node.value)
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield from _strings(node.exc)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
            yield from _strings(node)


def _strings(node: ast.AST) -> Iterator[Text]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.lineno, part.value
