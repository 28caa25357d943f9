"""Names beside each other can be read."""

import random

from populace.pictures.population import LABEL_HEIGHT, LABEL_WIDTH, apart


def test_labels_that_would_lie_on_each_other_are_moved_apart() -> None:
    source = random.Random(0)
    places = [(source.uniform(0, 100), source.uniform(0, 60)) for _ in range(30)]

    moved = apart(places)

    for at, (x, y) in enumerate(moved):
        assert (x, y >= places[at][1]) == (places[at][0], True), "only down"
        for other_x, other_y in moved[:at]:
            assert abs(other_x - x) >= LABEL_WIDTH or abs(other_y - y) >= LABEL_HEIGHT - 0.01


def test_labels_with_room_stay_where_they_are() -> None:
    places = [(0.0, 0.0), (0.0, LABEL_HEIGHT), (LABEL_WIDTH, 3.0)]

    assert apart(places) == places


def test_members_at_the_same_place_are_all_named() -> None:
    assert apart([(5.0, 5.0)] * 3) == [(5.0, 5.0), (5.0, 5.0 + LABEL_HEIGHT), (5.0, 5.0 + 2 * LABEL_HEIGHT)]
