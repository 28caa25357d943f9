"""Keeps a reply from its chat's earlier ones, and from going round in circles, for every engine.

A small base says its earlier replies again, and then each later one too. A penalty on all tokens of the
prompt ends that, and makes it worse at what repeats the words of a question, such as sums. So this one counts
the words of the replies alone, and what the person said may be repeated: docs/front-ends.md has what it does.

Within a reply, a token that would lengthen a passage which the reply has already said costs the more, the
longer the passage is (DRY, github.com/oobabooga/text-generation-webui/pull/5677).
"""

from collections.abc import Collection, Sequence

import torch

from populace.actors.engine import GenerateRequest, Message
from populace.engines.kept_text import is_free
from populace.engines.prompts import BaseTokenizer

FREE_TOKENS = 8
"""A passage of fewer tokens may come again: names, the rows of a list, a refrain of a few words."""

GROWTH = 1.75
"""By what the cost of one more token of a passage grows with each; the first costs a logit of 1."""

LOGIT_MAX = 100.0


def own_word_ids(request: GenerateRequest, tokenizer: BaseTokenizer) -> frozenset[int] | None:
    """Return the tokens of the earlier replies in the prompt, or None if own words do not count.

    They do not for a reply that has to have a form, may be a call, is replayed or keeps to a text, nor for
    one to the results of tools: these are there to be repeated.
    """
    if request.sampling.own_words_penalty == 1.0 or request.keeps_to or not is_free(request):
        return None
    if not any(isinstance(last, Message) and last.role == "user" for last in request.prompt[-1:]):
        return None
    said = [one.content for one in request.prompt if isinstance(one, Message) and one.role == "assistant"]
    return frozenset(token_id for text in said for token_id in tokenizer.text_ids(text))


class OwnWords:
    """What one reply is kept from. Make one for each reply, and ask it as that grows.

    ``ids`` are the tokens of the chat's earlier replies. With them, these and those of the reply are
    penalised; without, the reply is the chat's first, and only kept from its own passages.
    """

    def __init__(self, ids: Collection[int], penalty: float) -> None:
        self._ids = frozenset(ids)
        self._penalty = penalty
        self._begin()

    def _begin(self) -> None:
        self._read: list[int] = []
        self._places: dict[int, list[int]] = {}
        # By place: how many tokens up to it, and with it, are the last ones of what was read.
        self._lengths: dict[int, int] = {}

    def changed(self, logits_V: torch.Tensor, reply_ids: Sequence[int]) -> torch.Tensor:
        """Return the logits of the reply's next token."""
        if self._ids:
            said = torch.tensor(sorted({*self._ids, *reply_ids}), device=logits_V.device)
            logits_V = logits_V.index_copy(0, said, penalised(logits_V[said], self._penalty))
        if costs := self.costs(reply_ids):
            lengthening = torch.tensor(list(costs), device=logits_V.device)
            less = torch.tensor([*costs.values()], dtype=logits_V.dtype, device=logits_V.device)
            logits_V = logits_V.index_add(0, lengthening, -less)
        return logits_V

    def costs(self, reply_ids: Sequence[int]) -> dict[int, float]:
        """Return what each token costs that would lengthen a passage of the reply that has come before.

        Only what is new is read, in a time that grows with how often the reply has each token.
        """
        if len(reply_ids) < len(self._read):  # an engine took tokens back
            self._begin()
        for token_id in reply_ids[len(self._read) :]:
            places = self._places.setdefault(token_id, [])
            self._lengths = {place: self._lengths.get(place - 1, 0) + 1 for place in places}
            places.append(len(self._read))
            self._read.append(token_id)
        longest: dict[int, int] = {}
        for place, length in self._lengths.items():
            if length >= FREE_TOKENS:
                following = self._read[place + 1]
                longest[following] = max(length, longest.get(following, 0))
        return {one: min(LOGIT_MAX, GROWTH ** min(n - FREE_TOKENS, 99)) for one, n in longest.items()}


def penalised(logits: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the logits of tokens that were said before, made less likely (CTRL, arXiv 1909.05858, 4.1).

    Dividing a negative logit would make it likelier, so that is multiplied.
    """
    return torch.where(logits > 0, logits / penalty, logits * penalty)
