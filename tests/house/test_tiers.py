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


def recipe_of(target: str) -> str:
    [recipe] = re.findall(rf"^{target}: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return recipe


def test_whatever_marks_a_test_has_it_is_in_exactly_one_tier() -> None:
    expressions = dict(re.findall(r"^(\w+) := (.*)$", MAKEFILE, re.MULTILINE))

    for has in itertools.product([False, True], repeat=len(marks())):
        marked = dict(zip(marks(), has, strict=True))
        tiers = [tier for tier, name in TIERS.items() if eval(expressions[name], {}, marked)]
        assert len(tiers) == 1, (marked, tiers)


def test_each_target_runs_its_tier_and_pytest_itself_leaves_none_out() -> None:
    for target, name in TIERS.items():
        asked = re.findall(r'-m "([^"]*)"', recipe_of(target).replace("$(CHOSEN)", CHOSEN))
        assert asked == [f"$({name})"]
    assert "-m" not in project()["tool"]["pytest"]["ini_options"]["addopts"]


def test_continuous_integration_runs_every_tier_but_the_releases_and_make_test_first() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert script.rstrip().endswith("make --no-print-directory ci </dev/null")

    asked = re.findall(r"\$\$step ([\w-]+)", recipe_of("ci"))
    assert asked == ["test", "lint", "test-engines", "test-faults", "tiers"]
    [named] = re.findall(r"tiers\.py ([\w -]+)$", recipe_of("tiers"), re.MULTILINE)
    assert named.split() == asked[:-1]
    [everything] = re.findall(r"--keep-going ([\w -]+)$", recipe_of("test-all"), re.MULTILINE)
    assert everything.split() == [*asked[:-1], "test-release"]
