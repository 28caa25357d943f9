"""What three invented people told and corrected answers their questions for it, and no others.

``tests/held_out/mix_ups.jsonl`` was written without looking at the rules that are counted here.
"""

import pytest
from mix_ups import Counted, mixed_up

COUNTED = {one.what: one for one in mixed_up()}

BOUNDS = [
    # What is asked, how many times, the fewest that are taken rightly, the most that are taken wrongly.
    ("told, and asked for", 120, 12, 2),
    ("told, and something else asked", 360, 0, 5),
    ("told, and asked of a conversation", None, 0, 0),
    ("told, and said again by others or in a story", 36, 0, 0),
    ("corrected, in the same words", 36, 36, 0),
    ("corrected, in other words", None, 21, 0),
    ("corrected, and something else asked", 360, 0, 10),
]


def test_each_count_has_a_bound() -> None:
    assert list(COUNTED) == [what for what, *_ in BOUNDS]


@pytest.mark.parametrize(("what", "asked", "right_min", "wrong_max"), BOUNDS)
def test_what_is_told_or_corrected_is_taken_for_its_own_question(
    what: str, asked: int | None, right_min: int, wrong_max: int
) -> None:
    counted: Counted = COUNTED[what]

    assert asked in (None, counted.asked)
    assert counted.right >= right_min
    assert counted.wrong <= wrong_max
