"""Which tokens a reply is kept from by the earlier replies of its chat: the same rule for every engine.

A small base says its earlier replies again, and then each later one too. A penalty on all tokens of the
prompt ends that, and makes it worse at what repeats the words of a question, such as sums. So this one counts
the words of the replies alone, and what the person said may be repeated: docs/front-ends.md has what it does.
"""

from collections.abc import Collection, Sequence

import torch

from populace.actors.engine import GenerateRequest, Message
from populace.engines.prompts import TOOLS, BaseTokenizer


def own_word_ids(request: GenerateRequest, tokenizer: BaseTokenizer) -> frozenset[int]:
    """Return the tokens of the earlier replies in the prompt, if they count for this reply.

    They do not for one that has to have a form, may be a call, is replayed or keeps to a text, nor for one
    to the results of tools: these are there to be repeated.
    """
    sampling = request.sampling
    if sampling.own_words_penalty == 1.0 or sampling.is_held or request.template.get(TOOLS):
        return frozenset()
    if request.keeps_to or request.reply_ids is not None or not _asks(request.prompt[-1:]):
        return frozenset()
    said = [one.content for one in request.prompt if isinstance(one, Message) and one.role == "assistant"]
    return frozenset(token_id for text in said for token_id in tokenizer.text_ids(text))


class OwnWords:
    """The tokens of a chat's earlier replies, and of the one that is being made. Make one for each reply."""

    def __init__(self, ids: Collection[int], penalty: float) -> None:
        self.penalty = penalty
        self._earlier = frozenset(ids)
        self._all = set(ids)
        self._read = 0

    def said(self, reply_ids: Sequence[int]) -> list[int]:
        """Return all tokens that were said, in order. Ask it with one reply that grows."""
        if len(reply_ids) < self._read:  # an engine took tokens back
            self._read, self._all = 0, set(self._earlier)
        self._all.update(reply_ids[self._read :])
        self._read = len(reply_ids)
        return sorted(self._all)


def penalised(logits: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the logits of tokens that were said before, made less likely (CTRL, arXiv 1909.05858, 4.1).

    Dividing a negative logit would make it likelier, so that is multiplied.
    """
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def _asks(last: Sequence[object]) -> bool:
    return bool(last) and isinstance(last[0], Message) and last[0].role == "user"
