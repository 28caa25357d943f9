# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""Computes the hidden inputs of episodes once, for training a gated module many times on them.

A gated memory changes only the last hidden states, so the inputs of all layers are the base's own, both where
something is told and where it is recalled.

Shape suffixes: L = layers with a memory, T = told tokens, A = tokens of answers, H = hidden width.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from examples.memory_module.encoding import FIRST_TOKENS, VALUE_WEIGHT, EncodedEpisode, Target, batch_of
from examples.memory_module.recall import hidden_inputs
from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import token_context
from populace.adapters.memory.layer import NOT_WRITTEN, MemoryShape

STORED_DTYPE = torch.bfloat16

WORDS_SHARE = 0.25
"""This share is stored of the answers' tokens that are neither first, nor of a value, nor just after one."""


class StoredInputs(NamedTuple):
    """The hidden inputs of one episode.

    ``told`` [L, T, H] are those at told tokens, ``asked`` [L, A, H] those before the answers' tokens. For the
    told tokens, ``messages`` [T] has the number of the message, ``embedded`` [T, H] the input of the base's
    first attention layer, and ``ids`` [T] the token. For the answers' tokens, ``last`` [A, H] has the base's
    last hidden states before them, ``targets`` [A] the tokens, ``is_value`` [A] whether they are of a value,
    and ``answers`` [A] the number of the answer. ``links`` pairs the indices of told value tokens with those
    of the answers' tokens that repeat them.
    """

    told: torch.Tensor
    embedded: torch.Tensor
    ids: torch.Tensor
    messages: torch.Tensor
    asked: torch.Tensor
    last: torch.Tensor
    targets: torch.Tensor
    is_value: torch.Tensor
    answers: torch.Tensor
    links: list[tuple[int, int]]

    def keyed(self, number: int) -> torch.Tensor:
        """Return the inputs of a layer's keys [T, 4H]: each token's own input and its ``token_context``."""
        own_1TH = self.told[number].unsqueeze(0)
        return torch.cat((own_1TH, *token_context(own_1TH, self.messages.unsqueeze(0))), dim=-1)[0]


def stored_inputs(
    model: PreTrainedModel,
    attention: Sequence[AttentionLayer],
    shape: MemoryShape,
    episodes: Sequence[EncodedEpisode],
    *,
    batch: int,
    words_share: float = WORDS_SHARE,
    seed: int = 0,
    progress: Callable[[float], None],
) -> list[StoredInputs]:
    """Run the base over episodes, ``batch`` of them at a time, and store their inputs ordered by length.

    ``words_share`` as ``WORDS_SHARE``; ``seed`` draws that sample. ``progress`` is called with the share of
    the episodes that is done.
    """
    source = random.Random(seed)
    order = sorted(range(len(episodes)), key=lambda index: len(episodes[index].told.ids))
    stored: list[StoredInputs] = []
    for start in range(0, len(order), batch):
        chosen = [episodes[index] for index in order[start : start + batch]]
        rows = batch_of(chosen)
        told = hidden_inputs(model, attention, rows.told)
        asked = hidden_inputs(model, attention, rows.asked)
        told_LBTH, asked_LBTH = (
            torch.stack(list(shape.with_memory(hidden.inputs))).to(STORED_DTYPE) for hidden in (told, asked)
        )
        for row, episode in enumerate(chosen):
            written = [place for place, message in enumerate(episode.written) if message != NOT_WRITTEN]
            kept = [
                (number, target)
                for number, answer in enumerate(episode.answers)
                for target in _kept(answer, words_share, source)
            ]
            before = [target.position - 1 for _, target in kept]
            told_at = {place: index for index, place in enumerate(written)}
            asked_at = {place: index for index, place in enumerate(before)}
            stored.append(
                StoredInputs(
                    told_LBTH[:, row, written].clone(),
                    told.inputs[0][row, written].to(STORED_DTYPE),
                    rows.told.ids[row, written],
                    torch.tensor([episode.written[place] for place in written], dtype=torch.long),
                    asked_LBTH[:, row, before].clone(),
                    asked.last[row, before].to(STORED_DTYPE),
                    rows.asked.ids[row, [target.position for _, target in kept]],
                    torch.tensor([target.weight == VALUE_WEIGHT for _, target in kept], dtype=torch.bool),
                    torch.tensor([number for number, _ in kept], dtype=torch.long),
                    [
                        (told_at[link.told], asked_at[link.recalled])
                        for link in episode.links
                        if link.told in told_at
                    ],
                )
            )
        progress(min(1.0, (start + batch) / len(order)))
    return stored


def bytes_of(
    episodes: Sequence[EncodedEpisode], shape: MemoryShape, attention: Sequence[AttentionLayer]
) -> int:
    """Estimate the bytes that the stored inputs of these episodes take."""
    tokens = sum(
        sum(message != NOT_WRITTEN for message in episode.written) + sum(map(len, episode.answers))
        for episode in episodes
    )
    layers = shape.with_memory(attention)
    return tokens * (len(layers) + 1) * layers[0].widths.hidden * STORED_DTYPE.itemsize


def _kept(answer: Sequence[Target], words_share: float, source: random.Random) -> Iterator[Target]:
    """Yield an answer's first tokens, those of its value, the one after it, and a sample of the others."""
    is_after = False
    for number, target in enumerate(answer):
        is_value = target.weight == VALUE_WEIGHT
        if is_value or is_after or number < FIRST_TOKENS or source.random() < words_share:
            yield target
        is_after = is_value
