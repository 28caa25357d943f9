"""The base's own replies, which training keeps likely: many openings, and some whole.

A training on a lower revision keeps that revision's own replies instead.

How a reply begins decides what it becomes. A few taught replies change the first tokens of all others long
before the mean over whole texts shows it: a request about red wine was answered with the name of a sister.
The whole ones keep replies as long as they were.

Openings of replies to questions about the person keep it from making up what it was not told. After ten
corrections, 23 of 80 such questions got an answer like "Your dentist is called Elena.", and 6 with these.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.anchors import AnchorGroup
from populace.learning.general_replies import REPLY_TOKENS, Answerer
from populace.learning.general_requests import KEPT, PERSONAL
from populace.learning.methods.objective import TrainSequence
from populace.policies.likeness import likeness

OPENING_TOKENS = 10
OPENINGS_A_STEP = 24

WHOLE_REPLIES = 40
"""The base gives whole replies to the first of the requests."""
WHOLE_A_STEP = 2

PERSONAL_A_STEP = 8

SAME = 0.85
"""The likeness from which a question may be one that is taught; which of them are kept matters little."""

WEIGHT = 8.0
"""The weight of keeping to the base at these tokens, times the job's.

Ten corrections of the default base are said after as many steps as with 2, and are half as far from the base.
"""


class OwnReplies(NamedTuple):
    """General replies, and the openings of those to questions about the person, by their questions."""

    general: Sequence[AnchorGroup]
    personal: Mapping[str, TrainSequence]

    def groups(self, taught: Sequence[str]) -> list[AnchorGroup]:
        """Return what a training keeps that teaches replies to these questions: none of those itself."""
        kept = [
            sequence
            for ask, sequence in self.personal.items()
            if not any(likeness(ask, question) >= SAME for question in taught)
        ]
        return [*self.general, *([AnchorGroup(kept, PERSONAL_A_STEP)] if kept else [])]


def own_replies(
    answerer: Answerer,
    tokenizer: BaseTokenizer,
    requests: Sequence[str] = KEPT,
    personal: Sequence[str] = PERSONAL,
    *,
    packed: bytes | bytearray | None = None,
) -> OwnReplies:
    """Let the base, or a packed adapter, reply greedily to the requests. Raises what the engine raises."""
    whole = _replies(answerer, tokenizer, packed, requests[:WHOLE_REPLIES], REPLY_TOKENS)
    openings = _replies(answerer, tokenizer, packed, requests[WHOLE_REPLIES:], OPENING_TOKENS)
    begun = [_begun(sequence) for sequence in whole.values()]
    return OwnReplies(
        [
            AnchorGroup([*begun, *openings.values()], OPENINGS_A_STEP),
            AnchorGroup(list(whole.values()), WHOLE_A_STEP),
        ],
        _replies(answerer, tokenizer, packed, personal, OPENING_TOKENS),
    )


def _replies(
    answerer: Answerer,
    tokenizer: BaseTokenizer,
    packed: bytes | bytearray | None,
    requests: Sequence[str],
    tokens_max: int,
) -> dict[str, TrainSequence]:
    replies: dict[str, TrainSequence] = {}
    prompts = [(Message("user", ask),) for ask in requests]
    answers = answerer.answers(packed, prompts, tokens_max=tokens_max)
    for request, reply in zip(requests, answers, strict=True):
        asked = tuple(tokenizer.tokens_of(reply.prompt).ids)
        ends = (min(tokenizer.eos_ids),) if reply.finished and tokenizer.eos_ids else ()
        said = (*reply.reply_ids, *(token for token in ends if token not in reply.reply_ids[-1:]))
        if said:
            weights = (0.0,) * len(asked) + (1.0,) * len(said)
            replies[request] = TrainSequence((*asked, *said), weights)
    return replies


def _begun(whole: TrainSequence) -> TrainSequence:
    end = whole.scored[0] + OPENING_TOKENS
    return TrainSequence(whole.ids[:end], whole.weights[:end])
