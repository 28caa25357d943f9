"""Says what ``context: {"retrieve": k}`` shows of a log in serving, from a log in memory.

Training uses it to give the teacher of a distillation its context.
"""

from collections.abc import Sequence

from populace.actors.engine import Message
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.keepers.log_index import LogIndex
from populace.actors.turn import Interaction
from populace.policies.retrieval import (
    Exchange,
    Retrieval,
    context_text,
    exchange_of,
    exchanges_that_fit,
    turn_words,
)
from populace.policies.tellings import says_something

CONTEXT_TOKENS_MAX = 512
"""The retrieved turns have at most this many tokens: serving allows them so much of a context of 2,048."""


def context_for(log: Sequence[Interaction], feedback: Sequence[Feedback], query: str, k: int) -> str:
    """Return what a prompt says of the ``k`` turns of ``log`` that match ``query`` best; empty if none does.

    Each call indexes the whole log, which takes 30 µs a turn. If the result is used for training, ``log``
    must not contain held-out turns.
    """
    wanted = Retrieval.of((Message("user", query),), k)
    if wanted is None or not log:
        return ""
    opinions = feedback_by_position(feedback)
    judgements = {turn.position: judged(opinions.get(turn.position, ())) for turn in log}
    words = [
        (turn.position, turn_words(turn.messages, turn.reply, judgements[turn.position])) for turn in log
    ]
    index = LogIndex().extended(words, start=log[0].position, end=log[-1].position + 1).counted()
    turns = {turn.position: turn for turn in log}
    exchanges: dict[bytes, Exchange] = {}
    for position in index.ranked(wanted.about):
        turn = turns[position]
        exchange = exchange_of(position, turn.messages, turn.reply, judgements[position])
        if exchange is not None and says_something(exchange):
            exchanges.setdefault(exchange.turn, exchange)
    known, found = wanted.known, list(exchanges.values())
    return context_text(exchanges_that_fit(found, known, count=k, tokens_max=CONTEXT_TOKENS_MAX))
