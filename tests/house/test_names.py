"""Files are named for what they hold."""

import pytest

from tests.house.source_tree import ROOT, Module, modules

EMPTY_WORDS = {"common", "core", "helper", "helpers", "manager", "misc", "tools", "util", "utils"}
LINES_MAX = 400


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_a_module_has_a_telling_name(module: Module) -> None:
    words = module.name.split(".")

    assert [word for word in words if word in EMPTY_WORDS or word.endswith(("_utils", "_helpers"))] == []


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.path)
def test_a_module_fits_the_length_that_can_be_read_at_once(module: Module) -> None:
    lines = (ROOT / module.path).read_text(encoding="utf-8").count("\n")

    assert lines <= LINES_MAX
