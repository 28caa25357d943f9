"""What is computed from the readings: gains, how often writers are identified, and the picture of both."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from style.findings import (
    BaseReadings,
    Readings,
    SeedReadings,
    finding,
    findings_of,
    identified_from_another,
    identified_share,
)
from style.picture import Bar, picture

TOKENS = [[10, 20], [30, 10]]
"""Two people, two entries each."""


def at_loss(*losses: float) -> list[list[float]]:
    """Readings at each person's loss, in nats per token."""
    return [[-loss * count for count in own] for loss, own in zip(losses, TOKENS, strict=True)]


def readings(own: float, other: float) -> Readings:
    seed = SeedReadings(
        adapters=[at_loss(own, other), at_loss(other, own)],
        pooled=at_loss(3.25, 3.25),
        both=at_loss(2.0, 2.0),
        further=at_loss(2.5, 2.5),
        further_other=at_loss(3.0, 3.0),
        further_both=at_loss(1.75, 1.75),
        on_pooled=at_loss(2.25, 2.25),
        shares=[0.5, 0.0],
        strangers=at_loss(3.5, 3.5),
        on_strangers=at_loss(2.75, 3.25),
        shares_of_new=[1.0, 0.25],
        objections=[[], ["too far"]],
        divergence=[0.1, 0.3],
    )
    return Readings(["A", "B"], TOKENS, BaseReadings(at_loss(4.0, 4.0), at_loss(3.5, 3.5)), [seed, seed])


def test_a_gain_is_over_the_base_on_the_same_entries() -> None:
    found = findings_of(readings(own=3.0, other=3.75))

    gains = {one.name: one.mean for one in found.gains}
    assert gains == pytest.approx(
        {
            "another's adapter": 0.25,
            "everybody's adapter": 0.75,
            "own adapter": 1.0,
            "retrieval": 0.5,
            "own adapter + retrieval": 2.0,
            "another's, from everybody's": 1.0,
            "own, from everybody's": 1.5,
            "the same + retrieval": 2.25,
            "own, on everybody's": 1.75,
            "strangers' adapter": 0.5,
            "own, on strangers'": 1.0,
        }
    )
    differences = {one.name: one.mean for one in found.differences}
    assert differences["own over another's"] == pytest.approx(0.75)
    assert differences["both over retrieval"] == pytest.approx(1.5)
    assert differences["own from everybody's over everybody's"] == pytest.approx(0.75)
    assert differences["own on everybody's over everybody's"] == pytest.approx(1.0)
    assert differences["own on strangers' over strangers'"] == pytest.approx(0.5)
    assert differences["own on everybody's over own"] == pytest.approx(0.75)
    assert differences["own on everybody's over own from everybody's"] == pytest.approx(0.25)
    assert differences["own from everybody's over another's such"] == pytest.approx(0.5)
    assert np.array(found.losses) == pytest.approx(np.array([[3.0, 3.75], [3.75, 3.0]]))


def test_the_gate_and_the_shares_are_quoted() -> None:
    found = findings_of(readings(own=3.0, other=3.75))

    assert (found.promoted, found.divergence) == (0.5, pytest.approx(0.2))
    assert (found.share, found.share_of_new) == (0.25, 0.625)


def test_a_person_is_told_if_their_own_adapter_finds_it_likeliest() -> None:
    own, other = [[-1.0, -5.0, -1.0], [-9.0] * 3], [[-2.0, -2.0, -2.0], [-1.0] * 3]

    assert identified_share([own, other], 1) == pytest.approx([2 / 3, 1.0])
    assert identified_share([own, other], 2) == [0.0, 1.0], "what is left of a group does not count"
    assert identified_share([own, other], 7) == [0.0, 1.0], "who wrote less than a group is one"
    assert identified_share([own, other], None) == [0.0, 1.0]


def test_an_adapter_that_is_better_at_everybody_is_identified_from_another_by_chance() -> None:
    better, worse = [[-1.0, -1.0], [-1.0, -1.0]], [[-2.0, -2.0], [-2.0, -2.0]]

    assert sum(identified_from_another([better, worse])) / 2 == 0.5
    assert identified_from_another([[[-1.0], [-3.0]], [[-2.0], [-1.0]]]) == [1.0, 1.0]


def test_an_interval_is_as_wide_as_people_and_seeds_differ() -> None:
    same = finding("same", np.full((3, 8), 0.5))
    spread = finding("spread", np.random.default_rng(1).normal(0.5, 1.0, size=(3, 8)))

    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    assert spread.low < spread.mean < spread.high
    assert len(spread.each_seed) == 3


def test_the_picture_has_the_loss_of_each_pair_and_the_name_and_value_of_each_gain() -> None:
    bars = [Bar("own <adapter>", 0.5, 0.4, 0.6), Bar("another's", -0.1, -0.2, 0.05)]

    drawn = ElementTree.fromstring(picture(["A", "B"], [[1.0, 2.0], [2.5, 1.5]], bars))

    texts = {element.text for element in drawn.iter() if element.tag.endswith("}text")}
    assert texts >= {
        "1.00",
        "2.00",
        "2.50",
        "1.50",
        "+0.500",
        "-0.100",
        "own <adapter>",
        "another's",
        "A",
        "B",
    }
