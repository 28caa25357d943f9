# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.optim and transformers' models are partly untyped.
"""What the base computes of episodes whatever a gated memory holds, and what can be learned from that alone.

Prompts do not read and only told messages are written, so the inputs of all layers where something is told,
and (as long as nothing is added there) where it is to be said again, are the base's own. They are computed
once and learned from many times: keys, queries, values, rates, and the recall head.

Shape suffixes: L = layers with a memory, T = told tokens, A = tokens of answers, P = value tokens of a
batch, B = episodes, N = states, R = rank, H = hidden width, V = vocabulary.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from populace.adapters.memory.attention import AttentionLayer
from populace.adapters.memory.gated_layer import Told, around_each
from populace.adapters.memory.gates import RecallHead
from populace.adapters.memory.layer import NOT_WRITTEN, MemoryShape
from populace.adapters.memory.module import MemoryModule
from populace.learning.memory.encoding import (
    FIRST_TOKENS,
    VALUE_WEIGHT,
    Batch,
    EncodedEpisode,
    batch_of,
)
from populace.learning.memory.probe import output_embeddings
from populace.learning.memory.recall import HiddenInputs, hidden_inputs

STORED = torch.bfloat16

THERE = -1
"""The row of a layer's values that is the same for every token: it reads how much there is under a query.

The others tell tokens apart, and their sum over what might be there says nothing.
"""

TOLD_WEIGHT = 1.0
"""Of whether something was told, in nats a first token of an answer."""


class StoredInputs(NamedTuple):
    """One episode: inputs of the layers at told tokens [L, T, H] and before its values' tokens [L, P, H].

    ``messages`` [T] says of which message a told token is, ``embedded`` [T, H] what the base's first
    attention layer is given of it. ``last`` [A, H] are the base's last hidden states before answers' tokens,
    ``targets`` these tokens, ``is_value`` which of them are of a value; ``links`` pairs places of told value
    tokens and of values' tokens. ``deciding`` [L, D, H] are inputs before the first tokens of answers, which
    say whether anything was told, and ``is_told`` [D] whether it was.
    """

    told: torch.Tensor
    embedded: torch.Tensor
    ids: torch.Tensor
    messages: torch.Tensor
    asked: torch.Tensor
    last: torch.Tensor
    targets: torch.Tensor
    is_value: torch.Tensor
    links: list[tuple[int, int]]
    deciding: torch.Tensor
    is_told: torch.Tensor

    def keyed(self, number: int) -> torch.Tensor:
        """What a layer's keys are of [T, 3H]: inputs of told tokens, the ones before and those after."""
        own_1TH = self.told[number].unsqueeze(0)
        return torch.cat((own_1TH, *around_each(own_1TH, self.messages.unsqueeze(0))), dim=-1)[0]


def stored_inputs(
    model: PreTrainedModel,
    attention: Sequence[AttentionLayer],
    shape: MemoryShape,
    episodes: Sequence[EncodedEpisode],
    *,
    batch: int,
    progress: Callable[[float], None],
    ask: Callable[[Batch, HiddenInputs], HiddenInputs] | None = None,
) -> list[StoredInputs]:
    """Run the base over what is told and what is asked; those of similar length together.

    ``ask`` runs it over a batch's questions some other way, given what it was given of what was told.
    """
    order = sorted(range(len(episodes)), key=lambda index: len(episodes[index].told.ids))
    found: list[StoredInputs] = []
    for start in range(0, len(order), batch):
        chosen = [episodes[index] for index in order[start : start + batch]]
        rows = batch_of(chosen)
        told = hidden_inputs(model, attention, rows.told)
        asked = hidden_inputs(model, attention, rows.asked) if ask is None else ask(rows, told)
        told_LBTH, asked_LBTH = (
            torch.stack(list(shape.with_memory(one.inputs))).to(STORED) for one in (told, asked)
        )
        for row, episode in enumerate(chosen):
            written = [place for place, one in enumerate(episode.written) if one != NOT_WRITTEN]
            targets = [target for answer in episode.answers for target in answer]
            before = [target.position - 1 for target in targets]
            recalled = [target.position - 1 for target in targets if target.weight == VALUE_WEIGHT]
            decides = [
                (target.position - 1, any(one.weight == VALUE_WEIGHT for one in answer))
                for answer in episode.answers
                for target in answer[:FIRST_TOKENS]
            ]
            told_at = {place: index for index, place in enumerate(written)}
            recalled_at = {place: index for index, place in enumerate(recalled)}
            found.append(
                StoredInputs(
                    told_LBTH[:, row, written].clone(),
                    told.inputs[0][row, written].to(STORED),
                    rows.told.ids[row, written],
                    torch.tensor([episode.written[place] for place in written], dtype=torch.long),
                    asked_LBTH[:, row, recalled].clone(),
                    asked.last[row, before].to(STORED),
                    rows.asked.ids[row, [target.position for target in targets]],
                    torch.tensor([target.weight == VALUE_WEIGHT for target in targets], dtype=torch.bool),
                    [
                        (told_at[link.told], recalled_at[link.recalled])
                        for link in episode.links
                        if link.told in told_at
                    ],
                    asked_LBTH[:, row, [place for place, _ in decides]].clone(),
                    torch.tensor([is_told for _, is_told in decides], dtype=torch.bool),
                )
            )
        progress(min(1.0, (start + batch) / len(order)))
    return found


@dataclass(frozen=True, slots=True)
class StoredOptions:
    """How to learn from stored inputs: ``dropped`` is the share of them that is left out at random."""

    steps: int = 500
    batch: int = 32
    step_size: float = 0.007
    dropped: float = 0.15
    validate_every: int = 50
    seed: int = 0


class StoredScore(NamedTuple):
    """Nats a value token, and how well the recall head's gate tells values from other tokens.

    ``told_loss`` is how well what is read before an answer tells whether there is one, in nats.
    """

    value_loss: torch.Tensor
    gate_loss: torch.Tensor
    told_loss: torch.Tensor
    right: float


def learn_from_stored(
    model: PreTrainedModel,
    memory: MemoryModule,
    train: Sequence[StoredInputs],
    validation: Sequence[StoredInputs],
    options: StoredOptions,
    *,
    step: Callable[[float, StoredScore], None],
) -> None:
    """Train what recalls, in place, and keep what was best on the validation."""
    embeddings_VH = output_embeddings(model)
    generator = torch.Generator().manual_seed(options.seed)
    # What adds up what the layers read of there being something; of no use afterwards.
    told_weights = torch.nn.Parameter(torch.full((len(memory.layers) + 1,), 1.0))
    learned = [*_recalling(memory), told_weights]
    optimizer = torch.optim.AdamW(
        [{"params": [one], "size": max(float(one.detach().square().mean().sqrt()), 1e-2)} for one in learned],
        lr=0.0,
        weight_decay=0.0,
        betas=(0.9, 0.99),
    )
    best = (float("inf"), [one.detach().clone() for one in learned])
    for number, episodes in enumerate(_batches(train, options)):
        if number % options.validate_every == 0 or number == options.steps:
            loss = _validated(memory, validation, embeddings_VH, told_weights, options.batch)
            if loss < best[0]:
                best = (loss, [one.detach().clone() for one in learned])
        if number == options.steps:
            break
        falling = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * number / options.steps)))
        for group in optimizer.param_groups:
            group["lr"] = group["size"] * options.step_size * min(1.0, (number + 1) / 50) * float(falling)
        scored = _score(
            memory, episodes, embeddings_VH, told_weights, generator=generator, dropped=options.dropped
        )
        optimizer.zero_grad()
        (scored.value_loss + 2 * scored.gate_loss + TOLD_WEIGHT * scored.told_loss).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        step((number + 1) / options.steps, scored)
    with torch.no_grad():
        for one, kept in zip(learned, best[1], strict=True):
            one.copy_(kept)


def _recalling(memory: MemoryModule) -> list[torch.nn.Parameter]:
    """The parameters that stored inputs can teach: all but the gates and the layers' deltas."""
    names = (
        *("query", "key", "key_before", "key_after", "value"),
        *("rate", "rate_before", "rate_after", "rate_bias"),
    )
    layers = [getattr(memory.layer(number), name) for number in range(len(memory.layers)) for name in names]
    assert memory.recall_head is not None
    return [*layers, *memory.recall_head.parameters()]


def _batches(train: Sequence[StoredInputs], options: StoredOptions) -> Iterator[list[StoredInputs]]:
    source = random.Random(options.seed)  # noqa: S311 - not a secret
    while True:
        order = list(range(len(train)))
        source.shuffle(order)
        for start in range(0, len(order), options.batch):
            yield [train[index] for index in order[start : start + options.batch]]


@torch.no_grad()
def _validated(
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    embeddings_VH: torch.Tensor,
    told_weights: torch.Tensor,
    batch: int,
) -> float:
    """Nats a value token, of the whole vocabulary, and those of whether something was told."""
    total, count = 0.0, 0
    for start in range(0, len(episodes), batch):
        chosen = episodes[start : start + batch]
        values = sum(int(one.is_value.sum()) for one in chosen)
        scored = _score(memory, chosen, embeddings_VH, told_weights)
        total += values * float(scored.value_loss + TOLD_WEIGHT * scored.told_loss)
        count += values
    return total / max(count, 1)


class _Dropping:
    """Leaves some of the inputs out at random, the same for all tokens; with no ``generator``, none."""

    def __init__(self, generator: torch.Generator | None, dropped: float) -> None:
        self._generator = generator
        self._dropped = dropped

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        if self._generator is None or not self._dropped:
            return hidden
        kept_H = torch.rand(hidden.shape[-1], generator=self._generator) >= self._dropped
        return hidden * (kept_H / (1 - self._dropped))


class ReadBack(NamedTuple):
    """What all layers read before each token of a value [P, L, W], and before the first ones of answers.

    ``deciding`` is [D, L, W].
    """

    values: torch.Tensor
    deciding: torch.Tensor


def read_back(
    memory: MemoryModule, episodes: Sequence[StoredInputs], drop: Callable[[torch.Tensor], torch.Tensor]
) -> ReadBack:
    """Write what was told, and read it where the answers are."""
    messages_BT = torch.nn.utils.rnn.pad_sequence(
        [one.messages for one in episodes], batch_first=True, padding_value=NOT_WRITTEN
    )
    embedded_BTH = _side_by_side([one.embedded for one in episodes])
    rows = [row for row, one in enumerate(episodes) for _ in range(one.asked.shape[1])]
    rows += [row for row, one in enumerate(episodes) for _ in range(one.deciding.shape[1])]
    reads: list[torch.Tensor] = []
    for number in range(len(memory.layers)):
        layer = memory.gated_layer(number)
        told_BTH = _side_by_side([one.told[number] for one in episodes])
        parts = [one.asked[number] for one in episodes] + [one.deciding[number] for one in episodes]
        projected = layer.projected(Told(told_BTH, embedded_BTH), drop)
        state_BNRR = layer.write_projected(projected, memory.fresh_states(len(episodes))[number], messages_BT)
        asked_XH = drop(torch.cat(parts).float())
        reads.append(layer.read(asked_XH.unsqueeze(1), state_BNRR[rows]).flatten(1))
    read_XLW = torch.stack(reads, dim=1)
    values = sum(one.asked.shape[1] for one in episodes)
    return ReadBack(read_XLW[:values], read_XLW[values:])


def _side_by_side(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([one.float() for one in parts], batch_first=True)


def _score(
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    embeddings_VH: torch.Tensor,
    told_weights: torch.Tensor,
    *,
    generator: torch.Generator | None = None,
    dropped: float = 0.0,
) -> StoredScore:
    """Write what was told, read it before each value token, and compare with all tokens of the vocabulary.

    Nothing less will do: it is the few that the base would say by itself ("called", "a") that win.
    With a ``generator`` inputs are dropped.
    """
    head = memory.recall_head
    assert isinstance(head, RecallHead)
    read = read_back(memory, episodes, _Dropping(generator, dropped))
    last_AH = torch.cat([one.last for one in episodes]).float()
    is_value_A = torch.cat([one.is_value for one in episodes])
    targets_P = torch.cat([one.targets for one in episodes])[is_value_A]
    last_PH = last_AH[is_value_A]
    hidden_PH = last_PH + head(last_PH, read.values)
    logits_PV = hidden_PH @ embeddings_VH.T
    opens_A = last_AH @ head.weight + head.bias
    is_told_D = torch.cat([one.is_told for one in episodes]).float()
    there_D = read.deciding[..., THERE] @ told_weights[:-1] - told_weights[-1]
    return StoredScore(
        functional.cross_entropy(logits_PV, targets_P),
        functional.binary_cross_entropy_with_logits(opens_A, is_value_A.float()),
        functional.binary_cross_entropy_with_logits(there_D, is_told_D),
        float((logits_PV.argmax(-1) == targets_P).float().mean()),
    )
