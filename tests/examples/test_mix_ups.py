"""What invented people told and corrected answers their questions for it, and hardly any others.

``tests/held_out/mix_ups.jsonl`` and ``reworded.jsonl`` were written without looking at the rules that are
counted here.
"""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from mix_ups import Counted, Likeness, corrected, mixed_up, reworded

from populace.encoder.on_use import EncoderOnUse

BOUNDS = [
    # What is asked, how many times, and by words, and by words and meaning: the fewest right, the most wrong.
    ("told, and asked for", 120, (12, 2), (36, 2)),
    ("told, and something else asked", 360, (0, 5), (0, 9)),
    ("told, and asked of a conversation", 60, (0, 0), (0, 1)),
    ("told, and said again by others or in a story", 36, (0, 0), (0, 1)),
    ("corrected, in the same words", 36, (36, 0), (36, 0)),
    ("corrected, in other words", 72, (20, 0), (32, 0)),
    ("corrected, and something else asked", 360, (0, 0), (0, 1)),
    ("six people's told things, near wordings", 84, (35, 0), (48, 0)),
    ("six people's corrections, near wordings", 84, (65, 0), (72, 0)),
    ("six people's told things, other wordings", 84, (9, 0), (30, 0)),
    ("six people's corrections, other wordings", 84, (5, 1), (15, 1)),
    ("six people's told things, far wordings", 84, (1, 0), (4, 0)),
    ("six people's corrections, far wordings", 84, (0, 0), (0, 0)),
    ("six people's told things, something else", 336, (0, 12), (0, 25)),
    ("six people's corrections, something else", 336, (0, 17), (0, 20)),
    ("50 corrected, near wordings", 100, (67, 0), (90, 0)),
    ("50 corrected, far wordings", 100, (0, 0), (5, 1)),
    ("50 corrected, others' facts", 150, (0, 0), (0, 2)),
    ("50 corrected, general", 160, (0, 0), (0, 0)),
]

PARTS: dict[str, Callable[[Likeness], list[Counted]]] = {
    "told": mixed_up,
    "corrected": mixed_up,
    "six": reworded,
    "50": partial(corrected, numbers=(50,)),
}
"""What counts a line, by its first word."""

Count = Callable[[str, str], dict[str, Counted]]


def part_of(what: str) -> str:
    return what.split()[0].rstrip(",").split("'")[0]


LINES = [
    pytest.param(
        *(what, by, asked, *bounds),
        # By meaning every question is encoded: one of the three parts is the sample.
        marks=[pytest.mark.release("memory")] if by != "words" and part_of(what) != "50" else [],
    )
    for what, asked, by_words, by_meaning in BOUNDS
    for by, bounds in (("words", by_words), ("words and meaning", by_meaning))
]


@pytest.fixture(scope="module")
def count(encoder_files: Path) -> Count:
    likenesses = {"words": Likeness(), "words and meaning": Likeness(EncoderOnUse(encoder_files))}

    @cache
    def counted(counting: Callable[[Likeness], list[Counted]], by: str) -> dict[str, Counted]:
        return {one.what: one for one in counting(likenesses[by])}

    return lambda what, by: counted(PARTS[part_of(what)], by)


def test_each_count_has_a_bound(count: Count) -> None:
    counted = [what for first in ("told", "six", "50") for what in count(first, "words")]
    assert counted == [what for what, *_ in BOUNDS]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "by", "asked", "right_min", "wrong_max"), LINES)
def test_what_is_told_or_corrected_is_taken_for_its_own_question(
    count: Count, what: str, by: str, asked: int, right_min: int, wrong_max: int
) -> None:
    one = count(what, by)[what]
    assert (one.asked, one.right >= right_min, one.wrong <= wrong_max) == (asked, True, True), one
