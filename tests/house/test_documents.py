"""What the documents list is what the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from scripts.mutants.faults import MUTANTS
from tests.house.source_tree import ROOT, modules

PLACE = re.compile(r"`((?:runtime|actors|storage|policies)/[\w/]+\.py)(?::(\w+))?`")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)|src=\"(?!\w+:)([^\"]+)\"")
"""A link or a picture of this repository: its path, its anchor, or the path of a tag."""

README_LINES_MAX = 150

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


def test_links_lead_to_files_and_headings() -> None:
    links = [
        (document, document.parent / (path or tagged) if path or tagged else document, anchor)
        for document in _linked_documents()
        for path, anchor, tagged in LINK.findall(_prose(document))
    ]

    assert len(links) > 100
    assert [
        f"{document.relative_to(ROOT)}: {target.name}#{anchor}"
        for document, target, anchor in links
        if not target.exists() or (anchor and anchor not in _anchors(target))
    ] == []


def test_the_index_of_the_documents_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")

    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES_MAX


def _linked_documents() -> list[Path]:
    return [*_documents(), ROOT / "SECURITY.md", *sorted((ROOT / "docs/measurements").glob("*.md"))]


def _prose(document: Path) -> str:
    """Return the document without its blocks of code, whose ``#`` begin no headings."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def _anchors(document: Path) -> set[str]:
    """Return the anchors of the document's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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
