"""Files are named for what they hold."""

from tests.house.source_tree import ROOT, modules

EMPTY_WORDS = {"common", "core", "helper", "helpers", "manager", "misc", "tools", "util", "utils"}
LINES_MAX = 400


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
