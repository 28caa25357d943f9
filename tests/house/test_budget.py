"""What is dear to start is started by helpers that count it, and the budget names what is there."""

import re
import tomllib
from collections.abc import Mapping

import pytest

from scripts.tiers import RECORDS, release_parts
from tests.house.source_tree import ROOT

TESTS = ROOT / "tests"
BUDGET = tomllib.loads((TESTS / "budget.toml").read_text(encoding="utf-8"))

DOORS: Mapping[str, tuple[str, ...]] = {
    r"VllmEngine\.start\(|start_engine\(": ("tests/runtime/engines/engines_under_test.py",),
    r"""(?<!["'\w])_?ray\.init\((?!address=sys)|\bstart_ray\(|\bCluster\(\)""": (
        "tests/actors/populations.py",
        "tests/actors/ray_nodes.py",
    ),
    r"\.chromium\.launch\(": ("tests/runtime/gateway/console/browsing.py",),
    r'module, "serve"': ("tests/end_to_end/served.py",),
}
"""What starts something dear, and the helpers that count it."""

SLOW_MOST = 12


@pytest.mark.parametrize("pattern", DOORS)
def test_what_is_dear_is_started_by_the_helpers_that_count_it(pattern: str) -> None:
    starting = {
        str(path.relative_to(ROOT))
        for path in TESTS.rglob("*.py")
        if path.name != "test_budget.py" and re.search(pattern, path.read_text(encoding="utf-8"))
    }

    assert starting == {*DOORS[pattern]}
    assert all("count_start(" in (ROOT / door).read_text(encoding="utf-8") for door in DOORS[pattern])


def test_few_tests_are_slow_and_each_that_is_named_is_there() -> None:
    named: list[str] = BUDGET["long"]

    assert len(named) <= SLOW_MOST
    for name in named:
        file, test = name.split("[")[0].split("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name


def test_the_release_tier_marks_known_parts_and_records_what_passed() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")]
    marked = {part for text in texts for part in re.findall(r'mark\.release\("(\w+)"\)', text)}
    assert {*release_parts()} == marked | {"random"}

    for path in RECORDS.glob("*.toml"):
        record = tomllib.loads(path.read_text(encoding="utf-8"))
        assert path.stem in release_parts()
        assert record["passed"] > 0
        assert re.fullmatch("[0-9a-f]{64}", record["tree"])


def test_a_fixture_adds_no_mark_that_would_have_its_file_left_out() -> None:
    """``pytest_ignore_collect`` of ``tests/conftest.py`` looks for all others in the file itself."""
    adding = {
        mark
        for path in TESTS.rglob("conftest.py")
        for mark in re.findall(r"(?<!_)pytest\.mark\.(\w+)", path.read_text(encoding="utf-8"))
    }

    assert adding <= {"engine", "ray", "release", "timeout"}
