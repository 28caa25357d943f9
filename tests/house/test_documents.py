"""What the documents list is what the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.mutants.faults import MUTANTS
from tests.house.source_tree import ROOT, modules

PLACE = re.compile(r"`((?:runtime|actors|storage|policies)/[\w/]+\.py)(?::(\w+))?`")
TEST = re.compile(r"`(tests/[\w/.]+|test_\w+(?:\.py)?)`")
NAMED = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def test_what_the_documents_point_at_is_there() -> None:
    names = {
        module.path: {node.name for node in ast.walk(module.tree) if isinstance(node, NAMED)}
        for module in modules()
    }

    astray = [
        f"{document}: {path}:{name}" for document, path, name in _places() if not _is_there(names, path, name)
    ]
    assert astray == []


def test_the_tests_that_the_documents_name_are_there() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    laws = set(re.findall(r"def (test_\w+)", "".join(file.read_text(encoding="utf-8") for file in files)))
    known = laws | {file.name for file in files}

    named = [
        (document.name, test)
        for document in _documents()
        for test in TEST.findall(document.read_text(encoding="utf-8"))
    ]
    assert len(named) > 10
    assert [
        (document, test) for document, test in named if test not in known and not (ROOT / test).exists()
    ] == []


def _places() -> Iterator[tuple[str, str, str]]:
    for document in _documents():
        for path, name in PLACE.findall(document.read_text(encoding="utf-8")):
            # The mutants' table is of tests, whose folders have the rooms' names.
            if document.name != "mutants.md":
                yield document.name, path, name


def _documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _is_there(names: dict[str, set[str]], path: str, name: str) -> bool:
    return path in names and (not name or name in names[path])


def test_every_mutant_can_be_planted() -> None:
    for mutant in MUTANTS:
        planted: dict[str, str] = {}
        for file, old, new in mutant.edits:
            text = planted.get(file) or (ROOT / file).read_text()
            assert text.count(old) == 1, f"{mutant.name}: {file}"
            planted[file] = text.replace(old, new)


def test_the_table_of_mutants_has_a_row_for_each() -> None:
    names = [mutant.name for mutant in MUTANTS]
    rows = [
        line.split(" | ")[1]
        for line in (ROOT / "docs/mutants.md").read_text().splitlines()
        if line.startswith("| P")
    ]

    assert len(names) > 10
    assert rows == names
