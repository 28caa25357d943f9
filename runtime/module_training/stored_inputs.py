# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""What the base computes of episodes, whatever a gated memory holds.

Nothing that is read is added before the last hidden states, so the inputs of all layers, where something
is told and where it is to be said again, are the base's own. They are computed once, and learned from many
times.

Shape suffixes: L = layers with a memory, T = told tokens, A = tokens of answers, H = hidden width.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import around_each
from populace.adapters.memory.layer import NOT_WRITTEN, MemoryShape
from populace.module_training.encoding import FIRST_TOKENS, VALUE_WEIGHT, EncodedEpisode, Target, batch_of
from populace.module_training.recall import hidden_inputs

PROBED = torch.bfloat16

WORDS_SHARE = 0.25
"""The share that is kept of words that are not first in an answer, of a value, or right behind one."""


class StoredInputs(NamedTuple):
    """One episode: inputs of the layers at told tokens [L, T, H], and before tokens of answers [L, A, H].

    ``messages`` [T] says of which message a told token is, ``embedded`` [T, H] what the base's first
    attention layer is given of it, ``ids`` [T] which token it is. ``last`` [A, H] are the base's last hidden
    states before the tokens of answers, ``targets`` [A] these tokens, ``is_value`` which of them are of a
    value, and ``answers`` of which answer each is. ``links`` pairs places of told value tokens with those
    where they are to be said again.
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
        """What a layer's keys are of [T, 4H]: each told token's own input and those around it."""
        own_1TH = self.told[number].unsqueeze(0)
        return torch.cat((own_1TH, *around_each(own_1TH, self.messages.unsqueeze(0))), dim=-1)[0]


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
    """Run the base over what is told and what is asked; those of similar length together."""
    source = random.Random(seed)  # noqa: S311 - not a secret
    order = sorted(range(len(episodes)), key=lambda index: len(episodes[index].told.ids))
    found: list[StoredInputs] = []
    for start in range(0, len(order), batch):
        chosen = [episodes[index] for index in order[start : start + batch]]
        rows = batch_of(chosen)
        told = hidden_inputs(model, attention, rows.told)
        asked = hidden_inputs(model, attention, rows.asked)
        told_LBTH, asked_LBTH = (
            torch.stack(list(shape.with_memory(one.inputs))).to(PROBED) for one in (told, asked)
        )
        for row, episode in enumerate(chosen):
            written = [place for place, one in enumerate(episode.written) if one != NOT_WRITTEN]
            kept = [
                (number, target)
                for number, answer in enumerate(episode.answers)
                for target in _kept(answer, words_share, source)
            ]
            before = [target.position - 1 for _, target in kept]
            told_at = {place: index for index, place in enumerate(written)}
            asked_at = {place: index for index, place in enumerate(before)}
            found.append(
                StoredInputs(
                    told_LBTH[:, row, written].clone(),
                    told.inputs[0][row, written].to(PROBED),
                    rows.told.ids[row, written],
                    torch.tensor([episode.written[place] for place in written], dtype=torch.long),
                    asked_LBTH[:, row, before].clone(),
                    asked.last[row, before].to(PROBED),
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
    return found


def bytes_of(
    episodes: Sequence[EncodedEpisode], shape: MemoryShape, attention: Sequence[AttentionLayer]
) -> int:
    """About as many bytes as the stored inputs of these episodes take."""
    tokens = sum(
        sum(one != NOT_WRITTEN for one in episode.written) + sum(map(len, episode.answers))
        for episode in episodes
    )
    layers = shape.with_memory(attention)
    return tokens * (len(layers) + 1) * layers[0].widths.hidden * PROBED.itemsize


def _kept(answer: Sequence[Target], words_share: float, source: random.Random) -> Iterator[Target]:
    """All tokens that tell something new: an answer's first ones, its values', and where a value ends."""
    is_after = False
    for number, target in enumerate(answer):
        is_value = target.weight == VALUE_WEIGHT
        if is_value or is_after or number < FIRST_TOKENS or source.random() < words_share:
            yield target
        is_after = is_value
