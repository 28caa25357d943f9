"""Curves share one scale, each under its name."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from populace.pictures.curves import curves_picture
from populace.pictures.figures import COLORS


def texts_of(picture: str) -> set[str]:
    """Return the texts of a chart."""
    return {
        element.text or ""
        for element in ElementTree.fromstring(picture).iter()
        if element.tag.endswith("}text")
    }


def points_of(picture: str, color: str) -> list[tuple[float, float]]:
    """Return the points of the curve that has this colour, in points from the upper left corner."""
    curve = next(
        element
        for element in ElementTree.fromstring(picture).iter()
        if f"stroke: {color}" in element.get("style", "") and "L" in element.get("d", "")
    )
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", curve.get("d", ""))]


def test_each_curve_is_drawn_at_one_scale_and_named() -> None:
    curves = {"PEFT <one>": [4.0, 2.0, 1.0], "shared by 8": [4.0, 2.0, 0.0]}

    picture = curves_picture("Loss of $x$ and $y$", curves)

    peft, shared = (points_of(picture, color) for color in COLORS[:2])
    assert peft[:2] == shared[:2], "where they are the same they lie on each other"
    assert shared[2][1] > peft[2][1], "the lower loss is further down"
    assert {"Loss of $x$ and $y$", "PEFT <one>", "shared by 8", "step", "1", "3"} <= texts_of(picture)


def test_curves_that_are_level_or_of_one_step_are_drawn() -> None:
    for curve in ([2.0], [2.0, 2.0]):
        assert "PEFT" in texts_of(curves_picture("Loss", {"PEFT": curve}))


def test_a_curve_may_end_before_the_longest_does() -> None:
    picture = curves_picture("Loss", {"long": [3.0, 2.0, 1.0], "short": [3.0, 2.0]})

    assert [len(points_of(picture, color)) for color in COLORS[:2]] == [3, 2]


def test_steps_that_have_places_are_drawn_there() -> None:
    picture = curves_picture("Votes", {"all": [0.0, 1.0, 3.0]}, places={"1": 0.0, "2": 1.0, "8": 3.0})

    first, second, last = (x for x, _ in points_of(picture, COLORS[0]))
    assert last - second == pytest.approx(2 * (second - first), rel=0.01)
    assert {"1", "2", "8"} <= texts_of(picture)
