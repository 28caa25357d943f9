"""How soon a shard that could not be opened is tried again."""

import pytest

from populace.policies.reopening import SECONDS_AWAY_MAX, SECONDS_MAX, seconds_until_next


@pytest.mark.parametrize(
    ("failures", "taken", "is_away", "expected"),
    [
        (1, 0.1, False, 1.0),
        (3, 0.1, False, 4.0),
        (99, 0.1, False, SECONDS_MAX),
        (1, 20.0, False, 180.0),
        (1, 5.0, True, 1.0),
        (99, 5.0, True, SECONDS_AWAY_MAX),
    ],
)
def test_a_disk_is_spared_and_what_is_away_is_asked_again_soon(
    failures: int, taken: float, is_away: bool, expected: float
) -> None:
    assert seconds_until_next(failures, taken, is_away=is_away) == pytest.approx(expected)
