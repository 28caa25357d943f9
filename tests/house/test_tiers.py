"""Each test is in exactly one of the tiers of the Makefile, and continuous integration runs them all."""

import itertools
import re

from tests.house.source_tree import ROOT, project

TIERS = {
    "test": "PLAIN",
    "test-engines": "ENGINES",
    "test-faults": "FAULTS",
    "test-clients": "CLIENTS",
    "test-studies": "STUDIES",
}
"""The targets, and the names of their expressions over the marks."""

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def marks() -> list[str]:
    listed: list[str] = project()["tool"]["pytest"]["ini_options"]["markers"]
    return [mark.split(":")[0] for mark in listed]


def test_whatever_marks_a_test_has_it_is_in_exactly_one_tier() -> None:
    expressions = dict(re.findall(r"^(\w+) := (.*)$", MAKEFILE, re.MULTILINE))

    for has in itertools.product([False, True], repeat=len(marks())):
        marked = dict(zip(marks(), has, strict=True))
        tiers = [tier for tier, name in TIERS.items() if eval(expressions[name], {}, marked)]
        assert len(tiers) == 1, (marked, tiers)


def test_each_target_runs_its_tier_and_pytest_itself_leaves_none_out() -> None:
    for target, name in TIERS.items():
        [recipe] = re.findall(rf"^{target}: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
        asked = re.findall(r'-m "([^"]*)"', recipe)
        halves = [f"($({name})) and not beside_servers", f"($({name})) and beside_servers"]
        assert asked in ([f"$({name})"], halves)
    assert "-m" not in project()["tool"]["pytest"]["ini_options"]["addopts"]


def test_continuous_integration_runs_every_tier_and_make_test_first() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")

    for runner in (script, re.findall(r"^test-all: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[0]):
        [asked] = re.findall(r"--keep-going[ \\\n]+((?:test[\w-]* ?)+)", runner)
        assert asked.split() == list(TIERS)
