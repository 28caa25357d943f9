"""Files are named for what they hold, and packages say what that is."""

import ast

from tests.house.source_tree import ROOT, modules

EMPTY_WORDS = {"common", "core", "helper", "helpers", "manager", "misc", "tools", "util", "utils"}
LINES_MAX = 400
PACKAGE_LINES = range(4, 13)


def test_modules_have_telling_names() -> None:
    empty = [
        module.path
        for module in modules()
        if any(
            word in EMPTY_WORDS or word.endswith(("_utils", "_helpers")) for word in module.name.split(".")
        )
    ]

    assert empty == []


def test_modules_fit_the_length_that_can_be_read_at_once() -> None:
    lines = {module.path: (ROOT / module.path).read_text("utf-8").count("\n") for module in modules()}

    assert {path: count for path, count in lines.items() if count > LINES_MAX} == {}


def test_packages_say_what_lives_in_them() -> None:
    told = {
        module.path: len((ast.get_docstring(module.tree) or "").splitlines())
        for module in modules()
        if module.path.endswith("__init__.py")
    }

    assert {path: lines for path, lines in told.items() if lines not in PACKAGE_LINES} == {}
