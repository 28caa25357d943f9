"""Curves lie on each other at the same scale, each under its name."""

import xml.etree.ElementTree as ElementTree

import pytest

from populace.pictures.curves import curves_picture


def test_each_curve_is_drawn_at_one_scale_and_named() -> None:
    curves = {"PEFT <one>": [4.0, 2.0, 1.0], "shared by 8": [4.0, 2.0, 0.0]}

    drawn = ElementTree.fromstring(curves_picture("Loss", curves))

    [peft, ours] = [one.get("points", "").split() for one in drawn if one.tag.endswith("polyline")]
    assert peft[:2] == ours[:2], "where they are the same they lie on each other"
    assert float(ours[2].split(",")[1]) > float(peft[2].split(",")[1]), "the lower loss is further down"
    texts = [one.text for one in drawn if one.tag.endswith("text")]
    assert {"Loss", "PEFT <one>", "shared by 8", "0.00", "4.00", "1", "3"} <= set(texts)


def test_curves_that_are_level_or_of_one_step_are_drawn() -> None:
    for curve in ([2.0], [2.0, 2.0]):
        drawn = ElementTree.fromstring(curves_picture("Loss", {"PEFT": curve}))
        assert any(one.tag.endswith("polyline") for one in drawn)


def test_steps_that_have_places_are_drawn_there() -> None:
    drawn = ElementTree.fromstring(
        curves_picture("Votes", {"all": [0.0, 1.0, 2.0]}, places={"1": 0.0, "2": 1.0, "8": 3.0})
    )

    [line] = [one for one in drawn if one.tag.endswith("polyline")]
    first, second, last = (float(point.split(",")[0]) for point in line.get("points", "").split())
    assert last - second == pytest.approx(2 * (second - first), rel=0.01)
    assert {"1", "2", "8"} <= {one.text for one in drawn if one.tag.endswith("text")}
