"""Each test is in exactly one of the tiers of the Makefile; CI runs all but the release's."""

import itertools
import re

from tests.house.source_tree import ROOT, project

TIERS = {
    "test": "PLAIN",
    "test-engines": "ENGINES",
    "test-faults": "FAULTS",
    "test-release": "RELEASE",
}
"""The targets, and the names of their expressions over the marks."""

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

CHOSEN = '-m "$(RELEASE)" --part $(PART)'
"""What the Makefile has for each part of the release tier that is a mark's."""


def marks() -> list[str]:
    listed: list[str] = project()["tool"]["pytest"]["ini_options"]["markers"]
    return [re.split(r"[:(]", mark)[0] for mark in listed]


def test_whatever_marks_a_test_has_it_is_in_exactly_one_tier() -> None:
    expressions = dict(re.findall(r"^(\w+) := (.*)$", MAKEFILE, re.MULTILINE))

    for has in itertools.product([False, True], repeat=len(marks())):
        marked = dict(zip(marks(), has, strict=True))
        tiers = [tier for tier, name in TIERS.items() if eval(expressions[name], {}, marked)]
        assert len(tiers) == 1, (marked, tiers)


def test_each_target_runs_its_tier_and_pytest_itself_leaves_none_out() -> None:
    for target, name in TIERS.items():
        [recipe] = re.findall(rf"^{target}: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
        asked = re.findall(r'-m "([^"]*)"', recipe.replace("$(CHOSEN)", CHOSEN))
        assert asked == [f"$({name})"]
    assert "-m" not in project()["tool"]["pytest"]["ini_options"]["addopts"]


def test_continuous_integration_runs_every_tier_but_the_releases_and_make_test_first() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    [recipe] = re.findall(r"^test-all: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)

    for runner, expected in ((script, list(TIERS)[:-1]), (recipe, list(TIERS))):
        [asked] = re.findall(r"--keep-going[ \\\n]+((?:(?:test[\w-]*|lint) ?)+)", runner)
        assert asked.split() == [expected[0], "lint", *expected[1:]]
