"""Decides what a person asks for again and again, so that it is moved from the log to the weights.

A turn of the log tells something, and later turns ask for it. Which turn a question asks for is decided by
words: those of the question that the turn has, weighed as for corrections (``policies/word_weights.py``). If
a turn was retrieved for the question's reply, it has to share fewer, and the only one that was retrieved
none: a sentence encoder may have found it by its meaning. What was told anew since counts as it is told by
the newest turn. Nothing is kept of this: it is a function of the log, so that what is forgotten there
is not asked for any more.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from populace.policies.corrections import Corrected, CorrectionFinder
from populace.policies.ingestion import RoleAndContent
from populace.policies.lessons import Judgement
from populace.policies.questions import asks_for_told
from populace.policies.retrieval import Exchange, spoken_in, text_key
from populace.policies.task_prompts import task_of
from populace.policies.tellings import ASKED_SHARE, Tellings, comparable, newest_as_good
from populace.policies.told_answers import value_words

ASKED_MIN = 2
"""What was asked for in this many turns is due: once may be an accident."""

TURNS_MAX = 2048
"""The newest turns of a log that are looked at."""

RETRIEVED_SHARE = 0.3
"""The same for a turn that was retrieved for the reply to the question: it was found twice."""

PHRASINGS_MAX = 4
"""At most this many different texts of the questions for one turn count, the last ones."""


class LoggedTurn(NamedTuple):
    """What counts of a turn of the log: the person's words, and the judgement on the reply.

    ``retrieved`` are the positions of the turns that its prompt had besides the conversation.
    """

    position: int
    said: str
    retrieved: tuple[int, ...] = ()
    correction: str | None = None


class AskedAgain(NamedTuple):
    """The newest turn that tells something, and the ``turns`` that asked for it, in the log's order.

    ``questions`` are these turns' different texts, in the order in which they came first.
    """

    position: int
    questions: tuple[str, ...]
    turns: tuple[int, ...]


def logged_turn(
    position: int, messages: Sequence[RoleAndContent], judged: Judgement, retrieved: Sequence[int] = ()
) -> LoggedTurn | None:
    """Return what counts of a turn; None if its person said nothing in it, as in a front end's own prompt."""
    said = "\n".join(spoken_in(messages))
    if not said or task_of(messages) is not None:
        return None
    return LoggedTurn(position, said, tuple(retrieved), judged.correction)


def asked_again(turns: Sequence[LoggedTurn]) -> list[AskedAgain]:
    """Return what is due, the last asked for first. ``turns`` are in the log's order.

    A question that a correction answers asks for nothing. How a reply was judged says nothing of what its
    turn told; ``tellings.py`` says which turns tell nothing. Takes time in proportion to the questions times
    the turns with one of their words.
    """
    turns = turns[-TURNS_MAX:]
    told = Tellings([(turn.position, turn.said) for turn in turns])
    said = {turn.position: turn.said for turn in turns}
    corrected = CorrectionFinder(
        [
            Corrected(turn.position, turn.said, turn.correction)
            for turn in turns
            if turn.correction is not None
        ]
    )
    found: dict[str, dict[int, float] | None] = {}
    asking: defaultdict[str, list[LoggedTurn]] = defaultdict(list)
    telling: dict[str, int] = {}
    for turn in turns:
        if turn.correction is not None or not asks_for_told(turn.said):
            continue
        key = text_key(turn.said)
        if key not in found:
            answered = corrected.applying(turn.said) is not None
            found[key] = None if answered else told.fitting(turn.said)
        fitting = found[key]
        position = None if fitting is None else _asked_for(turn, fitting, said)
        if position is not None:
            asking[key].append(turn)
            telling[key] = max(position, telling.get(key, position))
    by_position: defaultdict[int, list[LoggedTurn]] = defaultdict(list)
    for key, position in telling.items():
        by_position[position] += asking[key]
    due = [_due(position, of) for position, of in by_position.items() if len(of) >= ASKED_MIN]
    return sorted(due, key=lambda asked: (-asked.turns[-1], asked.position))


def newly_due(due: Sequence[AskedAgain], since: int) -> int:
    """Count what was not due yet when the log ended at the position ``since``."""
    return sum(
        asked.position >= since or sum(turn < since for turn in asked.turns) < ASKED_MIN for asked in due
    )


def _asked_for(turn: LoggedTurn, fitting: dict[int, float], said: Mapping[int, str]) -> int | None:
    """Return the position of the newest turn that tells what this one asks for; None if none did before."""
    earlier = {
        position: share
        for position, share in fitting.items()
        if position < turn.position and (not turn.retrieved or position in turn.retrieved)
    }
    best = max(earlier.values(), default=0.0)
    if best < (RETRIEVED_SHARE if turn.retrieved else ASKED_SHARE):
        return _alike(turn, said)
    return newest_as_good(fitting, best)


def _alike(turn: LoggedTurn, said: Mapping[int, str]) -> int | None:
    """Return the position of the only turn that was retrieved, if it may tell it in other words."""
    if len(turn.retrieved) != 1 or turn.retrieved[0] not in said:
        return None
    [position] = turn.retrieved
    told = said[position]
    may_tell = comparable(turn.said, [Exchange(position, told, "", b"")]) and value_words(told, turn.said)
    return position if may_tell else None


def _due(position: int, asking: Sequence[LoggedTurn]) -> AskedAgain:
    in_order = sorted(asking)
    texts: dict[str, str] = {}
    for turn in in_order:
        texts.setdefault(text_key(turn.said), turn.said)
    questions = tuple(texts.values())[-PHRASINGS_MAX:]
    return AskedAgain(position, questions, tuple(turn.position for turn in in_order))
