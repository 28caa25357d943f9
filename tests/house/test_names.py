"""Files are named for what they hold, and packages say what that is."""

import ast

from tests.house.source_tree import modules

EMPTY_WORDS = {"common", "core", "helper", "helpers", "manager", "misc", "tools", "util", "utils"}
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


def test_packages_say_what_lives_in_them() -> None:
    told = {
        module.path: len((ast.get_docstring(module.tree) or "").splitlines())
        for module in modules()
        if module.path.endswith("__init__.py")
    }

    assert {path: lines for path, lines in told.items() if lines not in PACKAGE_LINES} == {}
