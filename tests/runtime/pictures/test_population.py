"""Names beside members do not overlap, and the chart says what the report says."""

import random
import re

import pytest

from populace.actors.aggregation.report import CurvePoint, MemberPlace, PopulationReport
from populace.pictures.population import LABEL_HEIGHT, NAMED_MAX, apart, report_picture


def report(members: tuple[MemberPlace, ...]) -> PopulationReport:
    curve = (CurvePoint(1, 0.6, 0.5, 0.7), CurvePoint(2, 0.65, 0.55, 0.75), CurvePoint(4, 0.72, 0.7, 0.8))
    return PopulationReport(
        members, (), len(members), len(members), 3, 0.3, 0.1, 0.2, 2.5, 0.77, 0.6, curve, None, None
    )


def crowd(count: int) -> tuple[MemberPlace, ...]:
    source = random.Random(0)
    return tuple(
        MemberPlace(
            f"member-{index:03}",
            index / count,
            index % 3,
            source.gauss(0, 0.1),
            source.gauss(0, 0.1),
            "votes",
        )
        for index in range(count)
    )


def labels_of(picture: str) -> dict[str, tuple[float, float]]:
    """Return the lower left corner of each member's name, in points."""
    found = re.findall(r'<text [^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>(member-\d+)</text>', picture)
    return {name: (float(x), float(y)) for x, y, name in found}


def test_names_in_a_crowd_do_not_overlap() -> None:
    labels = labels_of(report_picture(report(crowd(NAMED_MAX))))

    assert len(labels) == NAMED_MAX
    places = list(labels.values())
    width = 9 * 10 * 0.5
    """Ten characters of 9 points are wider than this."""
    for index, (x, y) in enumerate(places):
        for other_x, other_y in places[:index]:
            assert abs(other_x - x) >= width or abs(other_y - y) >= LABEL_HEIGHT - 0.02


def test_of_many_members_those_with_the_most_right_answers_are_named() -> None:
    labels = labels_of(report_picture(report(crowd(3 * NAMED_MAX))))

    assert sorted(labels) == [f"member-{index:03}" for index in range(2 * NAMED_MAX, 3 * NAMED_MAX)]


def test_the_chart_has_the_accuracies_of_votes_and_of_the_best_member() -> None:
    picture = report_picture(report(crowd(4)))

    for words in ("best single member 77%", ">60%<", ">65%<", ">72%<"):
        assert words in picture


def test_labels_move_up_only_and_until_none_overlaps() -> None:
    source = random.Random(0)
    labels = [(source.uniform(0, 100), source.uniform(0, 60), source.uniform(20, 80)) for _ in range(30)]

    rises = apart(labels)

    moved = [(left, bottom + rise, width) for (left, bottom, width), rise in zip(labels, rises, strict=True)]
    assert min(rises) == 0
    for index, (left, bottom, width) in enumerate(moved):
        for other_left, other_bottom, other_width in moved[:index]:
            beside = left < other_left + other_width and other_left < left + width
            assert not beside or abs(other_bottom - bottom) >= LABEL_HEIGHT - 0.02


def test_labels_with_room_stay_where_they_are() -> None:
    assert apart([(0.0, 0.0, 70.0), (0.0, LABEL_HEIGHT, 70.0), (70.0, 3.0, 70.0)]) == [0.0, 0.0, 0.0]


def test_members_at_the_same_place_are_all_named() -> None:
    assert apart([(5.0, 5.0, 70.0)] * 3) == pytest.approx([0.0, LABEL_HEIGHT, 2 * LABEL_HEIGHT])
