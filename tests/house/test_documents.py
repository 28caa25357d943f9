"""What the documents list is what the code has."""

import importlib.util
from typing import Any

from tests.house.source_tree import ROOT


def faults() -> tuple[Any, ...]:
    specification = importlib.util.spec_from_file_location("faults", ROOT / "scripts/mutants/faults.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.MUTANTS


def test_every_mutant_can_be_planted() -> None:
    for mutant in faults():
        planted: dict[str, str] = {}
        for file, old, new in mutant.edits:
            text = planted.get(file) or (ROOT / file).read_text()
            assert text.count(old) == 1, f"{mutant.name}: {file}"
            planted[file] = text.replace(old, new)


def test_the_table_of_mutants_has_a_row_for_each() -> None:
    names = [mutant.name for mutant in faults()]
    rows = [
        line.split(" | ")[1]
        for line in (ROOT / "docs/mutants.md").read_text().splitlines()
        if line.startswith("| P")
    ]

    assert len(names) > 10
    assert rows == names
