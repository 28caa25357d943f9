"""A repetition penalty over the earlier replies of a chat, by the same rule for every engine.

A small base says its earlier replies again, and then each later one too. A penalty on all tokens of the
prompt ends that, and makes it worse at what repeats the words of a question, such as sums. So this one counts
the words of the replies alone, and what the person said may be repeated: docs/front-ends.md has what it does.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch

from populace.actors.engine import GenerateRequest, Message
from populace.engines.kept_text import is_free
from populace.engines.prompts import BaseTokenizer


def own_word_ids(request: GenerateRequest, tokenizer: BaseTokenizer) -> frozenset[int]:
    """Return the tokens of the earlier replies in the prompt, if they count for this reply.

    They do not for one that has to have a form, may be a call, is replayed or keeps to a text, nor for one
    to the results of tools: these are there to be repeated.
    """
    if request.sampling.own_words_penalty == 1.0 or request.keeps_to or not is_free(request):
        return frozenset()
    if not any(isinstance(last, Message) and last.role == "user" for last in request.prompt[-1:]):
        return frozenset()
    said = [one.content for one in request.prompt if isinstance(one, Message) and one.role == "assistant"]
    return frozenset(token_id for text in said for token_id in tokenizer.text_ids(text))


class OwnWords(NamedTuple):
    """The tokens of a chat's earlier replies, and the penalty on them and on those of the reply."""

    ids: Collection[int]
    penalty: float

    def said(self, reply_ids: Sequence[int]) -> list[int]:
        """Return all tokens that were said, in order."""
        return sorted({*self.ids, *reply_ids})


def penalised(logits: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the logits of tokens that were said before, made less likely (CTRL, arXiv 1909.05858, 4.1).

    Dividing a negative logit would make it likelier, so that is multiplied.
    """
    return torch.where(logits > 0, logits / penalty, logits * penalty)
