# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch.linalg is untyped.
"""The first parameters of a gated memory module, solved for from stored inputs of the base.

As in ``probe.py``, with what trials showed to matter: values are regressed on every told token and not on
those of values alone, so that words that training never saw are kept as well; keys and queries take a
strong ridge, or they learn the episodes by heart; and what is read goes to the last hidden state, not
through the layers. Each layer has a part of the directions of the output embeddings, together the
leading ones.

Shape suffixes: L = layers with a memory, T = told tokens, P = pairs of a told and a recalled token,
H = hidden width, R = rank.
"""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from populace.actors.errors import InvalidRequest
from populace.adapters.memory.module import MemoryModule
from populace.learning.memory.probe import (
    Directions,
    blind_to_the_mean,
    canonical,
    embedding_directions,
    output_embeddings,
    rate_weights,
    regression,
    value_weights,
)
from populace.learning.memory.stored_inputs import StoredInputs

KEY_RIDGE = 0.2
RATE_AT_VALUES = 0.8
"""Without decay a strong write costs the other facts nothing."""

PAIR_WEIGHT = 2.0
"""Of a value's token in the regression of values, against the root of how often another token is told."""

HEAD_LOGIT = 2.5
HEAD_RIDGE = 0.05
GAINS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

SAMPLE = 64
"""Episodes from which the strength of the head is told."""

ELSEWHERE_SHARE = 0.15


def start_gated(
    model: PreTrainedModel,
    memory: MemoryModule,
    episodes: Sequence[StoredInputs],
    *,
    seed: int,
    progress: Callable[[float], None],
) -> None:
    """Solve for values, keys, queries, rates and the recall head in place, for one state a layer.

    Raises ``InvalidRequest`` if no value of the episodes was told in the words in which it is asked for.
    """
    layers, rank = len(memory.layers), memory.shape.rank
    generator = torch.Generator().manual_seed(seed)
    ids_T = torch.cat([one.told_ids for one in episodes])
    told_values = [one.told_ids[[told for told, _ in one.links]] for one in episodes if one.links]
    pairs_P = torch.cat(told_values) if told_values else ids_T[:0]
    if not len(pairs_P):
        raise InvalidRequest("No episode has a value that was told: there is nothing to probe for.", "start")
    codes = embedding_directions(model, ids_T, layers * rank)
    written_PH = output_embeddings(model)[torch.cat((ids_T, pairs_P))] - codes.mean
    weights_T = torch.bincount(ids_T)[ids_T].float().rsqrt()
    weights_P = torch.cat((weights_T, torch.full((len(pairs_P),), PAIR_WEIGHT)))
    elsewhere_T = torch.rand(len(ids_T), generator=generator) < ELSEWHERE_SHARE
    with torch.no_grad():
        for number in range(layers):
            layer = memory.layer(number)
            told_TH = torch.cat([one.told[number] for one in episodes]).float()
            told_PH, asked_PH = _pairs(episodes, number)
            directions, lengths = codes.of_layer(number, rank, layers)
            inputs_PH = torch.cat((told_TH, told_PH))
            layer.value.copy_(value_weights(inputs_PH, written_PH @ directions.T / lengths, weights_P))
            key, query = canonical(told_PH, asked_PH, rank, ridge=KEY_RIDGE)
            layer.key.copy_(blind_to_the_mean(key, told_PH))
            layer.query.copy_(blind_to_the_mean(query, asked_PH))
            weight, bias = rate_weights(told_PH, told_TH[elsewhere_T], at_values=RATE_AT_VALUES)
            layer.rate.copy_(weight.expand(layer.rate.shape[0], -1))
            layer.rate_bias.fill_(bias)
            progress((number + 1) / layers)
    _solve_head(model, memory, codes, episodes)


def _pairs(episodes: Sequence[StoredInputs], number: int) -> tuple[torch.Tensor, torch.Tensor]:
    told = [one.told[number][[told for told, _ in one.links]] for one in episodes if one.links]
    asked = [one.asked[number][[asked for _, asked in one.links]] for one in episodes if one.links]
    return torch.cat(told).float(), torch.cat(asked).float()


@torch.no_grad()
def _solve_head(
    model: PreTrainedModel, memory: MemoryModule, codes: Directions, episodes: Sequence[StoredInputs]
) -> None:
    """The head's gate by regression; what is read back along its directions, as strongly as serves best."""
    head = memory.recall_head
    assert head is not None
    layers, rank = len(memory.layers), memory.shape.rank
    last_AH = torch.cat([one.last for one in episodes])
    wanted_A = (torch.cat([one.is_value for one in episodes]).float() * 2 - 1) * HEAD_LOGIT
    weight_H, bias = regression(last_AH, wanted_A, ridge=HEAD_RIDGE)
    head.weight.copy_(weight_H)
    head.bias.fill_(bias)

    embeddings_VH = output_embeddings(model)
    sample = [one for one in episodes if one.links][:SAMPLE]
    reads, targets_P, last_PH = _read_back(memory, sample)
    output = torch.zeros(head.output.shape[0], layers, rank)
    for number, read_PR in enumerate(reads):
        directions, lengths = codes.of_layer(number, rank, layers)
        told_PR = (embeddings_VH[targets_P] - codes.mean) @ directions.T / lengths
        both = torch.stack((read_PR.flatten(), told_PR.flatten()))
        agreement = torch.corrcoef(both)[0, 1].nan_to_num(0.0).clamp(min=0.02)
        output[:, number] = (directions * (agreement / read_PR.std().clamp(min=1e-6))).T
    output *= float(codes.lengths.mean())
    read_PLR = torch.stack(reads, dim=1)
    losses: list[tuple[float, float]] = []
    for gain in GAINS:
        head.output.copy_((gain * output).flatten(1))
        hidden_PH = last_PH + head(last_PH, read_PLR)
        losses.append((float(functional.cross_entropy(hidden_PH @ embeddings_VH.T, targets_P)), gain))
    head.output.copy_((min(losses)[1] * output).flatten(1))


def _read_back(
    memory: MemoryModule, episodes: Sequence[StoredInputs]
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """What each layer reads [P, R] before the values of the episodes, the tokens, and the last states."""
    reads: list[list[torch.Tensor]] = [[] for _ in memory.layers]
    for one in episodes:
        places = [asked for _, asked in one.links]
        writes_1T = torch.ones(1, len(one.told_ids), dtype=torch.bool)
        for number, fresh_1NRR in enumerate(memory.fresh_states(1)):
            layer = memory.layer(number)
            state = layer.write(one.told[number].unsqueeze(0), fresh_1NRR, writes_1T)
            reads[number].append(layer.read(one.asked[number][places].unsqueeze(0), state)[0, 0])
    chosen = [([asked for _, asked in one.links], one) for one in episodes]
    return (
        [torch.cat(parts) for parts in reads],
        torch.cat([one.targets[places] for places, one in chosen]),
        torch.cat([one.last[places] for places, one in chosen]),
    )
