"""A report says of a population what its profiles say, also of one of nobody and of one."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from populace.actors.aggregation.report import population_report
from populace.actors.members import MemberView, Profile
from populace.actors.turn import ModelId
from populace.pictures.population import report_picture
from populace.policies.diversity.probes import DIGEST, LABELS


def member(name: str, right: np.ndarray | None, probes: str = DIGEST) -> MemberView:
    """One that is right where it says so, and else takes the next choice."""
    profile = None
    if right is not None:
        says = np.where(right, LABELS, (LABELS + 1) % 3)
        table = np.full((len(LABELS), 3), 0.05)
        table[np.arange(len(LABELS)), says] = 0.9
        profile = Profile("base", probes, 3, np.log(table).astype("<f2").tobytes(), float(right.mean()))
    return MemberView(ModelId("acme", name), "f" * 64, "base", "votes", 1, profile)


@pytest.fixture
def members() -> list[MemberView]:
    """Eight that are right on 70 % each for itself, a twin of the first, and two that nobody knows."""
    source = np.random.default_rng(1)
    rights = [source.random(len(LABELS)) < 0.7 for _ in range(8)]
    found = [member(f"member-{at}", right) for at, right in enumerate(rights)]
    return [*found, member("twin", rights[0]), member("new", None), member("old", rights[1], "q" * 64)]


def test_independent_members_are_better_together_and_a_twin_is_in_the_same_cluster(
    members: list[MemberView],
) -> None:
    report = population_report(members)

    places = {one.model: one for one in report.members}
    assert len(places) == 9
    assert report.unprofiled == ("new", "old")
    assert places["twin"].cluster == places["member-0"].cluster
    assert (places["twin"].x, places["twin"].y) == pytest.approx((places["member-0"].x, places["member-0"].y))
    assert report.clusters == 8
    assert [point.k for point in report.curve] == [1, 2, 4, 8]
    assert report.curve[0].mean == pytest.approx(report.mean, abs=0.03)
    assert report.curve[-1].mean > report.mean + 0.05
    assert report.curve[-1].low <= report.curve[-1].mean <= report.curve[-1].high
    assert report.logarithmic is not None
    assert report.logarithmic.parameters["b"][0] > 0
    assert 1 < report.effective_members <= 9


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_members_have_a_report_and_a_picture(members: list[MemberView], count: int) -> None:
    report = population_report(members[:count])

    texts = {element.text for element in ElementTree.fromstring(report_picture(report)).iter()}
    assert len(report.members) == count
    assert texts >= {member.model.name for member in members[:count]}


def test_the_picture_has_a_marker_for_each_member_and_a_line_for_the_best(members: list[MemberView]) -> None:
    picture = report_picture(population_report(members))

    [markers] = re.findall(r'<g id="PathCollection_1">(.*?)</g>', picture, re.DOTALL)
    assert markers.count("<path") == 9
    assert "best single member" in picture
    assert "member-3" in picture
