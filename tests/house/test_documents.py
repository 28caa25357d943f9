"""What the documents list is what the code has."""

import importlib.util
import re

from tests.house.source_tree import ROOT

MUTANT_NAMES = re.compile(r"    Mutant\(\n        (\".*\"),\n")


def test_every_mutant_can_be_planted() -> None:
    specification = importlib.util.spec_from_file_location("mutants", ROOT / "scripts/mutants.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    for mutant in module.MUTANTS:
        planted: dict[str, str] = {}
        for file, old, new in mutant.edits:
            text = planted.get(file) or (ROOT / file).read_text()
            assert text.count(old) == 1, f"{mutant.name}: {file}"
            planted[file] = text.replace(old, new)


def test_the_table_of_mutants_has_a_row_for_each() -> None:
    names = [name[1:-1] for name in MUTANT_NAMES.findall((ROOT / "scripts/mutants.py").read_text())]
    rows = [
        line.split(" | ")[1]
        for line in (ROOT / "docs/mutants.md").read_text().splitlines()
        if line.startswith("| P")
    ]

    assert len(names) > 10
    assert rows == names
