"""Adds retrieved turns to a prompt as ``context: {"retrieve": k}`` does in serving, from a log in memory.

Training uses it to give the teacher of a distillation its context.
"""

from collections.abc import Sequence

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.keepers.log_index import LogIndex
from populace.actors.turn import Interaction
from populace.policies.retrieval import Exchange, Retrieval, exchange_of, exchanges_that_fit, turn_words

CONTEXT_TOKENS_MAX = 512
"""The retrieved turns have at most this many tokens: serving allows them so much of a context of 2,048."""


def context_messages(
    log: Sequence[Interaction], feedback: Sequence[Feedback], query: str, k: int
) -> tuple[Message, ...]:
    """Return a system message with the ``k`` turns of ``log`` that match ``query`` best, or () if none does.

    If the result is used for training, ``log`` must not contain held-out turns.
    """
    return prompt_with_context(log, feedback, (Message("user", query),), k)[:-1]


def prompt_with_context(
    log: Sequence[Interaction],
    feedback: Sequence[Feedback],
    prompt: tuple[Message, ...],
    k: int,
    *,
    tokens_max: int = CONTEXT_TOKENS_MAX,
) -> tuple[Message, ...]:
    """Return the prompt with up to ``k`` turns that match its last question best and are not in it already.

    Each call indexes the whole log, which takes 30 µs a turn.
    """
    wanted = Retrieval.of(prompt, k)
    if wanted is None or not log:
        return prompt
    opinions = feedback_by_position(feedback)
    judgements = {turn.position: judged(opinions.get(turn.position, ())) for turn in log}
    words = [
        (turn.position, turn_words(turn.messages, turn.reply, judgements[turn.position])) for turn in log
    ]
    index = LogIndex().extended(words, start=log[0].position, end=log[-1].position + 1).counted()
    turns = {turn.position: turn for turn in log}
    exchanges: dict[bytes, Exchange] = {}
    for position in index.ranked(wanted.words):
        turn = turns[position]
        exchange = exchange_of(position, turn.messages, turn.reply, judgements[position])
        if exchange is not None:
            exchanges.setdefault(exchange.turn, exchange)
    chosen = exchanges_that_fit(list(exchanges.values()), wanted.known, count=k, tokens_max=tokens_max)
    return with_context(prompt, chosen)
