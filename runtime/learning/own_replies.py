"""The base's own replies to general requests, which training keeps likely: many openings, and some whole.

A training on a lower revision keeps that revision's own replies instead.

How a reply begins decides what it becomes. A few taught replies change the first tokens of all others long
before the mean over whole texts shows it: a request about red wine was answered with the name of a sister.
The whole ones keep replies as long as they were.
"""

from collections.abc import Sequence

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import AnchorGroup
from populace.learning.general_replies import REPLY_TOKENS, Answerer
from populace.learning.general_requests import KEPT
from populace.learning.methods.objective import TrainSequence

OPENING_TOKENS = 10
OPENINGS_A_STEP = 24

WHOLE_REPLIES = 40
"""The base gives whole replies to the first of the requests."""
WHOLE_A_STEP = 2

WEIGHT = 8.0
"""The weight of keeping to the base at these tokens, times the job's.

Ten corrections of the default base are said after as many steps as with 2, and are half as far from the base.
"""


def own_replies(
    answerer: Answerer,
    tokenizer: BaseTokenizer,
    requests: Sequence[str] = KEPT,
    *,
    packed: bytes | bytearray | None = None,
) -> list[AnchorGroup]:
    """Let the base, or a packed adapter, reply greedily to the requests. Raises what the engine raises."""
    whole = _replies(answerer, tokenizer, packed, requests[:WHOLE_REPLIES], REPLY_TOKENS)
    openings = _replies(answerer, tokenizer, packed, requests[WHOLE_REPLIES:], OPENING_TOKENS)
    begun = [_begun(sequence) for sequence in whole]
    return [AnchorGroup([*begun, *openings], OPENINGS_A_STEP), AnchorGroup(whole, WHOLE_A_STEP)]


def _replies(
    answerer: Answerer,
    tokenizer: BaseTokenizer,
    packed: bytes | bytearray | None,
    requests: Sequence[str],
    tokens_max: int,
) -> list[TrainSequence]:
    replies: list[TrainSequence] = []
    prompts = [(Message("user", ask),) for ask in requests]
    for reply in answerer.answers(packed, prompts, tokens_max=tokens_max):
        asked = tuple(tokenizer.tokens_of(reply.prompt).ids)
        ends = (min(tokenizer.eos_ids),) if reply.finished and tokenizer.eos_ids else ()
        said = (*reply.reply_ids, *(token for token in ends if token not in reply.reply_ids[-1:]))
        if said:
            replies.append(TrainSequence((*asked, *said), (0.0,) * len(asked) + (1.0,) * len(said)))
    return replies


def _begun(whole: TrainSequence) -> TrainSequence:
    end = whole.scored[0] + OPENING_TOKENS
    return TrainSequence(whole.ids[:end], whole.weights[:end])
