"""Decides how much of a conversation goes back into the prompt."""

from collections.abc import Sequence

CHARACTERS_PER_TOKEN = 3.0
"""A low estimate for English text with byte-pair vocabularies, so that token counts are overestimated."""


HISTORY_TURNS_MAX = 64
"""A grant carries at most this many earlier turns; the prompt takes those that fit."""


def turns_that_fit(characters: Sequence[int], tokens_max: int) -> int:
    """Count the newest turns whose estimated tokens fit; ``characters`` lists turns oldest first.

    The estimate decides only the first attempt: the engine counts exactly, and a prompt that is still too
    long is tried again with half of the turns.
    """
    budget = tokens_max * CHARACTERS_PER_TOKEN
    fitting = 0
    for count in reversed(characters):
        budget -= count
        if budget < 0:
            break
        fitting += 1
    return fitting
