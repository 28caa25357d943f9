"""What the documents list is what the code has."""

import re

from tests.house.source_tree import ROOT

MUTANT_NAMES = re.compile(r"    Mutant\(\n        (\".*\"),\n")


def test_the_table_of_mutants_has_a_row_for_each() -> None:
    names = [name[1:-1] for name in MUTANT_NAMES.findall((ROOT / "scripts/mutants.py").read_text())]
    rows = [
        line.split(" | ")[1]
        for line in (ROOT / "docs/mutants.md").read_text().splitlines()
        if line.startswith("| P")
    ]

    assert len(names) > 10
    assert rows == names
