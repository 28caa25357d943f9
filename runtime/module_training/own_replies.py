# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are untyped.
"""What the base says by itself to requests about anything else, and shall go on saying."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.module_training.encoding import OwnReply
from populace.module_training.episodes import Episode

TOKENS_MAX = 48
"""Of a longer reply the beginning is learned from, without an end that the base did not say."""

ASKED_TOGETHER = 32


def requests_in(episodes: Iterable[Episode]) -> list[str]:
    """What is asked that has no answer: the base's own is right."""
    return sorted({one.ask for episode in episodes for one in episode.questions if one.answer is None})


def own_replies(
    model: PreTrainedModel,
    tokenizer: BaseTokenizer,
    requests: Sequence[str],
    *,
    progress: Callable[[float], None],
) -> dict[str, OwnReply]:
    """Have the base answer requests greedily."""
    replies: dict[str, OwnReply] = {}
    for start in range(0, len(requests), ASKED_TOGETHER):
        together = requests[start : start + ASKED_TOGETHER]
        prompts = [tokenizer.tokens_of((Message("user", ask),)).ids for ask in together]
        longest = max(map(len, prompts))
        filler = min(tokenizer.eos_ids)
        said = cast("Any", model).generate(
            torch.tensor([[filler] * (longest - len(ids)) + ids for ids in prompts]),
            attention_mask=torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]),
            do_sample=False,
            max_new_tokens=TOKENS_MAX,
            eos_token_id=sorted(tokenizer.eos_ids),
            pad_token_id=filler,
        )
        for ask, ids in zip(together, said[:, longest:].tolist(), strict=True):
            whole = bool(tokenizer.eos_ids.intersection(ids))
            replies[ask] = OwnReply(tokenizer.text(ids).strip() or "I do not know.", whole)
        progress((start + len(together)) / len(requests))
    return replies
