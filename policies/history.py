"""Decides how much of a conversation goes back into the prompt, and where."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

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


def with_their_calls(count: int, continues: Sequence[bool]) -> int:
    """Return how many of the newest turns go into a prompt that has room for ``count`` of them.

    ``continues`` says of each earlier turn, oldest first, and last of the new one whether it begins with
    results of tools, whose calls are in the turn before. A turn does not go without the one that it
    continues: fewer turns go then, or more if the new turn itself needs them.
    """
    whole = [kept for kept in range(len(continues)) if not continues[len(continues) - 1 - kept]]
    needed = min(whole, default=len(continues) - 1)
    return max((kept for kept in whole if kept <= count), default=needed)


def with_history(history: Iterable[Sequence[T]], own: Sequence[T], instructions: int) -> list[T]:
    """Put earlier turns into the messages of a turn: after its instructions, and before the rest.

    The first ``instructions`` of its own messages are for this turn alone: the earlier turns come without
    theirs. They stay first, since many chat templates take a system message nowhere else.
    """
    earlier = (message for turn in history for message in turn)
    return [*own[:instructions], *earlier, *own[instructions:]]
