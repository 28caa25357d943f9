# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""The base's own replies to requests that are not about the person, which a memory must not change."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from examples.memory_module.encoding import OwnReply
from examples.memory_module.episodes import Episode
from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer

TOKENS_MAX = 48
"""Longer replies are cut here, and their end token is not learned."""

BATCH = 32
"""Number of requests that are answered in one batch."""


def requests_in(episodes: Iterable[Episode]) -> list[str]:
    """Return the distinct questions without an answer, to which the base's own reply is right, sorted."""
    return sorted(
        {question.ask for episode in episodes for question in episode.questions if question.answer is None}
    )


def own_replies(
    model: PreTrainedModel,
    tokenizer: BaseTokenizer,
    requests: Sequence[str],
    *,
    progress: Callable[[float], None],
) -> dict[str, OwnReply]:
    """Generate the base's greedy reply to each request, of at most ``TOKENS_MAX`` tokens.

    ``progress`` is called with the share of the requests that is done.
    """
    replies: dict[str, OwnReply] = {}
    for start in range(0, len(requests), BATCH):
        batch = requests[start : start + BATCH]
        prompts = [tokenizer.tokens_of((Message("user", ask),)).ids for ask in batch]
        longest = max(map(len, prompts))
        filler = min(tokenizer.eos_ids)
        generated = cast("Any", model).generate(
            torch.tensor([[filler] * (longest - len(ids)) + ids for ids in prompts]),
            attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]),
            do_sample=False,
            max_new_tokens=TOKENS_MAX,
            eos_token_id=sorted(tokenizer.eos_ids),
            pad_token_id=filler,
        )
        for ask, ids in zip(batch, generated[:, longest:].tolist(), strict=True):
            whole = bool(tokenizer.eos_ids.intersection(ids))
            replies[ask] = OwnReply(tokenizer.text(ids).strip() or "I do not know.", whole)
        progress((start + len(batch)) / len(requests))
    return replies
