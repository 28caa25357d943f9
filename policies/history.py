"""Decides how much of a conversation goes back into the prompt, and where."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
M = TypeVar("M", bound=tuple[str, str])
"""A message: its role and content."""

CHARACTERS_PER_TOKEN = 3.0
"""A low estimate for English text with byte-pair vocabularies, so that token counts are overestimated."""


HISTORY_TURNS_MAX = 64
"""A grant carries at most this many earlier turns; the prompt takes those that fit."""


CONVERSATION_PREFIX = "conv_"
"""What the id of a conversation begins with; the name of its model follows, and the turn that created it."""

_OF_MODEL = re.compile(rf"{CONVERSATION_PREFIX}[a-z0-9_-]+_([0-9a-f]+)_([0-9a-f]{{16}})")


def is_same_conversation(one: str | None, other: str | None) -> bool:
    """Return whether two names are those of one conversation in a log.

    In an id the name of the model does not count: its log may come from a model of another name.
    """
    return one == other or _without_model(one) == _without_model(other)


def _without_model(name: str | None) -> str | tuple[str, ...] | None:
    found = None if name is None else _OF_MODEL.fullmatch(name)
    return name if found is None else found.groups()


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


def newest_exchanges(messages: Sequence[M], characters_max: float) -> list[M]:
    """Return the system messages and, of the others, the newest exchanges that fit ``characters_max``.

    The last one is always there. An exchange begins with what a user says after a reply, so that calls of
    tools and their results stay together, and each turn is whole, as a memory knows it.
    """
    spoken = [place for place, message in enumerate(messages) if message[0] != "system"]
    begins = [
        place
        for before, place in zip([None, *spoken], spoken, strict=False)
        if before is None or (messages[place][0] == "user" and messages[before][0] != "user")
    ]
    first = len(messages)
    for begin, end in reversed(list(pairwise([*begins, len(messages)]))):
        characters_max -= sum(len(messages[at][1]) for at in range(begin, end) if messages[at][0] != "system")
        if characters_max < 0 and first < len(messages):
            break
        first = begin
    return [message for at, message in enumerate(messages) if at >= first or message[0] == "system"]
