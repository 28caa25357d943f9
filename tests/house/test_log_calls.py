"""A log call marks the names that it tells, and is given nothing that was said."""

import ast
from collections.abc import Iterator

from tests.house.source_tree import modules

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
NAMES = {"name", "tenant"}
SAID = {"content", "messages", "prompt", "reply", "text", "words"}
OF_NO_PERSON = {"host.name", "operation.name", "prepared.name"}
"""Names of our own processes and operations, and of base models."""


def test_no_log_call_tells_a_name_that_is_not_marked_nor_anything_that_was_said() -> None:
    telling = [
        f"{module.path}:{call.lineno} tells {ast.unparse(argument)}"
        for module in modules()
        for call in _log_calls(module.tree)
        for argument in call.args[1:]
        if _tells(argument)
    ]

    assert telling == []


def test_the_calls_are_found() -> None:
    assert sum(1 for module in modules() for _ in _log_calls(module.tree)) > 40


def _log_calls(tree: ast.Module) -> Iterator[ast.Call]:
    calls = {f"logger.{level}" for level in LEVELS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in calls:
            yield node


def _tells(argument: ast.expr) -> bool:
    if isinstance(argument, ast.Starred):  # the parts of a model's id, which is marked as a whole
        return True
    last = argument.attr if isinstance(argument, ast.Attribute) else ast.unparse(argument)
    return last in NAMES | SAID and ast.unparse(argument) not in OF_NO_PERSON
