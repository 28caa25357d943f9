"""What ``context: {"retrieve": k}`` makes of a prompt, offline: from any log, as for a teacher."""

from collections.abc import Sequence

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.keepers.log_index import LogIndex
from populace.actors.turn import Interaction
from populace.policies.retrieval import Exchange, Retrieval, exchange_of, exchanges_that_fit, turn_words

CONTEXT_TOKENS_MAX = 512
"""What serving leaves for it of a context of 2,048 tokens."""


def context_messages(
    log: Sequence[Interaction], feedback: Sequence[Feedback], query: str, k: int
) -> tuple[Message, ...]:
    """The system message that tells of the ``k`` turns that fit the query best; nothing if none does.

    ``log`` is what may be read: what is held out must not be in it if the answer teaches.
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
    """Tell in the prompt of up to ``k`` turns of the log that fit its last question best and are not in it.

    Indexes the log anew: 30 µs a turn, so that many questions to one log cost as many times that.
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
    found: dict[bytes, Exchange] = {}
    for position in index.ranked(wanted.words):
        turn = turns[position]
        exchange = exchange_of(position, turn.messages, turn.reply, judgements[position])
        if exchange is not None:
            found.setdefault(exchange.turn, exchange)
    chosen = exchanges_that_fit(list(found.values()), wanted.known, count=k, tokens_max=tokens_max)
    return with_context(prompt, chosen)
